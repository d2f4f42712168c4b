-- queue.rs reads the columns in this order.
select
  queue, inserted, scheduled, ready, leased, retrying, blocked, succeeded, dead, cancelled,
  expired, front, back, logged, logged_at, succeeded_ever, dead_ever, lease_expired_ever, lately,
  bytes, settings, tat, told
from queue
where name = ?1
