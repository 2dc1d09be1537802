-- Credentials that Keystone keeps for its users: EC2 keys, TOTP seeds, certificates, whatever a client calls its type.
create table identity_credentials (
  -- Of an EC2 key, the SHA-256 of its access key.
  id text primary key,
  -- Empty for one without a project.
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  user_id text not null references identity_users (id) on delete cascade,
  type text not null,
  -- Encrypted under a key that is in no database; key_id says which.
  sealed text not null,
  key_id text not null
);
create index identity_credentials_user on identity_credentials (user_id, type, id);
create index identity_credentials_project on identity_credentials (project_id) where project_id <> '';
