update job set
  state = 'L', at = ?2, deliveries = ?3, attempts = ?4, started = ?5, expires = null,
  secret = ?6, worker = ?7, lease_started = ?8, lease_duration = ?9
where job = ?1
