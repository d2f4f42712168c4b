update job set
  state = ?2, at = ?3, deliveries = ?4, attempts = ?5, lease_losses = ?6, started = ?7, ended = ?8,
  priority = coalesce(?9, priority), place = coalesce(?10, place),
  secret = null, worker = null, lease_started = null, lease_duration = null
where job = ?1
