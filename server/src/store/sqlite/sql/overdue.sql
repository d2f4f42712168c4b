-- cross join: keeps the order of the index, which is that of the answer.
from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.state = 'L' and j.state <> 'R' and j.at <= ?2
order by j.at, j.id
