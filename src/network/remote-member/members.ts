/**
 * Members of security groups that live in another child than a rule that names their group. Each child with such a rule
 * keeps them beside its copies (`remote-member-replica.ts`); here is what says so, within the transactions by which
 * members come, change and go.
 *
 * The row of a group in `security_group_members` is both the revision that the children's keepings are held against and
 * the lock under which it is decided who needs one. Whoever adds a member locks it and then looks for copies of groups
 * that name the group; whoever brings such a copy has it in `replicas` already, locks the row, and then looks for members:
 * whoever comes second sees the first. It is locked after quotas, so that no two transactions wait for each other.
 */
import { type SqlBool, sql } from 'kysely';
import type { Cascade } from '../../cascade/contract.ts';
import { json, type Queryable, type Tx } from '../../db/database.ts';
import { formatAddress, parseAddress, parseCidr } from '../address-range.ts';
import type { PortRow } from '../port-resource.ts';

/** The kind under which a child keeps the members that a group has elsewhere; the id is the group's. */
export const REMOTE_MEMBERS = 'remote_members';

/** What of a port makes it a member: in which groups, from where, with which addresses. */
export type Member = Pick<PortRow, 'security_groups' | 'child' | 'fixed_ips' | 'allowed_address_pairs'>;

/** A port before and after a change; either is absent where it comes or goes. */
export interface MemberChange {
  readonly before?: Member | undefined;
  readonly after?: Member | undefined;
}

/**
 * So long do changes wait for further ones: a hundred servers that boot at once cost a child a few calls. A member's own
 * port takes longer to be made and wired.
 */
const GATHER_MS = 500;

const because = (requestId: string | undefined) => (requestId === undefined ? {} : { requestId });

/**
 * Says that ports came, changed or went. To be called in their transaction, after they were stored and counted, for every
 * change of what makes a port a member; it sees for itself whether anything did.
 */
export async function membersChanged(
  tx: Tx,
  cascade: Cascade,
  changes: readonly MemberChange[],
  requestId?: string,
): Promise<void> {
  const touched = new Map<string, Set<string>>();
  for (const { before, after } of changes) {
    if (sayOf(before) === sayOf(after)) continue;
    for (const one of [before, after]) {
      for (const group of one?.security_groups ?? []) {
        const children = touched.get(group) ?? new Set();
        touched.set(group, children);
        if (one?.child != null) children.add(one.child);
      }
    }
  }
  if (touched.size === 0) return;
  const groups = [...touched].map(([id, children]) => ({ id, children: [...children] }));
  await sql`insert into security_group_members as m (id, children)
    select id, children from jsonb_to_recordset(${json(groups)}) as g(id text, children text[]) order by id
    on conflict (id) do update set revision = m.revision + 1,
      children = array(select distinct unnest(m.children || excluded.children) order by 1)`.execute(tx);
  const needs = await needsOf(tx, [...touched.keys()]);
  for (const { id, child } of needs.filter(({ is_kept }) => !is_kept)) {
    await cascade.wantReplica(tx, child, REMOTE_MEMBERS, id, because(requestId));
  }
  for (const id of new Set(needs.filter(({ is_kept }) => is_kept).map((one) => one.id))) {
    await cascade.revise(tx, REMOTE_MEMBERS, id, { ...because(requestId), delay_ms: GATHER_MS });
  }
}

/** Two ports that say the same are the same member; one that is nowhere is none yet. */
function sayOf(port: Member | undefined): string | undefined {
  if (port === undefined || port.security_groups.length === 0) return undefined;
  const { security_groups, child, fixed_ips, allowed_address_pairs } = port;
  return JSON.stringify([security_groups, child, fixed_ips, allowed_address_pairs]);
}

interface Need {
  readonly id: string;
  readonly child: string;
  readonly is_kept: boolean;
}

/** Children with a copy of a group that names one of these, which has members elsewhere; and whether they keep those. */
async function needsOf(tx: Tx, ids: readonly string[]): Promise<readonly Need[]> {
  const found = await sql<Need>`
    select distinct m.id, copy.child, exists (select 1 from replicas kept where kept.kind = ${REMOTE_MEMBERS}
      and kept.resource_id = m.id and kept.child = copy.child and not kept.retiring) as is_kept
    from security_group_members m join security_group_rules rule on rule.remote_group_id = m.id
    join replicas copy on copy.kind = 'security_group' and copy.resource_id = rule.security_group_id and not copy.retiring
    where m.id = any(${[...ids]}::text[]) and ${isElsewhere()} order by 1, 2`.execute(tx);
  return found.rows;
}

const isElsewhere = () => sql<SqlBool>`exists (select 1 from unnest(m.children) as c where c <> copy.child)`;

/**
 * Has a child keep the members of groups that a group named whose copy is being brought there. The copy must stand in
 * `replicas` by now. Twice: they are kept already.
 */
export async function wantNamed(tx: Tx, cascade: Cascade, child: string, ids: readonly string[]): Promise<void> {
  await lock(tx, ids);
  const needs = await needsOf(tx, ids);
  for (const need of needs.filter((one) => one.child === child && !one.is_kept)) {
    await cascade.wantReplica(tx, child, REMOTE_MEMBERS, need.id);
  }
}

/** Says, after rules went, that children which only they gave a need no longer keep the members of the groups they named. */
export async function releaseNamed(
  tx: Tx,
  cascade: Cascade,
  ids: readonly string[],
  requestId?: string,
): Promise<void> {
  if (ids.length === 0) return;
  await lock(tx, ids);
  const idle = await sql<{ id: string; child: string }>`
    select kept.resource_id as id, kept.child from replicas kept
    where kept.kind = ${REMOTE_MEMBERS} and kept.resource_id = any(${[...ids]}::text[]) and not kept.retiring
      and not exists (select 1 from security_group_rules rule
        join replicas copy on copy.kind = 'security_group' and copy.resource_id = rule.security_group_id
        where rule.remote_group_id = kept.resource_id and copy.child = kept.child and not copy.retiring)
    order by 1, 2`.execute(tx);
  for (const { id, child } of idle.rows) {
    await cascade.retire(tx, REMOTE_MEMBERS, id, { ...because(requestId), child });
  }
}

/** Says, where a child was seen to keep no member of a group, where it really has some, and who needs none of it. */
export async function settleMembers(tx: Tx, cascade: Cascade, id: string): Promise<void> {
  await lock(tx, [id]);
  await sql`update security_group_members set children = array(
      select distinct place.child from ports p, lateral (${placesOf()}) as place
      where p.security_groups @> ${[id]}::text[] order by 1)
    where id = ${id}`.execute(tx);
  const idle = await sql<{ child: string }>`
    select copy.child from replicas copy join security_group_members m on m.id = copy.resource_id
    where copy.kind = ${REMOTE_MEMBERS} and m.id = ${id} and not copy.retiring and not ${isElsewhere()}`.execute(tx);
  for (const { child } of idle.rows) await cascade.retire(tx, REMOTE_MEMBERS, id, { child });
}

/** The rows of these groups, made where there were none, stay locked until the transaction ends. */
async function lock(tx: Tx, ids: readonly string[]): Promise<void> {
  await sql`insert into security_group_members (id)
    select id from security_groups where id = any(${[...ids]}::text[]) order by id
    on conflict (id) do update set id = excluded.id`.execute(tx);
}

/** Where a port `p` is: in the child of its server, or where a trunk or a floating IP had it made. */
const placesOf = () => sql`select p.child where p.child is not null
  union select r.child from replicas r
  where p.child is null and r.kind = 'port' and r.resource_id = p.id and not r.retiring`;

/**
 * The addresses of a group's members in all other children, as prefixes in their usual form, each once, sorted. As
 * Neutron counts them: the fixed ones, and the allowed address pairs beside them. Not so the pairs that stand for every
 * address: Neutron lets them pass by their MAC alone, which does not reach another child.
 */
export async function addressesElsewhere(query: Queryable, groupId: string, child: string): Promise<string[]> {
  const found = await sql<Pick<Member, 'fixed_ips' | 'allowed_address_pairs'>>`
    select p.body -> 'fixed_ips' as fixed_ips, p.body -> 'allowed_address_pairs' as allowed_address_pairs
    from ports p where p.security_groups @> ${[groupId]}::text[]
      and exists (select 1 from (${placesOf()}) as place where place.child <> ${child})`.execute(query);
  const texts = found.rows
    .filter(({ fixed_ips }) => fixed_ips.length > 0)
    .flatMap((port) => [...port.fixed_ips, ...(port.allowed_address_pairs ?? [])].map(({ ip_address }) => ip_address));
  return [...new Set(texts.flatMap((text) => prefixOf(text) ?? []))].sort();
}

function prefixOf(text: string): string | undefined {
  const address = parseAddress(text);
  if (address !== undefined) {
    return `${formatAddress(address.value, address.version)}/${address.version === 4 ? 32 : 128}`;
  }
  const cidr = parseCidr(text);
  return cidr === undefined || cidr.prefix === 0 ? undefined : cidr.text;
}

declare module '../../db/tables.ts' {
  interface Tables {
    security_group_members: { id: string; revision: number; children: string[] };
  }
}
