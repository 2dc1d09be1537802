-- Host aggregates; a host is a child. One with availability_zone in its metadata puts its children into that zone.
create table aggregates (
  id         bigint primary key generated always as identity,
  uuid       text not null,
  name       text not null unique,
  metadata   jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz
);

create table aggregate_hosts (
  aggregate_id bigint not null references aggregates (id),
  host         text not null,
  added_at     timestamptz not null default clock_timestamp(),
  primary key (aggregate_id, host)
);
create index aggregate_hosts_host on aggregate_hosts (host);
