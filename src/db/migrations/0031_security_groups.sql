-- A group carries a copy of its rules in its body, so that a list of groups is one query.
create table security_groups (
  id          text primary key,
  project_id  text not null default '',
  name        text not null default '',
  description text not null default '',
  stateful    boolean not null default true,
  shared      boolean not null default false,
  tags        text[] not null default '{}',
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}'
);
create index security_groups_of_project on security_groups (project_id, created_at desc, id desc);
create unique index security_groups_default on security_groups (project_id) where name = 'default';

create table security_group_rules (
  id                text primary key,
  project_id        text not null default '',
  security_group_id text not null references security_groups (id) on delete cascade,
  direction         text not null,
  ethertype         text not null,
  protocol          text,
  port_range_min    integer,
  port_range_max    integer,
  remote_ip_prefix  text,
  remote_group_id   text references security_groups (id),
  description       text,
  created_at        timestamptz not null default clock_timestamp(),
  updated_at        timestamptz not null default clock_timestamp(),
  revision          bigint not null default 1,
  body              jsonb not null default '{}'
);
create index security_group_rules_of_project on security_group_rules (project_id, created_at desc, id desc);
create index security_group_rules_of_group on security_group_rules (security_group_id);
create index security_group_rules_by_remote_group on security_group_rules (remote_group_id) where remote_group_id is not null;
