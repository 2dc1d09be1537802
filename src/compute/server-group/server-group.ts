/** Server groups: rows and members. */
import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Queryable, Tx } from '../../db/database.ts';
import { type Fault, forbidden, notFound } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { QuotaExceeded } from '../../resource/quota.ts';
import { createStore } from '../../resource/store.ts';
import { computeQuotas } from '../quota-set/quotas.ts';

export type GroupPolicy = 'affinity' | 'anti-affinity' | 'soft-affinity' | 'soft-anti-affinity';

const serverGroupResource = resource({
  name: 'server_group',
  table: 'server_groups',
  fields: {
    user_id: field(Type.String(), { column: true }),
    name: field(Type.String(), { column: true }),
    policy: field(Type.Unsafe<GroupPolicy>({ type: 'string' }), { column: true }),
    rules: field(Type.Unsafe<{ readonly max_server_per_host?: number }>({ type: 'object' }), { default: {} }),
  },
});

export type ServerGroup = Row<typeof serverGroupResource>;

declare module '../../db/tables.ts' {
  interface Tables {
    server_groups: TableOf<typeof serverGroupResource>;
    server_group_members: { group_id: string; server_id: string };
  }
}

const serverGroupStore = createStore<typeof serverGroupResource, ServerGroup>(serverGroupResource);

export const serverGroupNotFound = (id: string): Fault => notFound(`Instance group ${id} could not be found.`);

/** A group of the caller's project (of any, for an admin), or undefined. For schedulers and the API alike. */
export async function findServerGroup(
  query: Queryable,
  context: RequestContext,
  id: string,
): Promise<ServerGroup | undefined> {
  const own = sql<SqlBool>`project_id = ${context.identity.project?.id ?? '-'}`;
  return serverGroupStore.find(query, id, context.identity.isAdmin ? [] : [own]);
}

/** Members that live, by group: at most 1,000 each. */
export async function membersOf(
  query: Queryable,
  groupIds: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  if (groupIds.length === 0) return new Map();
  const { rows } = await sql<{ group_id: string; members: string[] }>`
    select m.group_id, (array_agg(m.server_id order by s.created_at, s.id))[1:1000] as members
    from server_group_members m join servers s on s.id = m.server_id and s.deleted_at is null
    where m.group_id = any(${[...groupIds]}) group by m.group_id`.execute(query);
  return new Map(rows.map((row) => [row.group_id, row.members]));
}

/** In the boot's transaction: the server is a member from now on. Twice: the same. */
export async function joinServerGroup(tx: Tx, groupId: string, serverIds: readonly string[]): Promise<void> {
  if (serverIds.length === 0) return;
  await tx
    .insertInto('server_group_members')
    .values(serverIds.map((server_id) => ({ group_id: groupId, server_id })))
    .onConflict((clash) => clash.doNothing())
    .execute();
}

/**
 * The children that members live in, with how many each: what a policy is held against.
 * @param without a member that is to go elsewhere
 */
export async function childrenOfGroup(
  query: Queryable,
  groupId: string,
  without = '',
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await sql<{ child: string; count: number }>`
    select s.child, count(*)::int as count
    from server_group_members m join servers s on s.id = m.server_id and s.deleted_at is null
    where m.group_id = ${groupId} and s.child is not null and s.id <> ${without} group by s.child`.execute(query);
  return new Map(rows.map((row) => [row.child, row.count]));
}

/**
 * The group of a server that is to go to another child, with the children of its other members. Locked until the
 * transaction ends, so that no two members take what only one may have. Undefined where it is in none.
 */
export async function groupOfServer(
  tx: Tx,
  serverId: string,
): Promise<{ readonly group: ServerGroup; readonly others: ReadonlyMap<string, number> } | undefined> {
  const { rows } = await sql<{ group_id: string }>`select group_id from server_group_members
    where server_id = ${serverId}`.execute(tx);
  const group = rows[0] === undefined ? undefined : await serverGroupStore.lock(tx, rows[0].group_id);
  if (group === undefined) return undefined;
  return { group, others: await childrenOfGroup(tx, group.id, serverId) };
}

/**
 * Stores a new group, counted in its project's quota.
 * @throws Fault 403 past the limit
 */
export async function createServerGroup(
  tx: Tx,
  group: Pick<ServerGroup, 'project_id' | 'user_id' | 'name' | 'policy' | 'rules'>,
): Promise<ServerGroup> {
  try {
    const row = await serverGroupStore.insert(tx, { id: randomUUID(), ...group });
    await computeQuotas().reserve(tx, group.project_id, { server_groups: 1 });
    return row;
  } catch (error) {
    if (error instanceof QuotaExceeded) throw forbidden('Quota exceeded, too many server groups.');
    throw error;
  }
}

/**
 * Takes a group away and gives its quota back; its servers stay.
 * @throws Fault 404
 */
export async function deleteServerGroup(tx: Tx, context: RequestContext, id: string): Promise<void> {
  const group = await findServerGroup(tx, context, id);
  if (group === undefined || !(await serverGroupStore.remove(tx, id))) throw serverGroupNotFound(id);
  await computeQuotas().reserve(tx, group.project_id, { server_groups: -1 });
}
