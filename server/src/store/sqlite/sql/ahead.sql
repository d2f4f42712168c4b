-- How many ready jobs stand before place ?3 of priority ?2, counted up to ?4 twice.
select
  (
    select count(*) from (
      select 1 from job where queue = ?1 and state = 'R' and priority = ?2 and place < ?3 limit ?4
    )
  ) + (
    select count(*) from (
      select 1 from job where queue = ?1 and state = 'R' and priority > ?2 limit ?4
    )
  )
