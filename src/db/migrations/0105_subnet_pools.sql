-- Address scopes, and pools that subnets get their prefixes from. What is left of a pool is what no subnet of it has.
create table address_scopes (
  id          text primary key,
  project_id  text not null default '',
  name        text not null default '',
  ip_version  integer not null,
  shared      boolean not null default false,
  shared_with text[] not null default '{}',          -- projects that it is shared with beside its own
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}'
);
create index address_scopes_of_project on address_scopes (project_id, id);
create index address_scopes_for_everyone on address_scopes (id) where shared;
create index address_scopes_shared_with on address_scopes using gin (shared_with) where shared_with <> '{}';

create table subnet_pools (
  id                text primary key,
  project_id        text not null default '',
  name              text not null default '',
  description       text not null default '',
  ip_version        integer not null,
  prefixes          text[] not null,
  default_prefixlen integer not null,
  min_prefixlen     integer not null,
  max_prefixlen     integer not null,
  default_quota     bigint,
  address_scope_id  text references address_scopes (id),
  is_default        boolean not null default false,
  shared            boolean not null default false,
  shared_with       text[] not null default '{}',
  tags              text[] not null default '{}',
  created_at        timestamptz not null default clock_timestamp(),
  updated_at        timestamptz not null default clock_timestamp(),
  revision          bigint not null default 1,
  body              jsonb not null default '{}'
);
create index subnet_pools_of_project on subnet_pools (project_id, id);
create index subnet_pools_for_everyone on subnet_pools (id) where shared;
create index subnet_pools_shared_with on subnet_pools using gin (shared_with) where shared_with <> '{}';
create index subnet_pools_of_scope on subnet_pools (address_scope_id) where address_scope_id is not null;
create unique index subnet_pools_default on subnet_pools (ip_version) where is_default;

alter table subnets add foreign key (subnetpool_id) references subnet_pools (id);
create index subnets_of_pool on subnets (subnetpool_id) where subnetpool_id is not null;
