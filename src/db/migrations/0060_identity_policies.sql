-- Policies that clients store in Keystone; nothing in Headwater reads what they say.
create table identity_policies (
  id text primary key,
  project_id text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision bigint not null default 1,
  body jsonb not null default '{}',
  type text not null
);
create index identity_policies_type on identity_policies (type, id);
