-- Unified limits: what a service may give a project by default, and what some projects or domains get instead.
create table identity_registered_limits (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  service_id text not null references identity_services (id) on delete cascade,
  region_id text references identity_regions (id),
  resource_name text not null
);
create unique index identity_registered_limits_name
  on identity_registered_limits (service_id, coalesce(region_id, ''), resource_name);
create index identity_registered_limits_region on identity_registered_limits (region_id) where region_id is not null;

create table identity_limits (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  registered_limit_id text not null references identity_registered_limits (id) on delete cascade,
  owner_project_id text references identity_projects (id) on delete cascade,
  domain_id text references identity_domains (id) on delete cascade,
  service_id text not null,
  region_id text,
  resource_name text not null,
  check ((owner_project_id is null) <> (domain_id is null))
);
create unique index identity_limits_owner
  on identity_limits (registered_limit_id, coalesce(owner_project_id, ''), coalesce(domain_id, ''));
create index identity_limits_project on identity_limits (owner_project_id) where owner_project_id is not null;
create index identity_limits_domain on identity_limits (domain_id) where domain_id is not null;
