/**
 * The copy of a security group in a child, with its rules. Rules are compared by what they say and not by ids: only
 * what is missing is made, only what is too much is deleted.
 *
 * Groups may name each other in a circle, so not every group named can be there first. Those outside of a circle with
 * this group are brought before it. Within a circle each brings what it can, and whoever comes later also completes
 * the rules that name it: both have their child's id stored before they look for the other's, so one of them finds it.
 *
 * A rule that names a group has companions beside it in the child, which let pass what members of that group send from
 * other children (remote-member/).
 */
import { sql } from 'kysely';
import type { Cascade, ChildContext, ReplicaKind } from '../cascade/contract.ts';
import { applyEach } from '../cascade/apply-each.ts';
import type { Queryable } from '../db/database.ts';
import { Later } from '../cascade/later.ts';
import { describe, detailOf, findByName, removeByPath, scopeFor } from './network-replica.ts';
import type { CloudScope } from '../openstack/contract.ts';
import { CloudError } from '../openstack/error.ts';
import { hasAddressGroups, type Kept, rulesOfKept } from './address-group/kept.ts';
import { addressGroupStore } from './address-group/address-group-resource.ts';
import { keptMembers, lostMembers } from './remote-member/companion.ts';
import { wantNamed } from './remote-member/members.ts';
import { type SecurityGroupRow, type SecurityGroupRuleRow, securityGroupStore } from './security-group-resource.ts';
import { ruleKey, type RuleValues } from './security-group-rules.ts';

/** A group as it is brought: with the groups that its rules name, and which of those lead back to it. */
type Brought = SecurityGroupRow & {
  readonly before: readonly string[];
  readonly circle: readonly string[];
};

type ChildRule = RuleValues & { readonly id: string };

/** The kind of security groups. */
export function securityGroupKind(cascade: Cascade): ReplicaKind<Brought> {
  return {
    kind: 'security_group',
    table: 'security_groups',
    unique: false,
    load,
    needs: (row) => row.before.map((id) => ({ kind: 'security_group', id })),
    find: (context, id, row) => findByName(context, '/security-groups', 'security_groups', id, row?.project_id),
    async make(context, row) {
      const { body } = await context.api.call<{ security_group: { id: string } }>({
        service: 'network',
        method: 'POST',
        path: '/security-groups',
        body: { security_group: { name: row.id, description: describe(row.name), ...statefulOf(row) } },
        scope: await context.scope(row.project_id),
      });
      // The rules follow: they may name the group itself.
      return { child_id: body.security_group.id, detail: detailOf(row.project_id), current: false };
    },
    /** Twice: the second finds every rule there. */
    async bring(context, row, replica) {
      const childId = replica.child_id;
      if (childId === null) return;
      if (replica.revision !== 0) {
        await context.api.call({
          service: 'network',
          method: 'PUT',
          path: `/security-groups/${childId}`,
          body: { security_group: { description: describe(row.name), ...statefulOf(row) } },
          scope: await context.scope(row.project_id),
        });
      }
      await wantLists(context, cascade, row);
      await bringRules(context, cascade, row.id, childId);
      await completeCircle(context, cascade, row);
    },
    remove: (context, replica) =>
      removeByPath(context, `/security-groups/${replica.child_id}`, replica.detail.project_id),
  };
}

/** Children that do not know stateless groups need not hear that one is stateful. */
const statefulOf = (row: SecurityGroupRow) => (row.stateful ? {} : { stateful: false });

const rulesOf = (row: SecurityGroupRow): SecurityGroupRuleRow[] => row.rules as SecurityGroupRuleRow[];

async function load(query: Queryable, id: string): Promise<Brought | undefined> {
  const row = await securityGroupStore.find(query, id);
  if (row === undefined) return undefined;
  const foreign = rulesOf(row).some(({ remote_group_id }) => remote_group_id !== null && remote_group_id !== id);
  if (!foreign) return { ...row, before: [], circle: [] };
  const reached = await sql<{ origin: string; circle: boolean }>`
    with recursive reach (origin, id) as (
      select remote_group_id, remote_group_id from security_group_rules
      where security_group_id = ${id} and remote_group_id <> ${id}
      union
      select reach.origin, next.remote_group_id from reach
      join security_group_rules next on next.security_group_id = reach.id
      where next.remote_group_id is not null
    )
    select origin, bool_or(id = ${id}) as circle from reach group by origin`.execute(query);
  return {
    ...row,
    before: reached.rows.filter(({ circle }) => !circle).map(({ origin }) => origin),
    circle: reached.rows.filter(({ circle }) => circle).map(({ origin }) => origin),
  };
}

/** Has the child keep what the rules of a group name beside it, as far as bringing the rules does not see to that. */
async function wantLists(context: ChildContext, cascade: Cascade, row: SecurityGroupRow): Promise<void> {
  const groups = remotesOf(row);
  const named = [...new Set(rulesOf(row).flatMap(({ remote_address_group_id }) => remote_address_group_id ?? []))];
  // One that is kept as rules is told of its changes all the same.
  const asRules = named.length > 0 && !(await hasAddressGroups(context.db, context.child)) ? named : [];
  if (groups.length === 0 && asRules.length === 0) return;
  await context.db.transaction(async (tx) => {
    for (const id of asRules) await cascade.wantReplica(tx, context.child, 'address_group', id);
    if (groups.length > 0) await wantNamed(tx, cascade, context.child, groups);
  });
  cascade.poke(context.child);
}

/** The groups that the rules of a group name, each once. */
const remotesOf = (row: SecurityGroupRow): string[] => [
  ...new Set(rulesOf(row).flatMap(({ remote_group_id }) => remote_group_id ?? [])),
];

const TRIES = 10;
const AGAIN_MS = 1000;

/**
 * Makes the child's rules those of the group, as far as the groups that they name are there. Several may be at one copy:
 * each looks, after it changed something, whether that is still what is wanted, so that the last word is the newest.
 * Twice: the second changes nothing.
 */
export async function bringRules(
  context: ChildContext,
  cascade: Pick<Cascade, 'want'>,
  id: string,
  childId: string,
): Promise<void> {
  for (let tried = 0; tried < TRIES; tried += 1) {
    const row = await securityGroupStore.find(context.db.query, id);
    if (row === undefined) return;
    const scope = await scopeFor(context, row.project_id);
    const present = await presentRules(context, childId, scope);
    // Read after what is there: what others added to that by now is wanted here as well.
    const wanted = await wantedRules(context, id, childId);
    const missing = [...wanted.rules].filter(([key]) => !present.has(key)).map(([, rule]) => rule);
    const extra = [...present].filter(([key]) => !wanted.rules.has(key)).map(([, rule]) => rule);
    if (missing.length === 0 && extra.length === 0) return;
    try {
      await addRules(
        context,
        missing.map((rule) => ({ ...rule, security_group_id: childId })),
        scope,
      );
    } catch (error) {
      const isMissing = error instanceof CloudError && error.status === 404;
      throw (isMissing ? await lostMembers(context, cascade, scope, wanted.kept) : undefined) ?? error;
    }
    await removeRules(context, extra, scope);
    if (sameRules(wanted.rules, (await wantedRules(context, id, childId)).rules)) return;
  }
  throw new Later(AGAIN_MS, 'the rules of a security group change faster than they can be brought to the child');
}

const sameRules = (one: ReadonlyMap<string, RuleValues>, other: ReadonlyMap<string, RuleValues>): boolean =>
  one.size === other.size && [...one.keys()].every((key) => other.has(key));

async function presentRules(
  context: ChildContext,
  childId: string,
  scope: CloudScope,
): Promise<ReadonlyMap<string, ChildRule>> {
  const { body } = await context.api.call<{ security_group_rules: ChildRule[] }>({
    service: 'network',
    method: 'GET',
    path: '/security-group-rules',
    query: { security_group_id: childId },
    scope,
  });
  const present = new Map<string, ChildRule>();
  await applyEach(
    body.security_group_rules,
    context.log,
    ({ id }) => id,
    (rule) => void present.set(ruleKey(rule), rule),
  );
  return present;
}

interface Wanted {
  /** In the child's ids, by their keys. */
  readonly rules: ReadonlyMap<string, RuleValues>;
  /** What the child keeps of members elsewhere, by the group. */
  readonly kept: ReadonlyMap<string, Kept>;
}

/** A group's rules and their companions; those naming a group that is not there yet are left out. None where it went. */
async function wantedRules(context: ChildContext, id: string, childId: string): Promise<Wanted> {
  const { query } = context.db;
  const row = await securityGroupStore.find(query, id);
  const rules = new Map<string, RuleValues>();
  if (row === undefined) return { rules, kept: new Map() };
  const kept = await keptMembers(query, context.child, remotesOf(row));
  const want = (values: RuleValues): void => void rules.set(ruleKey(values), values);
  for (const rule of rulesOf(row)) {
    const { direction, ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix } = rule;
    const remote = rule.remote_group_id;
    const addresses = rule.remote_address_group_id;
    const open: RuleValues = {
      direction,
      ethertype,
      protocol,
      port_range_min,
      port_range_max,
      remote_ip_prefix,
      remote_group_id: null,
      remote_address_group_id: null,
    };
    if (addresses !== null) {
      for (const one of rulesOfKept(open, await keptAddresses(context, addresses))) want(one);
    } else if (remote === null) {
      want(open);
    } else {
      const remote_group_id = remote === id ? childId : await context.childId('security_group', remote);
      if (remote_group_id !== undefined) want({ ...open, remote_group_id });
      const elsewhere = kept.get(remote);
      for (const companion of elsewhere === undefined ? [] : rulesOfKept(open, elsewhere)) want(companion);
    }
  }
  return { rules, kept };
}

/** A tenant's address group as the child keeps it, made there where that is in its way. */
async function keptAddresses(context: ChildContext, id: string): Promise<Kept> {
  if (await hasAddressGroups(context.db, context.child)) {
    return { address_group: (await context.ensure('address_group', id)).child_id };
  }
  return { prefixes: (await addressGroupStore.find(context.db.query, id))?.addresses ?? [] };
}

async function removeRules(context: ChildContext, rules: readonly ChildRule[], scope: CloudScope): Promise<void> {
  await Promise.all(
    rules.map(({ id }) =>
      context.api.call({
        service: 'network',
        method: 'DELETE',
        path: `/security-group-rules/${id}`,
        accept: [404],
        scope,
      }),
    ),
  );
}

async function addRules(
  context: ChildContext,
  rules: readonly (RuleValues & { readonly security_group_id: string })[],
  scope: CloudScope,
): Promise<void> {
  if (rules.length === 0) return;
  const path = '/security-group-rules';
  const call = { service: 'network', method: 'POST', path, scope } as const;
  const all = await context.api.call({ ...call, body: { security_group_rules: rules }, accept: [409] });
  if (all.status !== 409) return;
  // One of them is there already, so that none was made.
  for (const rule of rules) {
    await context.api.call({ ...call, body: { security_group_rule: rule }, accept: [409] });
  }
}

async function completeCircle(context: ChildContext, cascade: Cascade, row: Brought): Promise<void> {
  for (const id of row.circle) {
    const childId = await context.childId('security_group', id);
    if (childId === undefined) {
      await context.db.transaction((tx) => cascade.wantReplica(tx, context.child, 'security_group', id));
      cascade.poke(context.child);
      continue;
    }
    await bringRules(context, cascade, id, childId);
  }
}
