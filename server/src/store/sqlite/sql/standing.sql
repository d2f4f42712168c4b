-- What guards look at.
select job, state, at, deliveries, secret, worker from job where queue = ?1 and id = ?2
