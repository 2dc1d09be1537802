/** Reads each child's own statistics, by which the scheduler weighs and the hypervisor list shows sizes. */
import type { Capacity, Cascade, Feed } from '../../cascade/contract.ts';
import { isCloudAdmin } from '../../cascade/project.ts';

const IDLE_MS = 30_000;
/** From 2.88 on Nova shows no sizes. */
const VERSION = { microversion: '2.87', atMost: true } as const;
/** A child where the account may not see them is weighed like any other, and shown without sizes. */
const NOT_SHOWN = [403, 404];

const NAMES = [
  'vcpus',
  'vcpus_used',
  'memory_mb',
  'memory_mb_used',
  'local_gb',
  'local_gb_used',
  'running_vms',
] as const satisfies readonly (keyof Capacity)[];

/** The feed of sizes. A round twice: the same sizes. */
export function capacityFeed(cascade: Cascade): Feed {
  return {
    name: 'capacity',
    idle_ms: IDLE_MS,
    busy_ms: IDLE_MS,
    busy: async () => false,
    async round({ api, child, db, tenancy }, cursor) {
      if (tenancy === 'shared' && !(await isCloudAdmin(api))) return cursor;
      const { status, body } = await api.call<{ hypervisor_statistics: Record<string, unknown> }>({
        service: 'compute',
        method: 'GET',
        path: '/os-hypervisors/statistics',
        accept: NOT_SHOWN,
        ...VERSION,
      });
      if (NOT_SHOWN.includes(status)) return cursor;
      const given = body.hypervisor_statistics;
      const sizes = Object.fromEntries(NAMES.map((name) => [name, Number(given[name]) || 0]));
      await cascade.setCapacity(db.query, child, sizes as Record<keyof Capacity, number>);
      return cursor;
    },
  };
}
