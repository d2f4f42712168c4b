update job set
  state = ?2, at = ?3, deliveries = ?4, attempts = ?5, lease_losses = ?6, started = ?7, ended = ?8,
  place = coalesce(?9, place), expires = ?10, attempt = coalesce(?11, attempt),
  secret = null, worker = null, lease_started = null, lease_duration = null, cancel = null
where job = ?1
