/**
 * Routers, networks and servers come and go at random, while children go away and answers get lost. Whatever happened, in
 * the end the children have what the parent's rows say, and nothing else.
 */
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { timePasses } from '../testing.ts';
import { eventually, transitTest } from './testing.ts';

const { call, make, db, cascade, serverNetworks, sim, network, boot, add, remove, shown, clear } = await transitTest();

const JOINED = ['east', 'west'] as const;
type Joined = (typeof JOINED)[number];
type Made = Awaited<ReturnType<typeof network>>;

const NETWORKS = 4;
const ROUTERS = 2;

const step = fc.oneof(
  fc.record({ verb: fc.constant('add' as const), router: fc.nat(ROUTERS - 1), network: fc.nat(NETWORKS - 1) }),
  fc.record({ verb: fc.constant('remove' as const), router: fc.nat(ROUTERS - 1), network: fc.nat(NETWORKS - 1) }),
  fc.record({ verb: fc.constant('boot' as const), child: fc.constantFrom(...JOINED), network: fc.nat(NETWORKS - 1) }),
  fc.record({ verb: fc.constant('end' as const), network: fc.nat(NETWORKS - 1) }),
  fc.record({ verb: fc.constant('away' as const), child: fc.constantFrom(...JOINED) }),
  fc.record({ verb: fc.constant('back' as const), child: fc.constantFrom(...JOINED) }),
  fc.record({ verb: fc.constant('lose' as const), child: fc.constantFrom(...JOINED) }),
  fc.record({ verb: fc.constant('wait' as const), ms: fc.nat(150) }),
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

interface Walk {
  readonly networks: readonly Made[];
  readonly routers: readonly string[];
  readonly servers: Map<string, string[]>;
  readonly away: Set<Joined>;
}

async function take({ networks, routers, servers, away }: Walk, action: Step): Promise<void> {
  const at = 'network' in action ? networks[action.network] : undefined;
  const router = 'router' in action ? (routers[action.router] ?? '') : '';
  switch (action.verb) {
    // Refusals are part of it: a subnet is on one router at most, and lives in one child.
    case 'add':
      expect([200, 400, 409]).toContain((await add(router, at?.subnet ?? '')).status);
      return;
    case 'remove':
      expect([200, 404, 409]).toContain((await remove(router, at?.subnet ?? '')).status);
      return;
    case 'boot': {
      const id = at?.id ?? '';
      const place = (await call('alice', 'GET', `/networks/${id}`)).body.network.availability_zones[0] as
        | string
        | undefined;
      servers.set(id, [...(servers.get(id) ?? []), await boot(place ?? action.child, id)]);
      return;
    }
    case 'end': {
      const server = servers.get(at?.id ?? '')?.pop();
      if (server !== undefined) await db.transaction((tx) => serverNetworks.detach(tx, server));
      return;
    }
    case 'away':
      if (!away.has(action.child)) await sim(action.child).stop();
      away.add(action.child);
      return;
    case 'back':
      if (away.delete(action.child)) await sim(action.child).start();
      return;
    case 'lose':
      sim(action.child).faults.inject({ match: { method: 'POST', service: 'network' }, times: 1, drop: 'after' });
      return;
    case 'wait':
      await new Promise((resolve) => setTimeout(resolve, action.ms));
  }
}

/** Holds the children's copies of a router against where the parent says that its networks are. */
async function agrees(router: string, networks: readonly Made[]): Promise<number | undefined> {
  const { body } = await call('alice', 'GET', `/ports?device_id=${router}`);
  const on = new Set((body.ports as { network_id: string }[]).map(({ network_id }) => network_id));
  const near: Record<Joined, string[]> = { east: [], west: [] };
  for (const { id, cidr } of networks.filter((one) => on.has(one.id))) {
    const { availability_zones } = (await call('alice', 'GET', `/networks/${id}`)).body.network;
    for (const child of availability_zones as Joined[]) near[child].push(cidr);
  }
  const spans = JOINED.every((child) => near[child].length > 0);
  for (const [child, other] of [JOINED, JOINED.toReversed()] as [Joined, Joined][]) {
    const copy = shown(child, router);
    if (near[child].length === 0) {
      expect(copy).toBeUndefined();
      continue;
    }
    expect(copy?.interfaces).toBe(near[child].length + (spans ? 1 : 0));
    const nexthop = shown(other, router)?.address;
    const routes = spans ? near[other].map((destination) => ({ destination, nexthop })) : [];
    const byDestination = (one: { destination: string }, two: { destination: string }) =>
      one.destination < two.destination ? -1 : 1;
    expect(copy?.routes.toSorted(byDestination)).toEqual(routes.toSorted(byDestination));
    expect(copy?.vlan).toBe(spans ? shown(other, router)?.vlan : undefined);
  }
  return spans ? (shown('east', router)?.vlan as number) : undefined;
}

it('ends with children as the parent has it, whatever came in between', { timeout: 300_000 }, async () => {
  let round = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 12, maxLength: 30 }), async (steps) => {
      round += 1;
      const walk: Walk = {
        networks: await Promise.all(
          Array.from({ length: NETWORKS }, (_, at) => network(`10.${round % 200}.${at}.0/24`)),
        ),
        routers: await Promise.all(
          Array.from({ length: ROUTERS }, async () => (await make('alice', 'router', {})).id as string),
        ),
        servers: new Map(),
        away: new Set(),
      };
      for (const action of steps) await take(walk, action);
      for (const child of JOINED) {
        sim(child).faults.clear();
        if (walk.away.has(child)) await sim(child).start();
      }
      await timePasses(db.query);
      cascade.poke();
      const vlans: number[] = [];
      await eventually(async () => {
        vlans.length = 0;
        for (const router of walk.routers) vlans.push(...[(await agrees(router, walk.networks)) ?? []].flat());
      });
      expect(new Set(vlans).size).toBe(vlans.length);
      for (const ids of walk.servers.values()) {
        for (const id of ids) await db.transaction((tx) => serverNetworks.detach(tx, id));
      }
      for (const router of walk.routers) for (const { subnet } of walk.networks) await remove(router, subnet);
      const [last = '', ...others] = walk.routers;
      for (const router of others) expect((await call('alice', 'DELETE', `/routers/${router}`)).status).toBe(204);
      await clear(last, ...walk.networks);
    }),
    { numRuns: Number(process.env.WALK_RUNS ?? 4), ...seed(), endOnFailure: true },
  );
});

const seed = (): { seed?: number } =>
  process.env.WALK_SEED === undefined ? {} : { seed: Number(process.env.WALK_SEED) };
