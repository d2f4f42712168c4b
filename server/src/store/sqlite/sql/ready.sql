-- cross join: keeps the order of the index, so that reading can stop after any job. Without a limit,
-- as jobs that can't be read don't count.
from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.state = 'R'
order by j.priority desc, j.place
