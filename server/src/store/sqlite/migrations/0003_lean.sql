-- A request for a batch has no one job: a bit for each of its jobs that was made, lowest first.
alter table request add column made blob;

-- What events tell of the job beside its moves, as a spec that has no more; null: look in `spec`.
alter table job add column told blob;

-- The newest attempt stays with its job; only what came before it is in `attempt`.
alter table job add column attempt blob;
update job set attempt = (
  select body from attempt where attempt.job = job.job order by delivery desc limit 1
)
where deliveries > 0;
delete from attempt where not exists (
  select 1 from attempt later where later.job = attempt.job and later.delivery > attempt.delivery
);
