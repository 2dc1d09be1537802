-- A record of an action may be one of moving the server (`migration`: its kind, its UUID, the flavors), which is listed
-- as a migration; and it remembers under which request id the child keeps its own record of it.
alter table server_actions add column migration jsonb;
alter table server_actions add column child_request_id text;
create index server_actions_migrations on server_actions (id desc) where migration is not null;
