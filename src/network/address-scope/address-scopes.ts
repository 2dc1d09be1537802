/**
 * Address scopes: their operations. They say which subnet pools may not overlap and what may share a network; between
 * scopes the children's routers translate or not as their own drivers do.
 */
import { sql } from 'kysely';
import type { Db } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { badRequest, conflict, type Fault, notFound } from '../../http/fault.ts';
import type { Operation } from '../../http/service.ts';
import { ownOrAdmin, plainPolicies, projectOf } from '../network-project.ts';
import { type Shareable, sharedAccess, sharedOperations } from '../rbac/shareable.ts';
import { NOT_SHARED, ownOrShared } from '../sharing.ts';
import { addressScopeResource, type AddressScopeRow, addressScopeStore } from './address-scope-resource.ts';

export const addressScopeNotFound = (id: string): Fault =>
  notFound(`Address scope ${id} could not be found.`, 'AddressScopeNotFound');

/** What address scopes say of themselves to RBAC. */
export const addressScopeSharing: Shareable = {
  type: 'address_scope',
  table: 'address_scopes',
  accesses: sharedAccess((id) => sql`select project_id from subnet_pools where address_scope_id = ${id}`),
};

export const addressScopeRules = addressScopeResource.fieldRules;

/** The operations on address scopes. */
export function addressScopeOperations(db: Db): Operation[] {
  return sharedOperations<AddressScopeRow>(addressScopeSharing, {
    db,
    convention,
    store: addressScopeStore,
    path: '/address-scopes',
    policies: plainPolicies('address_scope', 'an address scope'),
    visible: ownOrShared,
    owned: ownOrAdmin,
    missing: addressScopeNotFound,
    bulk: true,
    creating: async (given, context) => ({
      project_id: projectOf(context, given.project_id),
      name: given.name ?? '',
      ip_version: Number(given.ip_version),
      ...NOT_SHARED,
      shared: given.shared ?? false,
    }),
    updating: async (row, given) => {
      if (row.shared && given.shared === false) {
        const message = `Unable to update address scope ${row.id} : Shared address scope can't be unshared.`;
        throw badRequest(message, 'AddressScopeUpdateError');
      }
      return given;
    },
    removing: async (row, _context, tx) => {
      const used = await sql`select 1 from subnet_pools where address_scope_id = ${row.id} limit 1`.execute(tx);
      if (used.rows.length === 0) return;
      const reason = 'There are one or more subnet pools in use on the address scope.';
      throw conflict(`Unable to complete operation on address scope ${row.id}. ${reason}`, 'AddressScopeInUse');
    },
  });
}
