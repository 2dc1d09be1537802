-- Trunks: a parent port, and the ports that come through it tagged. A trunk carries a copy of its subports in its body.
create table trunks (
  id             text primary key,
  project_id     text not null default '',
  name           text not null default '',
  description    text not null default '',
  admin_state_up boolean not null default true,
  port_id        text not null unique,
  status         text not null default 'DOWN',
  child          text,                           -- where all of its ports are, once that is known
  tags           text[] not null default '{}',
  created_at     timestamptz not null default clock_timestamp(),
  updated_at     timestamptz not null default clock_timestamp(),
  revision       bigint not null default 1,
  body           jsonb not null default '{}'
);
create index trunks_of_project on trunks (project_id, id);
create index trunks_of_child on trunks (child) where child is not null;

create table trunk_subports (
  port_id           text primary key,
  trunk_id          text not null references trunks (id) on delete cascade,
  segmentation_type text not null,
  segmentation_id   integer not null,
  created_at        timestamptz not null default clock_timestamp(),
  unique (trunk_id, segmentation_type, segmentation_id)
);
