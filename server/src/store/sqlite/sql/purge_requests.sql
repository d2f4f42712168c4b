delete from request where queue = ?1 and id in (
  select id from request where queue = ?1 and until <= ?2 order by until limit ?3
)
