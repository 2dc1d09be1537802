-- Keypairs belong to users. project_id is the project they were made in: its quota counts, and its scope in the child.
create table keypairs (
  id          text primary key,
  number      bigint not null generated always as identity,  -- the id that Nova shows
  project_id  text not null default '',
  user_id     text not null,
  name        text not null,
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}'
);
create unique index keypairs_by_user on keypairs (user_id, name collate "C");
