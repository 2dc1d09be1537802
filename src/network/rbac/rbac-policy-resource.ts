/** RBAC policies as the API shows and takes them. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import { field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';

const Name = Type.String({ maxLength: 255 });

export const rbacPolicyResource = resource({
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
