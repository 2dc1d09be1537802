-- Neutron's flavors of advanced services. Nothing here uses them yet: they are what administrators note.
create table network_service_profiles (
  id          text primary key,
  project_id  text not null default '',
  description text not null default '',
  driver      text not null default '',
  metainfo    text not null default '',
  enabled     boolean not null default true,
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}'
);

create table network_flavors (
  id               text primary key,
  project_id       text not null default '',
  name             text not null default '',
  description      text not null default '',
  service_type     text not null,
  enabled          boolean not null default true,
  service_profiles text[] not null default '{}',
  created_at       timestamptz not null default clock_timestamp(),
  updated_at       timestamptz not null default clock_timestamp(),
  revision         bigint not null default 1,
  body             jsonb not null default '{}'
);
create index network_flavors_by_profile on network_flavors using gin (service_profiles);
