insert into job (
  queue, id, state, at, priority, place, type, bytes, expires, told,
  deliveries, attempts, started, secret, worker, lease_started, lease_duration
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
on conflict do nothing
