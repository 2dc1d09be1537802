/**
 * What stands in a child beside a rule that names a group: the members that the group has in other children. It is a
 * second rule that lets the same pass, and names an address group that the parent keeps there; where a child has no
 * address groups, one rule for each address.
 */
import { sql } from 'kysely';
import type { Cascade, ChildContext } from '../../cascade/contract.ts';
import { Later } from '../../cascade/later.ts';
import type { Db, Queryable } from '../../db/database.ts';
import { abilityOf, PREFIXES_MAX } from '../ability.ts';
import type { CloudScope } from '../../openstack/contract.ts';
import type { RuleValues } from '../security-group-rules.ts';
import { addressesElsewhere, REMOTE_MEMBERS } from './members.ts';

/** What the child remembers as the id of members that it keeps as mere rules. */
const PREFIXES = 'prefixes:';
const AGAIN_MS = 1000;

/** How a child keeps members: in an address group of its own id, or as rules. */
export type Kept = { readonly address_group: string } | { readonly prefixes: readonly string[] };

export const prefixesId = (groupId: string): string => `${PREFIXES}${groupId}`;
export const isPrefixesId = (childId: string): boolean => childId.startsWith(PREFIXES);

/**
 * Whether a child has address groups.
 * @throws Later while nobody has asked it
 */
export async function hasAddressGroups(db: Db, child: string): Promise<boolean> {
  const ability = await abilityOf(db.query, child);
  if (ability.facts === undefined)
    throw new Later(AGAIN_MS, 'it is not known yet whether the child has address groups');
  return ability.refusal('address_groups') === undefined;
}

/** The addresses that are kept as rules in a child without address groups, by a bound. */
export async function prefixesElsewhere(query: Queryable, groupId: string, child: string): Promise<readonly string[]> {
  return (await addressesElsewhere(query, groupId, child)).slice(0, PREFIXES_MAX);
}

/** What a child keeps of these groups' members elsewhere, by group; nothing of those on their way out. One query. */
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
    kept.set(
      id,
      isPrefixesId(child_id) ? { prefixes: await prefixesElsewhere(query, id, child) } : { address_group: child_id },
    );
  }
  return kept;
}

/**
 * The rules beside one that names a group.
 * @param open that rule, but for the group
 */
export function companionsOf(open: RuleValues, kept: Kept | undefined): RuleValues[] {
  if (kept === undefined) return [];
  if ('address_group' in kept) return [{ ...open, remote_address_group_id: kept.address_group }];
  return kept.prefixes
    .filter((prefix) => prefix.includes(':') === (open.ethertype === 'IPv6'))
    .map((remote_ip_prefix) => ({ ...open, remote_ip_prefix }));
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
    await sql`update security_group_members set revision = revision + 1 where id = any(${lost.sort()}::text[])`.execute(
      tx,
    );
    for (const id of lost) await cascade.want(tx, context.child, REMOTE_MEMBERS, id);
  });
  return new Later(AGAIN_MS, 'an address group of members in other children is gone from the child, and made again');
}
