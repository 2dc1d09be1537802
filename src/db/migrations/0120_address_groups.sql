-- Address groups: lists of prefixes that security group rules name. Each child with such a rule has a copy.
create table address_groups (
  id          text primary key,
  project_id  text not null default '',
  name        text not null default '',
  description text not null default '',
  addresses   text[] not null default '{}',
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}'
);
create index address_groups_of_project on address_groups (project_id, id);

alter table security_group_rules add column remote_address_group_id text references address_groups (id);
create index security_group_rules_by_address_group on security_group_rules (remote_address_group_id)
  where remote_address_group_id is not null;
