-- Members of security groups, by group: counted up with every change of them, so that the children that keep an address
-- group of those in other children know that theirs is old. `children` never lacks one that has a member; it may name one
-- that has none any more. A group that never had a member in a child has no row.
create table security_group_members (
  id       text primary key references security_groups (id) on delete cascade,
  revision bigint not null default 1,
  children text[] not null default '{}'
);

insert into security_group_members (id, children)
select member.security_group_id, array_agg(distinct member.child order by member.child)
from (
  select unnest(p.security_groups) as security_group_id, coalesce(p.child, r.child) as child
  from ports p left join replicas r on r.kind = 'port' and r.resource_id = p.id and p.child is null and not r.retiring
) as member
join security_groups g on g.id = member.security_group_id
where member.child is not null group by 1;

insert into replicas (kind, resource_id, child)
select distinct 'remote_members', m.id, copy.child
from security_group_members m
join security_group_rules rule on rule.remote_group_id = m.id
join replicas copy on copy.kind = 'security_group' and copy.resource_id = rule.security_group_id and not copy.retiring
where exists (select 1 from unnest(m.children) as c where c <> copy.child);
