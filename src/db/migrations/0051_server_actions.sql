-- What was asked of servers, by whom and how it ended: the tenant's own record, kept with the server.
create table server_actions (
  id          bigint generated always as identity primary key,
  server_id   text not null references servers (id) on delete cascade,
  action      text not null,
  request_id  text not null,
  user_id     text not null,
  project_id  text not null,
  start_time  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  finish_time timestamptz,
  result      text,                               -- null while it is under way
  message     text
);
create index server_actions_of_server on server_actions (server_id, id desc);
create index server_actions_open on server_actions (server_id) where finish_time is null;
