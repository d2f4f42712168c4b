-- The ready jobs in the order in which they are claimed. Without a limit, as those that can't be
-- claimed don't count: reading stops after any job.
select job, expires from job
where queue = ?1 and state = 'R'
order by priority desc, place
