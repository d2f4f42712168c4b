-- Replaces the parts of a job's details that are given.
insert into detail (job, progress, checkpoint, failure, result) values (?1, ?2, ?3, ?4, ?5)
on conflict (job) do update set
  progress = coalesce(excluded.progress, progress),
  checkpoint = coalesce(excluded.checkpoint, checkpoint),
  failure = coalesce(excluded.failure, failure),
  result = coalesce(excluded.result, result)
