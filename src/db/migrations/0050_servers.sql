-- Servers. A deleted one stays as a row: it is listed by `deleted` and `changes-since`, and a server found in a child
-- under its mark is known to be a stray of ours.
create table servers (
  id             text primary key,
  project_id     text not null default '',
  created_at     timestamptz not null default clock_timestamp(),
  updated_at     timestamptz not null default clock_timestamp(),
  revision       bigint not null default 1,
  body           jsonb not null default '{}',
  user_id        text not null default '',
  name           text not null default '',
  hostname       text not null default '',
  status         text not null default 'BUILD',
  vm_state       text not null default 'building',
  task_state     text,
  power_state    integer not null default 0,
  child          text,                            -- null: nowhere could it be placed
  child_id       text,                            -- null: not made yet, or not known to be
  zone           text not null default '',
  flavor_id      text not null default '',
  image_id       text not null default '',        -- empty: booted from a volume
  key_name       text not null default '',
  reservation_id text not null default '',
  locked         boolean not null default false,
  tags           text[] not null default '{}',
  ips            text[] not null default '{}',
  launched_at    timestamptz,
  terminated_at  timestamptz,
  deleted_at     timestamptz,
  attention      boolean not null default false,  -- something remains to be done in the child
  create_sent_at timestamptz,                     -- a create was sent then
  delete_sent_at timestamptz,
  acted_at       timestamptz                      -- last time the child was asked for a change: older reads of it are stale
);

-- One for each way a list begins; those of living servers leave the tombstones out.
create index servers_of_project on servers (project_id, created_at desc, id desc) where deleted_at is null;
create index servers_of_all on servers (created_at desc, id desc) where deleted_at is null;
create index servers_changed_of_project on servers (project_id, updated_at);
create index servers_changed on servers (updated_at);
create unique index servers_of_child on servers (child, child_id) where child_id is not null;
create index servers_attention on servers (child) where attention and deleted_at is null;
create index servers_busy on servers (child) where task_state is not null and deleted_at is null;
create index servers_reservation on servers (reservation_id);
create index servers_key on servers (user_id, key_name) where deleted_at is null and key_name <> '';
create index servers_flavor on servers (flavor_id) where deleted_at is null;
