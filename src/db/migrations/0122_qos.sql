-- QoS policies with their rules; a policy carries a copy of its rules in its body, so that a list of policies is one query.
create table qos_policies (
  id          text primary key,
  project_id  text not null default '',
  name        text not null default '',
  description text not null default '',
  shared      boolean not null default false,
  is_default  boolean not null default false,
  tags        text[] not null default '{}',
  created_at  timestamptz not null default clock_timestamp(),
  updated_at  timestamptz not null default clock_timestamp(),
  revision    bigint not null default 1,
  body        jsonb not null default '{}'
);
create index qos_policies_of_project on qos_policies (project_id, id);
create unique index qos_policies_default on qos_policies (project_id) where is_default;

-- Rules of all types in one table: which columns a type has stands in its description.
create table qos_rules (
  id             text primary key,
  project_id     text not null default '',
  policy_id      text not null references qos_policies (id) on delete cascade,
  type           text not null,
  direction      text,
  max_kbps       integer,
  max_burst_kbps integer,
  min_kbps       integer,
  min_kpps       integer,
  max_kpps       integer,
  max_burst_kpps integer,
  dscp_mark      integer,
  created_at     timestamptz not null default clock_timestamp(),
  updated_at     timestamptz not null default clock_timestamp(),
  revision       bigint not null default 1,
  body           jsonb not null default '{}'
);
create index qos_rules_of_policy on qos_rules (policy_id, type, id);
create unique index qos_rules_once on qos_rules (policy_id, type, coalesce(direction, ''));

alter table networks add column qos_policy_id text references qos_policies (id);
alter table ports add column qos_policy_id text references qos_policies (id);
alter table floating_ips add column qos_policy_id text references qos_policies (id);
create index networks_by_qos_policy on networks (qos_policy_id) where qos_policy_id is not null;
create index ports_by_qos_policy on ports (qos_policy_id) where qos_policy_id is not null;
create index floating_ips_by_qos_policy on floating_ips (qos_policy_id) where qos_policy_id is not null;
