alter table job add column revision integer not null default 0;
alter table job add column type text not null default '';
-- The length of the record in `spec`.
alter table job add column bytes integer not null default 0;
-- While the job is pending: when it expires.
alter table job add column expires integer;
-- How many rows the job has in `term`.
alter table job add column terms integer not null default 0;
-- While the job is leased: the cancellation it was asked for.
alter table job add column cancel blob;

create index job_ready_type on job (queue, type, priority desc, place) where state = 'R';
create index job_expires on job (queue, expires) where expires is not null;

-- What jobs are found by: a label's name and value; an owner has the empty name.
create table term (
  queue integer not null,
  name text not null,
  value text not null,
  created integer not null,
  job integer not null,
  primary key (queue, name, value, created, job)
) strict, without rowid;

create index term_job on term (job);

-- Blocked jobs, each behind the one that held its dedup key.
create table behind (
  job integer primary key,
  holder integer not null unique,
  queue integer not null,
  created integer not null
) strict;

create index behind_created on behind (queue, created, job);

-- What happened in the queue since it began; see `inserted` for the jobs enqueued.
alter table queue add column succeeded_ever integer not null default 0;
alter table queue add column dead_ever integer not null default 0;
alter table queue add column lease_expired_ever integer not null default 0;
-- What happened lately; queue.rs knows the form.
alter table queue add column lately blob;
-- Bytes of the records of unfinished jobs.
alter table queue add column bytes integer not null default 0;
-- The settings as one record, and where their rate limit stands, in microseconds.
alter table queue add column settings blob;
alter table queue add column tat integer not null default 0;

-- Small records of the namespace, beside its queues.
create table document (
  kind text not null,
  key text not null,
  revision integer not null,
  body blob not null,
  primary key (kind, key)
) strict, without rowid;

-- Events told so far: in the whole log, and up to an entry's end.
alter table queue add column told integer not null default 0;
alter table event add column upto integer not null default 0;
