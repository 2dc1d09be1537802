/** The group `default` that every project has: made when the project first does something with networks. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Tx } from '../db/database.ts';
import { securityGroupRuleStore } from './security-group-resource.ts';

/**
 * The id of a project's default group, made where it is missing. Twice at once: one makes it, the other waits for that.
 */
export async function ensureDefaultGroup(tx: Tx, projectId: string): Promise<string> {
  const known = await defaultGroupOf(tx, projectId);
  if (known !== undefined) return known;
  const id = randomUUID();
  const made = await sql`
    insert into security_groups (id, project_id, name, description)
    values (${id}, ${projectId}, 'default', 'Default security group')
    on conflict do nothing returning 1`.execute(tx);
  if (made.rows.length === 0) return (await defaultGroupOf(tx, projectId)) as string;
  for (const ethertype of ['IPv4', 'IPv6']) {
    await addRule(tx, projectId, id, 'egress', ethertype, null);
    // What its own members send comes in.
    await addRule(tx, projectId, id, 'ingress', ethertype, id);
  }
  await copyRules(tx, id);
  // A group that everybody has must not be refused for want of quota, and is counted all the same.
  await sql`insert into quotas as q (project_id, service, resource, in_use)
    values (${projectId}, 'network', 'security_group', 1), (${projectId}, 'network', 'security_group_rule', 4)
    on conflict (project_id, service, resource) do update set in_use = q.in_use + excluded.in_use`.execute(tx);
  return id;
}

/** The two rules that let a new group's members send: both versions, everywhere. The caller counts them. */
export async function addEgressRules(tx: Tx, projectId: string, groupId: string): Promise<void> {
  for (const ethertype of ['IPv4', 'IPv6']) await addRule(tx, projectId, groupId, 'egress', ethertype, null);
}

/** Brings the group's own copy of its rules up to date. */
export async function copyRules(tx: Tx, groupId: string): Promise<void> {
  await sql`update security_groups set body = jsonb_set(body, '{rules}', coalesce((
      select jsonb_agg(to_jsonb(r) - 'body' || r.body order by r.created_at, r.id)
      from security_group_rules r where r.security_group_id = ${groupId}), '[]'))
    where id = ${groupId}`.execute(tx);
}

async function defaultGroupOf(tx: Tx, projectId: string): Promise<string | undefined> {
  const row = await tx
    .selectFrom('security_groups')
    .select('id')
    .where('project_id', '=', projectId)
    .where('name', '=', 'default')
    .executeTakeFirst();
  return row?.id;
}

async function addRule(
  tx: Tx,
  projectId: string,
  groupId: string,
  direction: string,
  ethertype: string,
  remote_group_id: string | null,
): Promise<void> {
  await securityGroupRuleStore.insert(tx, {
    id: randomUUID(),
    project_id: projectId,
    security_group_id: groupId,
    direction,
    ethertype,
    protocol: null,
    port_range_min: null,
    port_range_max: null,
    remote_ip_prefix: null,
    remote_group_id,
    remote_address_group_id: null,
    description: null,
  });
}
