-- The beginning of every read of whole jobs; row.rs reads the columns in this order.
select
  j.job, j.id, j.state, j.at, j.deliveries, j.attempts, j.lease_losses, j.revision, j.started,
  j.ended, j.secret, j.worker, j.lease_started, j.lease_duration, j.cancel, j.attempt,
  s.body, d.progress, d.checkpoint, d.failure, d.result
