-- A request for a batch has no one job: a bit for each of its jobs that was made, lowest first.
alter table request add column made blob;
