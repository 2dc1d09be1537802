/** Subnet pools: their operations. What they give to subnets is `pool-allocation.ts`. */
import { sql } from 'kysely';
import type { Db } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { badRequest } from '../../http/fault.ts';
import type { Operation } from '../../http/service.ts';
import { crudOperations } from '../../resource/crud.ts';
import { ownOrAdmin, plainPolicies } from '../network-project.ts';
import { countQuota } from '../network-quota.ts';
import { ownOrShared } from '../sharing.ts';
import { poolPrefixOperations } from './subnet-pool-prefixes.ts';
import { subnetPoolResource, type SubnetPoolRow, subnetPoolStore } from './subnet-pool-resource.ts';
import { subnetPoolNotFound } from './subnet-pool-rules.ts';
import { changedPool, newPool } from './subnet-pool-values.ts';

export const subnetPoolRules = subnetPoolResource.fieldRules;

/** The operations on subnet pools. */
export function subnetPoolOperations(db: Db): Operation[] {
  return [
    ...crudOperations<SubnetPoolRow>({
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
