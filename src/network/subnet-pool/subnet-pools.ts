/** Subnet pools: their operations. What they give to subnets is `pool-allocation.ts`. */
import { sql } from 'kysely';
import type { Db } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { badRequest } from '../../http/fault.ts';
import type { Operation } from '../../http/service.ts';
import { ownOrAdmin, plainPolicies } from '../network-project.ts';
import { countQuota } from '../network-quota.ts';
import { type Shareable, sharedAccess, sharedOperations } from '../rbac/shareable.ts';
import { ownOrShared } from '../sharing.ts';
import { poolPrefixOperations } from './subnet-pool-prefixes.ts';
import { subnetPoolResource, type SubnetPoolRow, subnetPoolStore } from './subnet-pool-resource.ts';
import { subnetPoolNotFound } from './subnet-pool-rules.ts';
import { changedPool, newPool } from './subnet-pool-values.ts';

export const subnetPoolRules = subnetPoolResource.fieldRules;

/** The operations on subnet pools. */
export function subnetPoolOperations(db: Db): Operation[] {
  return [
    ...sharedOperations<SubnetPoolRow>(subnetPoolSharing, {
      db,
      convention,
      store: subnetPoolStore,
      path: '/subnetpools',
      policies: plainPolicies('subnetpool', 'a subnet pool'),
      visible: ownOrShared,
      owned: ownOrAdmin,
      missing: subnetPoolNotFound,
      bulk: true,
      creating: newPool,
      created: (row, _context, tx) => countQuota(tx, row.project_id, { subnetpool: 1 }),
      updating: changedPool,
      removing: async (row, _context, tx) => {
        const used = await sql`select 1 from subnets where subnetpool_id = ${row.id} limit 1`.execute(tx);
        if (used.rows.length > 0) {
          const reason = 'Subnet pool has existing allocations';
          throw badRequest(`Unable to delete subnet pool: ${reason}.`, 'SubnetPoolDeleteError');
        }
        await countQuota(tx, row.project_id, { subnetpool: -1 });
      },
    }),
    ...poolPrefixOperations(db),
  ];
}

/** What subnet pools say of themselves to RBAC. */
export const subnetPoolSharing: Shareable = {
  type: 'subnetpool',
  table: 'subnet_pools',
  accesses: sharedAccess((id) => sql`select project_id from subnets where subnetpool_id = ${id}`),
  /** Who may use a pool must be able to see the scope that it is in. */
  async creating(tx, { object_id, target_tenant }) {
    const hidden = await sql`select 1 from subnet_pools p join address_scopes s on s.id = p.address_scope_id
      where p.id = ${object_id} and not s.shared and not s.shared_with @> array[${target_tenant}]::text[]`.execute(tx);
    if (hidden.rows.length === 0) return;
    const reason = "target project doesn't have access to associated address scope.";
    throw badRequest(`Failed to create RBAC policy on object ${object_id} because ${reason}.`, 'RbacPolicyInitError');
  },
};
