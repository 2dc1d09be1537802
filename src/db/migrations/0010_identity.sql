-- Users, projects and what joins them. Ids are Keystone's: 32 hexadecimal digits, or what an operator chose.

create table identity_domains (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null unique,
  enabled boolean not null default true
);

create table identity_projects (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null,
  domain_id text not null references identity_domains (id),
  -- The parent project; a project at the top has its domain here, as Keystone shows it.
  parent_id text not null,
  enabled boolean not null default true,
  tags text[] not null default '{}',
  unique (domain_id, name)
);
create index identity_projects_name on identity_projects (name);
create index identity_projects_parent on identity_projects (parent_id);
create index identity_projects_domain on identity_projects (domain_id, id);

create table identity_users (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null,
  domain_id text not null references identity_domains (id),
  enabled boolean not null default true,
  -- An Argon2 hash, never the password; null for a user who cannot log in by one.
  password text,
  -- A token carries the number that held when it was issued: raising it revokes them all without asking any clock.
  token_generation integer not null default 1,
  default_project text,
  unique (domain_id, name)
);
create index identity_users_default_project on identity_users (default_project) where default_project is not null;
create index identity_users_name on identity_users (name);
create index identity_users_domain on identity_users (domain_id, id);

create table identity_groups (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null,
  domain_id text not null references identity_domains (id),
  unique (domain_id, name)
);
create index identity_groups_domain on identity_groups (domain_id, id);

create table identity_members (
  user_id text not null references identity_users (id) on delete cascade,
  group_id text not null references identity_groups (id) on delete cascade,
  primary key (user_id, group_id)
);
create index identity_members_group on identity_members (group_id, user_id);

create table identity_roles (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null,
  -- Null for a role of the whole cloud.
  domain_id text references identity_domains (id)
);
create unique index identity_roles_name on identity_roles (name, coalesce(domain_id, ''));

create table identity_implied_roles (
  prior_role_id text not null references identity_roles (id) on delete cascade,
  implied_role_id text not null references identity_roles (id) on delete cascade,
  primary key (prior_role_id, implied_role_id)
);

create table identity_assignments (
  actor text not null check (actor in ('user', 'group')),
  actor_id text not null,
  scope text not null check (scope in ('project', 'domain', 'system')),
  -- Of a project or a domain; `all` for the system.
  target_id text not null,
  role_id text not null references identity_roles (id) on delete cascade,
  -- Holds for the projects below the target instead of the target itself.
  inherited boolean not null default false,
  primary key (actor_id, target_id, role_id, inherited, scope, actor)
);
create index identity_assignments_target on identity_assignments (target_id, actor_id);
create index identity_assignments_role on identity_assignments (role_id);

create table identity_token_keys (
  -- As in a Fernet key repository: 0 is staged, the highest is primary, those between still verify.
  id integer primary key,
  key text not null,
  created_at timestamptz not null default clock_timestamp()
);

create table identity_revocations (
  audit_id text primary key,
  expires_at timestamptz not null
);
create index identity_revocations_expiry on identity_revocations (expires_at);

create table identity_regions (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  parent_region_id text references identity_regions (id)
);

create table identity_services (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  name text not null default '',
  type text not null,
  enabled boolean not null default true
);

create table identity_endpoints (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  service_id text not null references identity_services (id) on delete cascade,
  region_id text references identity_regions (id),
  interface text not null,
  url text not null,
  enabled boolean not null default true
);
create index identity_endpoints_service on identity_endpoints (service_id);
