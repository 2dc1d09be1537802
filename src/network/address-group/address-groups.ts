/** Address groups: their operations, and what else a change to one entails. */
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Cascade } from '../../cascade/contract.ts';
import type { Db, Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { badRequest, conflict, type Fault, notFound } from '../../http/fault.ts';
import { type Operation, operation, type RequestContext } from '../../http/service.ts';
import { renderer } from '../../resource/render.ts';
import { all } from '../../resource/store.ts';
import { parseAddress, parseCidr } from '../address-range.ts';
import { invalidAttribute } from '../network-fault.ts';
import { ownOrAdmin, plainPolicies, projectOf } from '../network-project.ts';
import { type Shareable, sharedAccess, sharedOperations } from '../rbac/shareable.ts';
import { NOT_SHARED, ownOrShared } from '../sharing.ts';
import { addressGroupResource, type AddressGroupRow, addressGroupStore, Prefixes } from './address-group-resource.ts';

export interface AddressGroupParts {
  readonly db: Db;
  readonly cascade: Cascade;
}

const addressGroupNotFound = (id: string): Fault =>
  notFound(`Address group ${id} could not be found.`, 'AddressGroupNotFound');

/** What address groups say of themselves to RBAC. */
export const addressGroupSharing: Shareable = {
  type: 'address_group',
  table: 'address_groups',
  accesses: sharedAccess(
    (id) => sql`select project_id from security_group_rules where remote_address_group_id = ${id}`,
  ),
};

/** The operations on address groups. */
export function addressGroupOperations(parts: AddressGroupParts): Operation[] {
  const { db, cascade } = parts;
  return [
    ...sharedOperations<AddressGroupRow>(addressGroupSharing, {
      db,
      convention,
      store: addressGroupStore,
      path: '/address-groups',
      policies: plainPolicies('address_group', 'an address group'),
      visible: ownOrShared,
      owned: ownOrAdmin,
      missing: addressGroupNotFound,
      bulk: true,
      creating: async (given, context) => ({
        project_id: projectOf(context, given.project_id),
        name: given.name ?? '',
        description: given.description ?? '',
        addresses: prefixesOf(given.addresses ?? []),
        ...NOT_SHARED,
      }),
      updated: (row, _before, context, tx) =>
        cascade.revise(tx, 'address_group', row.id, { requestId: context.requestId }),
      removing: async (row, context, tx) => {
        await refuseNamed(tx, row.id);
        await cascade.retire(tx, 'address_group', row.id, { requestId: context.requestId });
      },
      committed: () => cascade.poke(),
    }),
    changeOperation(parts, 'add_addresses', 'Add addresses to an address group', (row, given) => {
      const twice = given.filter((prefix) => row.addresses.includes(prefix));
      if (twice.length > 0) {
        const message = `Addresses ${listed(twice)} already exist in the address group ${row.id}.`;
        throw badRequest(message, 'AddressesAlreadyExist');
      }
      return [...row.addresses, ...given].sort();
    }),
    changeOperation(parts, 'remove_addresses', 'Remove addresses from an address group', (row, given) => {
      const unknown = given.filter((prefix) => !row.addresses.includes(prefix));
      if (unknown.length > 0) {
        throw notFound(`Addresses ${listed(unknown)} not found in the address group ${row.id}.`, 'AddressesNotFound');
      }
      return row.addresses.filter((prefix) => !given.includes(prefix));
    }),
  ];
}

/**
 * Keeps an address group from being deleted until the transaction ends, so that a rule may name it.
 * @throws Fault 404 for one that the caller does not see
 */
export async function lockAddressGroup(tx: Tx, id: string, context: RequestContext): Promise<void> {
  const seen = all(ownOrShared(context));
  const kept = await sql`select 1 from address_groups where id = ${id} and ${seen} for key share`.execute(tx);
  if (kept.rows.length === 0) throw addressGroupNotFound(id);
}

const Addresses = Type.Object({ addresses: Prefixes }, { additionalProperties: false });

function changeOperation(
  { db, cascade }: AddressGroupParts,
  name: string,
  summary: string,
  next: (row: AddressGroupRow, given: readonly string[]) => string[],
): Operation {
  return operation<Static<typeof Addresses>>({
    method: 'PUT',
    path: `/address-groups/:address_group_id/${name}`,
    policy: { name, check: 'rule:project_member_or_admin', description: summary },
    body: Addresses,
    status: 200,
    summary,
    handle: async ({ body, context, params }) => {
      const id = params.address_group_id ?? '';
      const changed = await db.transaction(async (tx) => {
        const row = await addressGroupStore.lock(tx, id, ownOrShared(context));
        if (row === undefined) throw addressGroupNotFound(id);
        if (!ownOrAdmin(row, context)) throw convention.refusal(name);
        const addresses = next(row, [...new Set(body.addresses.map(looselyPrefixOf))].sort());
        const after = (await addressGroupStore.update(tx, id, { addresses })) as AddressGroupRow;
        await cascade.revise(tx, 'address_group', id, { requestId: context.requestId });
        return after;
      });
      cascade.poke();
      return { address_group: renderer<AddressGroupRow>(addressGroupResource, convention, context, 'detail')(changed) };
    },
  });
}

/**
 * Prefixes in their usual form, each once, sorted.
 * @throws Fault 400 for what is none, and for the same text twice
 */
function prefixesOf(given: readonly string[]): string[] {
  const twice = given.find((text, at) => given.indexOf(text) !== at);
  if (twice !== undefined) throw invalidAttribute('addresses', `Duplicate items in the list: '${twice}'.`);
  return [...new Set(given.map(prefixOf))].sort();
}

/** A single address is a prefix, too. @throws Fault 400 for what is none, in the words of the library that Neutron uses */
function looselyPrefixOf(text: string): string {
  const whole = text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`;
  const cidr = parseCidr(whole);
  if (cidr === undefined) throw badRequest(`invalid IPNetwork ${text}`, 'AddrFormatError');
  return cidr.text;
}

function prefixOf(text: string): string {
  const cidr = parseCidr(text);
  if (cidr !== undefined) return cidr.text;
  const address = parseAddress(text);
  if (address === undefined) throw invalidAttribute('addresses', `'${text}' is not a valid IP subnet.`);
  const whole = `${text}/${address.version === 4 ? 32 : 128}`;
  throw invalidAttribute('addresses', `'${text}' isn't a recognized IP subnet cidr, '${whole}' is recommended.`);
}

async function refuseNamed(tx: Tx, id: string): Promise<void> {
  const named = await sql`select 1 from security_group_rules where remote_address_group_id = ${id} limit 1`.execute(tx);
  if (named.rows.length === 0) return;
  throw conflict(`Address group ${id} is in use on one or more security group rules.`, 'AddressGroupInUse');
}

/** As Python prints a list. */
const listed = (prefixes: readonly string[]): string => `[${prefixes.map((prefix) => `'${prefix}'`).join(', ')}]`;
