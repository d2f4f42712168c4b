delete from dedup where queue = ?1 and key in (
  select key from dedup where queue = ?1 and until <= ?2 order by until limit ?3
)
