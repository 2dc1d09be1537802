/** Address groups as the API shows and takes them. */
import { Type } from 'typebox';
import { field, nullable, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { hiddenShared } from '../sharing.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const addressGroupExtensions: readonly Extension[] = [
  {
    alias: 'address-group',
    name: 'Address group',
    description: 'Lists of addresses that security group rules name.',
    updated: '2020-07-15T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });
/** Prefixes as a client gives them; whether they are any is told in Neutron's words (`prefixesOf`). */
export const Prefixes = Type.Array(Type.String({ maxLength: 64 }), { maxItems: 10_000 });

export const addressGroupResource = resource({
  name: 'address_group',
  table: 'address_groups',
  fields: {
    id: field(Type.String(), { filter: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    description: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    project_id: field(Name, { create: 'optional', filter: true, sort: true }),
    // Neutron shows and takes `shared` of every kind but this one.
    ...hiddenShared,
    /** In their usual form, sorted. */
    addresses: field(Type.Array(Type.String()), {
      create: 'optional',
      column: true,
      default: [],
      input: nullable(Prefixes),
    }),
  },
});

export type AddressGroupRow = Row<typeof addressGroupResource>;
export const addressGroupStore = createStore(addressGroupResource);

declare module '../../db/tables.ts' {
  interface Tables {
    address_groups: TableOf<typeof addressGroupResource>;
  }
}
