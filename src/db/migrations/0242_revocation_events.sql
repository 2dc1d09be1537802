-- OS-REVOKE: since when the tokens of a user, in a project or by a trust are void. For those who ask what was revoked; what
-- a token means is looked up when it is used, so that nothing here is needed for that.
create table identity_revocation_events (
  user_id text,
  project_id text,
  trust_id text,
  consumer_id text,
  access_token_id text,
  revoked_at timestamptz not null,
  check (num_nonnulls(user_id, project_id, trust_id, consumer_id, access_token_id) = 1)
);
create index identity_revocation_events_moment on identity_revocation_events (revoked_at);
alter table identity_revocations add column revoked_at timestamptz not null default clock_timestamp();
create index identity_revocations_moment on identity_revocations (revoked_at);
