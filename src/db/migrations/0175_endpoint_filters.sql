-- OS-EP-FILTER: which endpoints the catalog shows to a project. A project without any here sees them all.
create table identity_endpoint_groups (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null,
  -- service_id, region_id and interface, of which those that are given must fit.
  filters jsonb not null
);
create index identity_endpoint_groups_name on identity_endpoint_groups (name);

create table identity_project_endpoint_groups (
  project_id text not null references identity_projects (id) on delete cascade,
  endpoint_group_id text not null references identity_endpoint_groups (id) on delete cascade,
  primary key (project_id, endpoint_group_id)
);
create index identity_project_endpoint_groups_group on identity_project_endpoint_groups (endpoint_group_id);

create table identity_project_endpoints (
  project_id text not null references identity_projects (id) on delete cascade,
  endpoint_id text not null references identity_endpoints (id) on delete cascade,
  primary key (project_id, endpoint_id)
);
create index identity_project_endpoints_endpoint on identity_project_endpoints (endpoint_id);
