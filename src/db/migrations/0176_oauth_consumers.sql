-- OAuth 1 consumers. Their secrets are shown when they are made and never again.
create table identity_oauth_consumers (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}'
);
