/** Security groups of a server's ports, as Nova adds, removes and shows them. */
import { sql, type SqlBool } from 'kysely';
import type { Cascade } from '../cascade/contract.ts';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict, type Fault, notFound } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { callersProject } from './network-project.ts';
import type { PortEvents } from './port-events.ts';
import { lockPorts } from './port-make.ts';
import { portStore } from './port-resource.ts';
import { type MemberChange, membersChanged } from './remote-member/members.ts';
import { ensureDefaultGroup } from './security-group-default.ts';
import { type SecurityGroupRuleRow, securityGroupStore } from './security-group-resource.ts';
import type { GroupChange, ServerGroup, ServerGroupRule } from './server-networks.ts';

/** See `ServerNetworks.changeGroups`. */
export async function changeGroups(
  tx: Tx,
  { cascade, events }: { readonly cascade: Cascade; readonly events: PortEvents },
  context: RequestContext,
  serverId: string,
  change: GroupChange,
): Promise<void> {
  const name = 'add' in change ? change.add : change.remove;
  const group = await groupNamed(tx, callersProject(context), name);
  const ports = await lockPorts(
    tx,
    sql<SqlBool>`device_id = ${serverId} and device_id <> '' and starts_with(device_owner, 'compute:')`,
  );
  if (ports.length === 0) throw notFound(`instance_id ${serverId} could not be found as device id on any ports`);
  if ('add' in change && ports.some((port) => !port.port_security_enabled || port.fixed_ips.length === 0)) {
    throw badRequest('Network requires port_security_enabled and subnet associated in order to apply security groups.');
  }
  const changed = ports.filter(({ security_groups }) => security_groups.includes(group) !== 'add' in change);
  if (changed.length === 0) {
    if ('add' in change) return;
    throw notFound(`Security group ${name} not associated with the instance ${serverId}`);
  }
  const members: MemberChange[] = [];
  for (const before of changed) {
    const { id, security_groups } = before;
    const groups = 'add' in change ? [...security_groups, group] : security_groups.filter((one) => one !== group);
    members.push({ before, after: await portStore.update(tx, id, { security_groups: groups }) });
    await cascade.revise(tx, 'port', id, { requestId: context.requestId });
  }
  await membersChanged(tx, cascade, members, context.requestId);
  await events.changed(tx, changed);
}

/** The id of the project's group of that id or name, kept from being deleted until the transaction ends. */
async function groupNamed(tx: Tx, project: string, name: string): Promise<string> {
  if (name === 'default') await ensureDefaultGroup(tx, project);
  const { rows } = await sql<{ id: string }>`select id from security_groups
    where (id = ${name} or name = ${name}) and (project_id = ${project} or shared or shared_with @> array[${project}]::text[]) order by id for key share`.execute(
    tx,
  );
  if (rows.some(({ id }) => id === name)) return name;
  if (rows.length > 1) throw severalGroups(name);
  if (rows[0] === undefined) throw notFound(`Security group ${name} is not found for project ${project}`);
  return rows[0].id;
}

const severalGroups = (name: string): Fault =>
  conflict(`Multiple security_group matches found for name '${name}', use an ID to be more specific.`);

/** See `ServerNetworks.groupsOf`. Two queries, however many groups and rules there are. */
export async function groupsOf(query: Queryable, serverId: string): Promise<readonly ServerGroup[]> {
  const groups = await securityGroupStore.select(query, [
    sql<SqlBool>`id in (select unnest(p.security_groups) from ports p
      where p.device_id = ${serverId} and p.device_id <> '' and starts_with(p.device_owner, 'compute:'))`,
  ]);
  const ingress = new Map(
    groups.map((group) => [
      group.id,
      (group.rules as SecurityGroupRuleRow[]).filter(({ direction }) => direction === 'ingress'),
    ]),
  );
  const named = new Set([...ingress.values()].flat().flatMap(({ remote_group_id }) => remote_group_id ?? []));
  const sources = new Map((await securityGroupStore.findMany(query, [...named])).map((group) => [group.id, group]));
  return groups.map(({ id, name, description, project_id }) => ({
    id,
    name,
    description,
    project_id,
    rules: (ingress.get(id) ?? []).map((rule) => shown(rule, sources.get(rule.remote_group_id ?? ''))),
  }));
}

function shown(
  rule: SecurityGroupRuleRow,
  source: { readonly name: string; readonly project_id: string } | undefined,
): ServerGroupRule {
  const { protocol } = rule;
  const isWhole = protocol !== null && rule.port_range_min === null && rule.port_range_max === null;
  const [first, last] = ['tcp', 'udp'].includes(protocol ?? '') ? [1, 65535] : [-1, -1];
  return {
    id: rule.id,
    protocol,
    from_port: isWhole ? first : rule.port_range_min,
    to_port: isWhole ? last : rule.port_range_max,
    source: source === undefined ? undefined : { name: source.name, project_id: source.project_id },
    // Nova shows where everybody may come from as all of IPv4, whatever the rule's version.
    cidr: rule.remote_ip_prefix ?? '0.0.0.0/0',
  };
}
