create table if not exists prices (sku text primary key, cents bigint not null);
create table if not exists price_changes (
  id bigint generated always as identity primary key,
  sku text not null,
  cents bigint not null,
  changed_at timestamptz not null default now()
);
create table if not exists emails (
  id bigint generated always as identity primary key,
  recipient text not null,
  subject text not null,
  body text not null,
  created_at timestamptz not null default now()
);
create table if not exists exports (
  id bigint generated always as identity primary key,
  name text not null,
  csv text not null,
  created_at timestamptz not null default now()
);
create table if not exists backups (
  id bigint generated always as identity primary key,
  name text not null,
  rows jsonb not null,
  created_at timestamptz not null default now()
);
create table if not exists reports (
  month text primary key,
  changes bigint not null,
  average_cents bigint not null
);
-- Which jobs have had their effect, and what they returned.
create table if not exists effects (
  job text primary key,
  result jsonb,
  at timestamptz not null default now()
);
