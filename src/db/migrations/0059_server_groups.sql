-- Server groups and their members; a member that was deleted is no longer shown, and goes with its group.
create table server_groups (
  id         text primary key,
  project_id text not null default '',
  user_id    text not null,
  name       text not null,
  policy     text not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  revision   bigint not null default 1,
  body       jsonb not null default '{}'
);
create index server_groups_project on server_groups (project_id, created_at, id);

create table server_group_members (
  group_id  text not null references server_groups (id) on delete cascade,
  server_id text not null,
  primary key (group_id, server_id)
);
create index server_group_members_server on server_group_members (server_id);
