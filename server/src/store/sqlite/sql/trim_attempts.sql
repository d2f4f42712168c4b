-- Keeps the newest ?2 attempts of a job.
delete from attempt
where job = ?1 and delivery <= (
  select delivery from attempt where job = ?1 order by delivery desc limit 1 offset ?2
)
