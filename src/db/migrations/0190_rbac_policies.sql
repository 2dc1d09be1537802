-- Policies that let other projects use an object. With whom it is shared also stands on the object's own row, so that a
-- list is one query over one table.
create table rbac_policies (
  id            text primary key,
  project_id    text not null default '',
  object_type   text not null,
  object_id     text not null,
  action        text not null,
  target_tenant text not null,                    -- a project's id, or * for everybody
  counted       boolean not null default true,    -- by the quota: not those that come with `shared` or `router:external`
  created_at    timestamptz not null default clock_timestamp(),
  updated_at    timestamptz not null default clock_timestamp(),
  revision      bigint not null default 1,
  body          jsonb not null default '{}',
  unique (object_id, action, target_tenant)
);
create index rbac_policies_of_project on rbac_policies (project_id, id);

alter table networks add column shared_with text[] not null default '{}';
alter table networks add column external_shared boolean not null default false;   -- as external, with everybody
alter table networks add column external_with text[] not null default '{}';
update networks set external_shared = external;
drop index networks_for_everyone;
create index networks_for_everyone on networks (id) where shared or external_shared;
create index networks_shared_with on networks using gin (shared_with) where shared_with <> '{}';
create index networks_external_with on networks using gin (external_with) where external_with <> '{}';
alter table qos_policies add column shared_with text[] not null default '{}';
create index qos_policies_for_everyone on qos_policies (id) where shared;
create index qos_policies_shared_with on qos_policies using gin (shared_with) where shared_with <> '{}';
alter table security_groups add column shared_with text[] not null default '{}';
create index security_groups_shared_with on security_groups using gin (shared_with) where shared_with <> '{}';
alter table address_groups add column shared boolean not null default false;
alter table address_groups add column shared_with text[] not null default '{}';
create index address_groups_for_everyone on address_groups (id) where shared;
create index address_groups_shared_with on address_groups using gin (shared_with) where shared_with <> '{}';

insert into rbac_policies (id, project_id, object_type, object_id, action, target_tenant, counted)
select gen_random_uuid()::text, project_id, 'network', id, 'access_as_shared', '*', false from networks where shared
union all
select gen_random_uuid()::text, project_id, 'network', id, 'access_as_external', '*', false from networks where external
union all
select gen_random_uuid()::text, project_id, 'qos_policy', id, 'access_as_shared', '*', false from qos_policies where shared
union all
select gen_random_uuid()::text, project_id, 'address_scope', id, 'access_as_shared', '*', false from address_scopes where shared
union all
select gen_random_uuid()::text, project_id, 'subnetpool', id, 'access_as_shared', '*', false from subnet_pools where shared;
