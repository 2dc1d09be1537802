-- OAuth 1: what a consumer asked a user for, and what users let it do. Secrets are kept encrypted.
create table identity_oauth_request_tokens (
  id text primary key,
  consumer_id text not null references identity_oauth_consumers (id) on delete cascade,
  project_id text not null references identity_projects (id) on delete cascade,
  sealed text not null,
  key_id text not null,
  -- Who said yes, to which roles; the verifier is what the consumer shows then.
  user_id text references identity_users (id) on delete cascade,
  verifier text,
  role_ids text[] not null default '{}',
  expires_at timestamptz not null
);
create index identity_oauth_request_tokens_consumer on identity_oauth_request_tokens (consumer_id);
create index identity_oauth_request_tokens_project on identity_oauth_request_tokens (project_id);
create index identity_oauth_request_tokens_user on identity_oauth_request_tokens (user_id);
create index identity_oauth_request_tokens_expiry on identity_oauth_request_tokens (expires_at);

create table identity_oauth_access_tokens (
  id text primary key,
  consumer_id text not null references identity_oauth_consumers (id) on delete cascade,
  user_id text not null references identity_users (id) on delete cascade,
  project_id text not null references identity_projects (id) on delete cascade,
  sealed text not null,
  key_id text not null,
  role_ids text[] not null,
  expires_at timestamptz not null
);
create index identity_oauth_access_tokens_consumer on identity_oauth_access_tokens (consumer_id);
create index identity_oauth_access_tokens_user on identity_oauth_access_tokens (user_id, id);
create index identity_oauth_access_tokens_project on identity_oauth_access_tokens (project_id);
