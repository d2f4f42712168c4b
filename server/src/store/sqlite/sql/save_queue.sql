update queue set
  inserted = ?2, scheduled = ?3, ready = ?4, leased = ?5, retrying = ?6, blocked = ?7,
  succeeded = ?8, dead = ?9, cancelled = ?10, expired = ?11, front = ?12, back = ?13,
  logged = ?14, logged_at = ?15, succeeded_ever = ?16, dead_ever = ?17, lease_expired_ever = ?18,
  lately = ?19, bytes = ?20, tat = ?21, told = ?22
where queue = ?1
