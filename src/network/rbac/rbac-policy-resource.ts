/** RBAC policies as the API shows and takes them. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import { field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import type { Extension } from '../extension-type.ts';

/** What it announces in the list of extensions. */
export const rbacExtensions: readonly Extension[] = [
  {
    alias: 'rbac-address-group',
    name: 'Add address_group type to RBAC',
    description: 'Address groups are shared.',
    updated: '2020-08-24T10:00:00-00:00',
  },
  {
    alias: 'rbac-address-scope',
    name: 'Add address_scope type to RBAC',
    description: 'Address scopes are shared.',
    updated: '2020-02-12T00:00:00-00:00',
  },
  {
    alias: 'rbac-policies',
    name: 'RBAC Policies',
    description: 'Objects are shared with other projects.',
    updated: '2015-06-17T12:15:12-00:00',
  },
  {
    alias: 'rbac-security-groups',
    name: 'Add security_group type to network RBAC',
    description: 'Security groups are shared.',
    updated: '2019-02-14T00:00:00-00:00',
  },
  {
    alias: 'rbac-subnetpool',
    name: 'Add subnetpool type to RBAC',
    description: 'Subnet pools are shared.',
    updated: '2020-02-22T10:00:00-00:00',
  },
];

const Name = Type.String({ maxLength: 255 });

const rbacPolicyResource = resource({
  name: 'rbac_policy',
  collection: 'rbac_policies',
  table: 'rbac_policies',
  fields: {
    id: field(Type.String(), { filter: true }),
    project_id: field(Name, { create: 'optional', filter: true }),
    object_type: field(Name, {
      create: 'required',
      column: true,
      filter: (values) => sql<SqlBool>`object_type = any(${values.map(normalType)}::text[])`,
    }),
    object_id: field(Type.String({ format: 'uuid' }), { create: 'required', filter: true }),
    action: field(Name, { create: 'required', filter: true }),
    target_tenant: field(Name, { create: 'required', update: true, filter: true }),
    counted: field(Type.Boolean(), { column: true, default: true, show: 'never' }),
  },
});

/** Neutron takes a type in any case, with blanks around it. */
export const normalType = (text: string): string => text.trim().toLowerCase();

export type RbacPolicyRow = Row<typeof rbacPolicyResource>;
export const rbacPolicyStore = createStore(rbacPolicyResource);

declare module '../../db/tables.ts' {
  interface Tables {
    rbac_policies: TableOf<typeof rbacPolicyResource>;
  }
}
