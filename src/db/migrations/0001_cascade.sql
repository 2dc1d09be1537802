-- Children and what the parent knows of them. Configuration is the operator's file; here is what changes while running.
create table children (
  name          text primary key,
  zones         jsonb not null,                  -- as configured: parent zone -> the child's own
  zones_override jsonb,                          -- set by host aggregates, instead of the configured ones
  tenancy       text not null,
  up            boolean not null default false,
  seen_at       timestamptz,
  capacity      jsonb,
  created_at    timestamptz not null default clock_timestamp()
);

-- A proxy as the admin lists show it.
create table proxies (
  child           text not null references children (name) on delete cascade,
  binary_name     text not null,
  enabled         boolean not null default true,
  disabled_reason text,
  forced_down     boolean not null default false,
  updated_at      timestamptz not null default clock_timestamp(),
  primary key (child, binary_name)
);

-- The copy of one replicated resource in one child.
create table replicas (
  kind        text not null,
  resource_id text not null,
  child       text not null,
  child_id    text,                              -- null: being made; found by its mark
  revision    bigint not null default 0,
  retiring    boolean not null default false,
  detail      jsonb not null default '{}',
  sent_at     timestamptz,                       -- a create was sent then and its outcome is not known
  claimed_by  text,                              -- the process that is at it
  error       text,                              -- what the child said when it refused for good
  primary key (kind, resource_id, child)
);
create unique index replicas_by_child_id on replicas (child, kind, child_id) where child_id is not null;
create index replicas_retiring on replicas (child) where retiring;
create index replicas_claims on replicas (claimed_by) where claimed_by is not null;

-- A wake-up, never the truth: everything here can be made again from the rows of the resources.
create table work (
  lane          text not null,                   -- the child
  kind          text not null,
  resource_id   text not null,
  generation    bigint not null default 1,       -- counts intents: what came in during the work is not lost
  attempts      integer not null default 0,
  request_id    text,
  due_at        timestamptz not null default clock_timestamp(),
  claimed_by    text,                            -- the process that is at it
  primary key (lane, kind, resource_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index work_due on work (lane, due_at) where claimed_by is null;
create index work_claims on work (claimed_by) where claimed_by is not null;

-- How far each child's changes have been read and applied.
create table cursors (
  child  text not null,
  feed   text not null,
  cursor text,
  primary key (child, feed)
);

create table quotas (
  project_id text not null,
  service    text not null,
  resource   text not null,
  hard_limit bigint,
  in_use     bigint not null default 0,
  primary key (project_id, service, resource)
);
