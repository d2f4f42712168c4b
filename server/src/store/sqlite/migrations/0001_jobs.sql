-- Times are milliseconds since the Unix epoch, UTC; durations are milliseconds.
-- A state is one letter: S scheduled, R ready, L leased, T retrying, B blocked, K succeeded,
-- D dead, C cancelled, E expired.

create table meta (
  key text not null primary key,
  value text not null
) strict, without rowid;

-- One row per queue: the counters that would otherwise have to be counted.
create table queue (
  queue integer primary key,
  name text not null unique,
  -- Jobs ever inserted.
  inserted integer not null default 0,
  -- Jobs there are now, by state.
  scheduled integer not null default 0,
  ready integer not null default 0,
  leased integer not null default 0,
  retrying integer not null default 0,
  blocked integer not null default 0,
  succeeded integer not null default 0,
  dead integer not null default 0,
  cancelled integer not null default 0,
  expired integer not null default 0,
  -- The outermost places given in the ready line so far.
  front integer not null default 0,
  back integer not null default 0,
  -- The newest entry of the event log; it outlives the entry.
  logged integer not null default 0,
  logged_at integer not null default 0
) strict;

-- What changes in a job's life. The row is small because every move rewrites it.
create table job (
  job integer primary key,
  queue integer not null references queue,
  id text not null,
  state text not null,
  at integer not null,
  priority integer not null,
  -- The order within a priority, given when the job becomes ready.
  place integer not null default 0,
  deliveries integer not null default 0,
  attempts integer not null default 0,
  lease_losses integer not null default 0,
  started integer,
  ended integer,
  -- The lease, while state is L.
  secret integer,
  worker text,
  lease_started integer,
  lease_duration integer,
  unique (queue, id)
) strict;

create index job_ready on job (queue, priority desc, place) where state = 'R';
create index job_due on job (queue, state, at, id) where state <> 'R';

-- What never changes after enqueue, as one record.
create table spec (
  job integer primary key references job on delete cascade,
  body blob not null
) strict;

-- What attempts leave behind; jobs that left nothing have no row.
create table detail (
  job integer primary key references job on delete cascade,
  progress blob,
  checkpoint blob,
  failure blob,
  result blob
) strict;

-- The newest attempts of a job, by lease number. No foreign key: a cascade into a table without
-- rowid collects its rows in a temporary table first, even if there are none.
create table attempt (
  job integer not null,
  delivery integer not null,
  body blob not null,
  primary key (job, delivery)
) strict, without rowid;

-- Inserts that may be asked for again. The job may be gone.
create table request (
  queue integer not null references queue,
  id blob not null,
  digest integer not null,
  job text not null,
  until integer not null,
  primary key (queue, id)
) strict, without rowid;

create index request_until on request (queue, until);

-- Who holds a dedup key. The job may be gone; then the key is free.
create table dedup (
  queue integer not null references queue,
  key text not null,
  job text not null,
  -- 1: the end of the job gives the key free; 0: only time does.
  until_finished integer not null,
  until integer,
  primary key (queue, key)
) strict, without rowid;

create index dedup_until on dedup (queue, until) where until is not null;

-- Claims that may be asked for again: `jobs` is a JSON array of job.job in the order taken.
create table replay (
  queue integer not null references queue,
  id blob not null,
  secret integer not null,
  jobs text not null,
  until integer not null,
  primary key (queue, id)
) strict, without rowid;

create index replay_until on replay (queue, until);

-- The event log: one row per call that told something. Within a queue, `number` has no gaps and
-- `at` never falls.
create table event (
  event integer primary key,
  queue integer not null references queue,
  number integer not null,
  at integer not null,
  body blob not null,
  unique (queue, at, number)
) strict;
