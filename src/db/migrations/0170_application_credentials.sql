-- Application credentials: a user's rights on one project, or some of them, in the hands of a program.
create table identity_application_credentials (
  id text primary key,
  -- The project that its tokens are for.
  project_id text not null references identity_projects (id) on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  user_id text not null references identity_users (id) on delete cascade,
  name text not null,
  -- An Argon2 hash, never the secret.
  secret_hash text not null,
  unrestricted boolean not null default false,
  expires_at timestamptz,
  role_ids text[] not null,
  unique (user_id, name)
);
create index identity_application_credentials_project on identity_application_credentials (project_id, user_id);

-- What a user lets application credentials do; they outlive the credentials that they were made with.
create table identity_access_rules (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  user_id text not null references identity_users (id) on delete cascade,
  service text not null,
  path text not null,
  method text not null,
  unique (user_id, service, path, method)
);

-- A credential without a row here may do all that its roles let it.
create table identity_application_credential_rules (
  application_credential_id text not null references identity_application_credentials (id) on delete cascade,
  access_rule_id text not null references identity_access_rules (id) on delete restrict,
  primary key (application_credential_id, access_rule_id)
);
create index identity_application_credential_rules_rule on identity_application_credential_rules (access_rule_id);
