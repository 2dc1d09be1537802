-- Volume types belong to the whole cloud: project_id stays empty. Those not public are seen by the projects with access.
create table volume_types (
  id          text primary key,
  project_id  text not null default '',
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}',
  name        text not null unique,
  is_public   boolean not null default true
);
insert into volume_types (id, name, body)
  values (gen_random_uuid()::text, '__DEFAULT__', '{"description": "Default Volume Type", "extra_specs": {}}');

create table volume_type_access (
  volume_type_id text not null references volume_types (id) on delete cascade,
  project_id     text not null,
  primary key (volume_type_id, project_id)
);

-- Volumes live in one child each. What remains to be done there: `task`, and `brought` where it is behind `revision`.
create table volumes (
  id                text primary key,
  project_id        text not null default '',
  created_at        timestamptz not null default clock_timestamp(),
  updated_at        timestamptz not null default clock_timestamp(),
  revision          bigint not null default 1,
  body              jsonb not null default '{}',
  user_id           text not null,
  name              text not null default '',
  status            text not null,
  size              integer not null,
  availability_zone text not null,
  bootable          boolean not null default false,
  volume_type_id    text not null references volume_types (id),
  snapshot_id       text,
  source_volid      text,
  metadata          jsonb not null default '{}',
  child             text not null,
  child_id          text,                          -- null: not made yet, or the answer was lost: found by its mark
  child_status      text not null default '',      -- as the child last showed it
  task              text not null default '',      -- '', create, delete, extend, reset, upload
  brought           bigint not null default 0,     -- the revision of name, description and metadata that the child has
  counted_gb        integer not null,              -- what of it is counted in the quota, GiB
  create_sent_at    timestamptz,                   -- a create was sent then and its outcome is not known
  acted_at          timestamptz not null default clock_timestamp(),  -- what a child showed before then is stale
  checked_at        timestamptz not null default clock_timestamp()
);
create index volumes_project on volumes (project_id, created_at desc, id desc);
create index volumes_all on volumes (created_at desc, id desc);
create unique index volumes_child_id on volumes (child, child_id) where child_id is not null;
create index volumes_pending on volumes (child) where task <> '' or brought < revision;
create index volumes_underway on volumes (child, checked_at)
  where status not in ('available', 'in-use', 'error', 'error_deleting', 'error_extending');
create index volumes_type on volumes (volume_type_id);
create index volumes_metadata on volumes using gin (metadata jsonb_path_ops);

create table volume_attachments (
  id                    text primary key,
  volume_id             text not null references volumes (id) on delete cascade,
  server_id             text not null,
  project_id            text not null,
  device                text not null,
  delete_on_termination boolean not null default false,
  tag                   text,
  status                text not null,             -- attaching, attached, detaching
  child_attachment      text,
  created_at            timestamptz not null default clock_timestamp(),
  attached_at           timestamptz,
  unique (volume_id, server_id)
);
create index volume_attachments_server on volume_attachments (server_id, created_at);
create index volume_attachments_project on volume_attachments (project_id, created_at desc, id desc);

create table volume_snapshots (
  id             text primary key,
  project_id     text not null default '',
  created_at     timestamptz not null default clock_timestamp(),
  updated_at     timestamptz not null default clock_timestamp(),
  revision       bigint not null default 1,
  body           jsonb not null default '{}',
  user_id        text not null,
  name           text not null default '',
  status         text not null,
  size           integer not null,
  volume_id      text not null,
  volume_type_id text not null,
  availability_zone text not null,
  metadata       jsonb not null default '{}',
  child          text not null,
  child_id       text,
  child_status   text not null default '',
  task           text not null default '',
  brought        bigint not null default 0,
  create_sent_at timestamptz,
  acted_at       timestamptz not null default clock_timestamp(),
  checked_at     timestamptz not null default clock_timestamp()
);
create index volume_snapshots_project on volume_snapshots (project_id, created_at desc, id desc);
create index volume_snapshots_all on volume_snapshots (created_at desc, id desc);
create index volume_snapshots_volume on volume_snapshots (volume_id);
create unique index volume_snapshots_child_id on volume_snapshots (child, child_id) where child_id is not null;
create index volume_snapshots_pending on volume_snapshots (child) where task <> '' or brought < revision;
create index volume_snapshots_underway on volume_snapshots (child, checked_at)
  where status not in ('available', 'error', 'error_deleting');
create index volume_snapshots_metadata on volume_snapshots using gin (metadata jsonb_path_ops);
