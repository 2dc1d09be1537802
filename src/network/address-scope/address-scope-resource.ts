/** Address scopes as the API shows and takes them. */
import { Type } from 'typebox';
import { field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { sharedFields } from '../sharing.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const addressScopeExtensions: readonly Extension[] = [
  {
    alias: 'address-scope',
    name: 'Address scope',
    description: 'Scopes within which prefixes are unique.',
    updated: '2015-07-26T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });

export const addressScopeResource = resource({
  name: 'address_scope',
  table: 'address_scopes',
  fields: {
    id: field(Type.String(), { filter: true }),
    project_id: field(Name, { create: 'optional', filter: true, sort: true }),
    name: field(Name, { create: 'optional', update: true, default: '', filter: true, sort: true }),
    ip_version: field(Type.Integer(), {
      create: 'required',
      filter: true,
      sort: true,
      input: Type.Enum([4, 6, '4', '6']),
    }),
    ...sharedFields({ create: 'optional', update: true, settableBy: 'rule:admin_only' }),
  },
});

export type AddressScopeRow = Row<typeof addressScopeResource>;
export const addressScopeStore = createStore(addressScopeResource);

declare module '../../db/tables.ts' {
  interface Tables {
    address_scopes: TableOf<typeof addressScopeResource>;
  }
}
