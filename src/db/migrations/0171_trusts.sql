-- Trusts: a user lets another act with some of their roles on a project.
create table identity_trusts (
  id text primary key,
  -- Empty for a trust without a project, which gives no roles.
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  trustor_user_id text not null references identity_users (id) on delete cascade,
  trustee_user_id text not null references identity_users (id) on delete cascade,
  impersonation boolean not null,
  expires_at timestamptz,
  -- How many tokens may still be issued by it; null for any number.
  remaining_uses integer check (remaining_uses >= 0),
  -- The trust that this one passes on: what it gives goes with that.
  redelegated_trust_id text references identity_trusts (id) on delete cascade,
  redelegation_count integer not null default 0,
  role_ids text[] not null,
  unique (trustor_user_id, trustee_user_id, project_id, impersonation, expires_at)
);
create index identity_trusts_trustee on identity_trusts (trustee_user_id);
create index identity_trusts_project on identity_trusts (project_id) where project_id <> '';
create index identity_trusts_redelegated on identity_trusts (redelegated_trust_id) where redelegated_trust_id is not null;
