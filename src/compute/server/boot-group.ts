/** Where the servers of a group go: a group's policy is about children, as its hosts are here. */
import { sql } from 'kysely';
import type { Placement } from '../../cascade/contract.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { badRequest, forbidden } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { childrenOfGroup, type ServerGroup } from '../server-group/server-group.ts';
import { place, type PlaceRequest, type Resolved } from './boot-lookup.ts';
import { projectOf } from './boot-quota.ts';
import type { ServerDependencies } from './dependencies.ts';

export interface MembersRequest extends PlaceRequest {
  readonly context: RequestContext;
  readonly group: ServerGroup;
  readonly resolved: Resolved;
  readonly count: number;
}

/**
 * Chooses the children of new members. The group stays locked until the transaction ends, so that two boots do not both
 * take what only one may have.
 * @returns one for each; none for all of them where the policy leaves too few, as Nova has it
 * @throws Fault 400 where the group was deleted meanwhile, 403 where it would have too many members
 */
export async function placeMembers(
  tx: Tx,
  dependencies: ServerDependencies,
  { context, group, resolved, zone, host, count }: MembersRequest,
): Promise<readonly (Placement | undefined)[]> {
  const kept = await sql`select 1 from server_groups where id = ${group.id} for update`.execute(tx);
  if (kept.rows.length === 0) throw badRequest(`Instance group ${group.id} could not be found.`);
  await requireMembersQuota(tx, dependencies, context, group.id, count);
  const used = new Map(await childrenOfGroup(tx, group.id));
  const placements: Placement[] = [];
  // Networks that are nowhere yet come to live where the first of the servers goes.
  const isDrawn = resolved.networks.children === undefined && resolved.networks.requests.length > 0;
  for (let index = 0; index < count; index += 1) {
    const drawn = isDrawn ? placements[0]?.child : undefined;
    const chosen = await placeOne(tx, dependencies, resolved, { zone, host }, attemptsOf(group, used), drawn);
    if (chosen === undefined) return Array.from({ length: count }, () => undefined);
    used.set(chosen.child, (used.get(chosen.child) ?? 0) + 1);
    placements.push(chosen);
  }
  return placements;
}

type Attempt = Pick<PlaceRequest, 'among' | 'exclude'>;

async function placeOne(
  query: Queryable,
  dependencies: ServerDependencies,
  resolved: Resolved,
  request: PlaceRequest,
  attempts: readonly Attempt[],
  drawn: string | undefined,
): Promise<Placement | undefined> {
  for (const { among, exclude } of attempts) {
    const allowed = drawn === undefined ? among : [drawn].filter((child) => among?.includes(child) !== false);
    const chosen = await place(query, dependencies, resolved, { ...request, among: allowed, exclude });
    if (chosen !== undefined) return chosen;
  }
  return undefined;
}

/** What a policy allows, the best first; after a soft one's wishes, anything. */
export function attemptsOf(
  { policy, rules }: Pick<ServerGroup, 'policy' | 'rules'>,
  used: ReadonlyMap<string, number>,
): readonly Attempt[] {
  const withMore = (than: number): string[] => [...used].flatMap(([child, members]) => (members > than ? [child] : []));
  switch (policy) {
    case 'affinity':
      return used.size === 0 ? [{}] : [{ among: [...used.keys()] }];
    case 'soft-affinity':
      return used.size === 0 ? [{}] : [{ among: [...used.keys()] }, {}];
    case 'anti-affinity':
      return [{ exclude: withMore((rules.max_server_per_host ?? 1) - 1) }];
    case 'soft-anti-affinity':
      // Nowhere used, then where there are fewest.
      return [0, ...[...new Set(used.values())].sort((one, other) => one - other)].map((members) => ({
        exclude: withMore(members),
      }));
  }
}

/** Counted as Nova does: the caller's own servers in the group. */
async function requireMembersQuota(
  tx: Tx,
  { quotas }: ServerDependencies,
  context: RequestContext,
  groupId: string,
  more: number,
): Promise<void> {
  const limit = (await quotas.usage(tx, projectOf(context))).server_group_members?.limit ?? -1;
  if (limit < 0) return;
  const { rows } = await sql<{ count: number }>`
    select count(*)::int as count from server_group_members m
    join servers s on s.id = m.server_id and s.deleted_at is null
    where m.group_id = ${groupId} and s.user_id = ${context.identity.user.id}`.execute(tx);
  if ((rows[0]?.count ?? 0) + more > limit) throw forbidden('Quota exceeded, too many servers in group');
}
