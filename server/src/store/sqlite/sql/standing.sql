-- What guards and moves look at; standing.rs reads the columns in this order.
select
  job, state, at, deliveries, revision, bytes, terms, secret, worker, cancel, told, attempt
from job
where queue = ?1 and id = ?2
