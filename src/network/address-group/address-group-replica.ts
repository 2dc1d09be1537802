/** The copy of an address group in a child. Its mark is its name: the parent's id. */
import type { ReplicaKind } from '../../cascade/contract.ts';
import { describe, detailOf, findByName, removeByPath } from '../network-replica.ts';
import { type AddressGroupRow, addressGroupStore } from './address-group-resource.ts';

const PATH = '/address-groups';

/** The kind `address_group`; a security group's copy brings those that its rules name. */
export const addressGroupKind: ReplicaKind<AddressGroupRow> = {
  kind: 'address_group',
  table: 'address_groups',
  unique: false,
  load: (query, id) => addressGroupStore.find(query, id),
  find: (context, id, row) => findByName(context, PATH, 'address_groups', id, row?.project_id),
  async make(context, row) {
    const { id, name, addresses, project_id } = row;
    const { body } = await context.api.call<{ address_group: { id: string } }>({
      service: 'network',
      method: 'POST',
      path: PATH,
      body: { address_group: { name: id, description: describe(name), addresses } },
      scope: await context.scope(project_id),
    });
    return { child_id: body.address_group.id, detail: detailOf(project_id) };
  },
  /** Reads the copy and sends what differs; twice: the second finds nothing that does. */
  async bring(context, row, replica) {
    const path = `${PATH}/${replica.child_id}`;
    const call = { service: 'network', scope: await context.scope(row.project_id) } as const;
    const { body } = await context.api.call<{ address_group: { addresses: string[]; description?: string } }>({
      ...call,
      method: 'GET',
      path,
    });
    const { addresses, description } = body.address_group;
    const missing = row.addresses.filter((prefix) => !addresses.includes(prefix));
    const surplus = addresses.filter((prefix) => !row.addresses.includes(prefix));
    if (missing.length > 0) {
      await context.api.call({ ...call, method: 'PUT', path: `${path}/add_addresses`, body: { addresses: missing } });
    }
    if (surplus.length > 0) {
      await context.api.call({
        ...call,
        method: 'PUT',
        path: `${path}/remove_addresses`,
        body: { addresses: surplus },
      });
    }
    if (description !== describe(row.name)) {
      await context.api.call({
        ...call,
        method: 'PUT',
        path,
        body: { address_group: { description: describe(row.name) } },
      });
    }
  },
  /** Twice: a 404 counts as done. A rule that still names it gives a 409, and it is tried again. */
  remove: (context, replica) => removeByPath(context, `${PATH}/${replica.child_id}`, replica.detail.project_id),
};
