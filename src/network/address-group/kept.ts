/**
 * How a child keeps addresses that security group rules name: as an address group of its own, or, where it has none or
 * is not known to keep to them, as nothing but rules: one for each address, in place of each rule that names them.
 */
import type { ChildContext } from '../../cascade/contract.ts';
import { Later } from '../../cascade/later.ts';
import type { Db } from '../../db/database.ts';
import { CloudError, plainSentence } from '../../openstack/error.ts';
import { abilityOf, PREFIXES_MAX } from '../ability.ts';
import { detailOf } from '../network-replica.ts';
import type { RuleValues } from '../security-group-rules.ts';

/** An address group of the child's id, or the prefixes that get rules. */
export type Kept = { readonly address_group: string } | { readonly prefixes: readonly string[] };

/** What stands for the child's id of addresses that are kept as rules. */
const AS_RULES = 'prefixes:';
const AGAIN_MS = 1000;

export const isKeptAsRules = (childId: string | null): boolean => childId?.startsWith(AS_RULES) === true;

/** The copy of addresses that are kept as rules: there is none, and the rules are to be brought. */
export const keptAsRules = (id: string, projectId: string | undefined) => ({
  child_id: `${AS_RULES}${id}`,
  detail: projectId === undefined ? {} : detailOf(projectId),
  current: false,
});

/**
 * Whether a child has address groups, and keeps to them.
 * @throws Later while nobody has asked it
 */
export async function hasAddressGroups(db: Db, child: string): Promise<boolean> {
  const ability = await abilityOf(db.query, child);
  if (ability.facts === undefined)
    throw new Later(AGAIN_MS, 'it is not known yet whether the child has address groups');
  return ability.refusal('address_groups') === undefined;
}

/** Of a child that keeps addresses otherwise by now: what there is is not to be found in the form that it should have. */
export function keptOtherwise({ child }: ChildContext, id: string): CloudError {
  return new CloudError(`${child}: the addresses of ${id} are not kept there as they should be`, {
    failure: 'refused',
    stage: 'not-sent',
    status: 404,
    transient: true,
    tenantMessage: plainSentence.busy,
  });
}

/**
 * The rules that let pass what is kept.
 * @param open the rule without whom it admits
 */
export function rulesOfKept(open: RuleValues, kept: Kept): RuleValues[] {
  if ('address_group' in kept) return [{ ...open, remote_address_group_id: kept.address_group }];
  return kept.prefixes
    .slice(0, PREFIXES_MAX)
    .filter((prefix) => prefix.includes(':') === (open.ethertype === 'IPv6'))
    .map((remote_ip_prefix) => ({ ...open, remote_ip_prefix }));
}

/** Tells the operator where rules cannot admit all. */
export function tellBound(context: ChildContext, id: string, count: number): void {
  if (count <= PREFIXES_MAX) return;
  context.log.warn(
    { id, child: context.child, addresses: count, admitted: PREFIXES_MAX },
    'a child that is not known to keep to address groups admits only so many addresses of a group',
  );
}
