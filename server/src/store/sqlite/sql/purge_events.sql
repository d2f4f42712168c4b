delete from event where event in (
  select event from event where queue = ?1 and at < ?2 order by at, number limit ?3
)
