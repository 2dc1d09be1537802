/** Reads each child's own statistics, by which the scheduler weighs and the hypervisor list shows sizes. */
import type { Capacity, Cascade, ChildContext, Feed } from '../../cascade/contract.ts';
import { isCloudAdmin } from '../../cascade/rights.ts';
import type { CloudAnswer } from '../../openstack/contract.ts';

const IDLE_MS = 30_000;
/** From 2.88 on Nova shows no sizes. */
const VERSION = { microversion: '2.87', atMost: true } as const;
/** A child where the account may not see them is weighed like any other, and shown without sizes. */
const NOT_SHOWN = [403, 404];
/** A host that is down, or gone, or whose driver cannot tell. */
const NO_UPTIME = [400, 403, 404, 501];
/** So many hosts of a child are looked through for one that is up. */
const HOSTS = 20;
const UPTIME_LENGTH_MAX = 255;

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
    async round(context, cursor) {
      const { api, child, db, tenancy } = context;
      if (tenancy === 'shared' && !(await isCloudAdmin(api))) return cursor;
      const { status, body } = await ask<{ hypervisor_statistics: Record<string, unknown> }>(
        context,
        '/statistics',
        NOT_SHOWN,
      );
      if (NOT_SHOWN.includes(status)) return cursor;
      const given = body.hypervisor_statistics;
      const sizes = Object.fromEntries(NAMES.map((name) => [name, Number(given[name]) || 0]));
      const uptime = await uptimeOf(context);
      await cascade.setCapacity(db.query, child, { ...(sizes as Record<(typeof NAMES)[number], number>), uptime });
      return cursor;
    },
  };
}

function ask<Body>(
  { api }: ChildContext,
  below: string,
  accept: readonly number[],
  query: Readonly<Record<string, string>> = {},
): Promise<CloudAnswer<Body>> {
  const path = `/os-hypervisors${below}`;
  return api.call<Body>({ service: 'compute', method: 'GET', path, query, accept, ...VERSION });
}

/** What the first of the child's hosts that is up says; undefined where it says nothing. */
async function uptimeOf(context: ChildContext): Promise<string | undefined> {
  interface Listed {
    readonly id: string | number;
    readonly state?: string;
  }
  const list = await ask<{ hypervisors: readonly Listed[] }>(context, '', NO_UPTIME, { limit: String(HOSTS) });
  const first = list.status === 200 ? list.body.hypervisors.find(({ state }) => state === 'up') : undefined;
  if (first === undefined) return undefined;
  const below = `/${encodeURIComponent(first.id)}/uptime`;
  const shown = await ask<{ hypervisor: { readonly uptime?: unknown } }>(context, below, NO_UPTIME);
  const uptime = shown.status === 200 ? shown.body.hypervisor.uptime : undefined;
  return typeof uptime === 'string' ? uptime.slice(0, UPTIME_LENGTH_MAX) : undefined;
}
