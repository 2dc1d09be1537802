-- Flavors belong to the whole cloud: project_id stays empty. Those not public are seen by the projects in flavor_access.
create table flavors (
  id          text primary key,
  project_id  text not null default '',
  name        text not null,
  ram         integer not null,                   -- MiB
  vcpus       integer not null,
  disk        integer not null,                   -- GiB
  ephemeral   integer not null default 0,         -- GiB
  swap        integer not null default 0,         -- MiB
  rxtx_factor double precision not null default 1,
  is_public   boolean not null default true,
  disabled    boolean not null default false,
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}',
  description_order text not null generated always as (coalesce(body ->> 'description', '')) stored
);
create unique index flavors_name on flavors (name);

create table flavor_access (
  flavor_id  text not null references flavors (id) on delete cascade,
  project_id text not null,
  primary key (flavor_id, project_id)
);
create index flavor_access_project on flavor_access (project_id);
