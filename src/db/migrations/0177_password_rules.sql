-- What rules for passwords need to know of a user.
alter table identity_users
  -- Wrong passwords since the last right one, and when the last of them was tried.
  add column failed_auth_count integer not null default 0,
  add column failed_auth_at timestamptz,
  add column password_set_at timestamptz,
  -- Null: holds until it is changed.
  add column password_expires_at timestamptz,
  -- Whether the user chose it, and not an administrator.
  add column password_is_own boolean not null default false;
create index identity_users_password_expiry on identity_users (password_expires_at) where password_expires_at is not null;

-- Passwords that a user had, as Argon2 hashes, where they may not come again.
create table identity_old_passwords (
  user_id text not null references identity_users (id) on delete cascade,
  password text not null,
  set_at timestamptz not null default clock_timestamp(),
  primary key (user_id, password)
);
