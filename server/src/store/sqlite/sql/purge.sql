-- Up to ?4 jobs in state ?2 whose time came by ?3, earliest first: those to forget.
select job, terms, deliveries from job
where queue = ?1 and state = ?2 and state <> 'R' and at <= ?3
order by at, id
limit ?4
