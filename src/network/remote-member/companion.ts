/**
 * What stands in a child beside a rule that names a group: the members that the group has in other children. It is a
 * second rule that lets the same pass, from an address group that the parent keeps there, or one for each address.
 */
import { sql } from 'kysely';
import type { Cascade, ChildContext } from '../../cascade/contract.ts';
import { Later } from '../../cascade/later.ts';
import type { Queryable } from '../../db/database.ts';
import type { CloudScope } from '../../openstack/contract.ts';
import { isKeptAsRules, type Kept } from '../address-group/kept.ts';
import { addressesElsewhere, REMOTE_MEMBERS } from './members.ts';

const AGAIN_MS = 1000;

/** What a child keeps of these groups' members elsewhere, by group; nothing of those on their way out. */
export async function keptMembers(
  query: Queryable,
  child: string,
  groupIds: readonly string[],
): Promise<ReadonlyMap<string, Kept>> {
  const kept = new Map<string, Kept>();
  if (groupIds.length === 0) return kept;
  const found = await sql<{ id: string; child_id: string }>`select resource_id as id, child_id from replicas
    where kind = ${REMOTE_MEMBERS} and child = ${child} and resource_id = any(${[...groupIds]}::text[])
      and child_id is not null and not retiring`.execute(query);
  for (const { id, child_id } of found.rows) {
    const isRules = isKeptAsRules(child_id);
    kept.set(id, isRules ? { prefixes: await addressesElsewhere(query, id, child) } : { address_group: child_id });
  }
  return kept;
}

/**
 * After a child answered 404 for rules: where one of the address groups was taken away behind the parent's back, has it
 * made again.
 * @returns what to throw then; undefined where all of them are there
 */
export async function lostMembers(
  context: ChildContext,
  cascade: Pick<Cascade, 'want'>,
  scope: CloudScope,
  kept: ReadonlyMap<string, Kept>,
): Promise<Later | undefined> {
  const lost: string[] = [];
  for (const [id, one] of kept) {
    if (!('address_group' in one)) continue;
    const path = `/address-groups/${one.address_group}`;
    const { status } = await context.api.call({ service: 'network', method: 'GET', path, accept: [404], scope });
    if (status === 404) lost.push(id);
  }
  if (lost.length === 0) return undefined;
  // A new revision is what has it brought, which finds that there is nothing to bring, and makes it.
  await context.db.transaction(async (tx) => {
    await sql`update security_group_members set revision = revision + 1 where id = any(${lost}::text[])`.execute(tx);
    for (const id of lost) await cascade.want(tx, context.child, REMOTE_MEMBERS, id);
  });
  return new Later(AGAIN_MS, 'an address group of members in other children is gone from the child, and made again');
}
