-- Remote consoles that tenants were given an address of: where the child's is stays here. The parent's token is kept as
-- its hash; the child's own, part of its URL, is worth nothing when the session has expired.
create table console_sessions (
  id         text primary key,
  token_hash text not null,
  server_id  text not null references servers (id) on delete cascade,
  child_url  text not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);
create index console_sessions_expiry on console_sessions (expires_at);
