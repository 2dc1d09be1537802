/** Policies kept for clients: a blob and its type. Deprecated in Keystone, but its clients and tests still use it. */
import { Type } from 'typebox';
import type { Operation } from '../http/service.ts';
import { crudOperations } from '../resource/crud.ts';
import { type BaseRow, field, resource, type RowOf, type TableOf } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { type Core, missing } from './core.ts';
import { newId, selfLink } from './resources.ts';
import { admin, systemReader } from './rules.ts';

const BLOB_MAX_CHARACTERS = 65_536;

export const policy = resource({
  name: 'policy',
  collection: 'policies',
  table: 'identity_policies',
  unknownAttributes: 'keep',
  fields: {
    id: field(Type.String(), { show: 'always' }),
    blob: field(Type.String({ maxLength: BLOB_MAX_CHARACTERS }), { create: 'required', update: true }),
    type: field(Type.String({ minLength: 1, maxLength: 255 }), { create: 'required', update: true, filter: true }),
    links: selfLink('policies'),
  },
});
export type PolicyRow = BaseRow & RowOf<(typeof policy)['fields']>;
export const policies = createStore<typeof policy, PolicyRow>(policy);

declare module '../db/tables.ts' {
  interface Tables {
    identity_policies: TableOf<typeof policy>;
  }
}

export function policyOperations(core: Core): Operation[] {
  return crudOperations<PolicyRow>({
    db: core.db,
    convention: core.convention,
    store: policies,
    path: '/policies',
    updateMethod: 'PATCH',
    policies: {
      list: systemReader('list_policies'),
      show: systemReader('get_policy'),
      create: admin('create_policy'),
      update: admin('update_policy'),
      remove: admin('delete_policy'),
    },
    visible: () => [],
    missing: missing('policy'),
    creating: async (given) => ({ ...given, id: newId() }) as PolicyRow,
  });
}
