/**
 * The copy of an address group in a child. Its mark is its name: the parent's id. Where the child is not known to keep
 * to address groups, there is none: each of its prefixes has rules there, in place of those that name it.
 */
import type { Cascade, ReplicaKind } from '../../cascade/contract.ts';
import { describe, detailOf, findByName, removeByPath } from '../network-replica.ts';
import { type AddressGroupRow, addressGroupStore } from './address-group-resource.ts';
import { hasAddressGroups, isKeptAsRules, keptAsRules, keptOtherwise, tellBound } from './kept.ts';
import { bringNaming } from './naming-rules.ts';
import { bringPrefixes, type ChildAddressGroup, PREFIXES_PER_CALL } from './prefixes-in-child.ts';

const PATH = '/address-groups';

/** The kind `address_group`; a security group's copy brings those that its rules name. */
export function addressGroupKind(cascade: Pick<Cascade, 'want'>): ReplicaKind<AddressGroupRow> {
  return {
    kind: 'address_group',
    table: 'address_groups',
    unique: false,
    load: (query, id) => addressGroupStore.find(query, id),
    async find(context, id, row) {
      if (!(await hasAddressGroups(context.db, context.child))) return keptAsRules(id, row?.project_id);
      return findByName(context, PATH, 'address_groups', id, row?.project_id);
    },
    async make(context, row) {
      const { id, name, project_id } = row;
      const addresses = row.addresses.slice(0, PREFIXES_PER_CALL);
      const { body } = await context.api.call<{ address_group: ChildAddressGroup }>({
        service: 'network',
        method: 'POST',
        path: PATH,
        body: { address_group: { name: id, description: describe(name), addresses } },
        scope: await context.scope(project_id),
      });
      const current = addresses.length === row.addresses.length;
      return { child_id: body.address_group.id, detail: detailOf(project_id), current };
    },
    /** Reads the copy and sends what differs; twice: the second finds nothing that does. */
    async bring(context, row, replica) {
      const isRules = isKeptAsRules(replica.child_id);
      if (isRules === (await hasAddressGroups(context.db, context.child))) throw keptOtherwise(context, row.id);
      if (isRules) {
        tellBound(context, row.id, row.addresses.length);
        await bringNaming(context, cascade, 'remote_address_group_id', row.id);
        return;
      }
      const path = `${PATH}/${replica.child_id}`;
      const scope = await context.scope(row.project_id);
      const { description } = await bringPrefixes(context, path, scope, row.addresses);
      if (description === describe(row.name)) return;
      const body = { address_group: { description: describe(row.name) } };
      await context.api.call({ service: 'network', method: 'PUT', path, body, scope });
    },
    /** Twice: a 404 counts as done. A rule that still names it gives a 409, and it is tried again. */
    async remove(context, replica) {
      if (isKeptAsRules(replica.child_id)) return;
      await removeByPath(context, `${PATH}/${replica.child_id}`, replica.detail.project_id);
    },
  };
}
