/**
 * One router with networks in both children: its copies joined by a transit, with one route for each remote subnet. First
 * as a client sees it, then with a parent that is killed again and again while such routers are wired and unwired.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { servers } from './client/names.ts';
import { clear, furnish, type Furnished } from './harness/furnish.ts';
import { admin, tenant } from './harness/openstack.ts';
import { parentServes } from './harness/parent.ts';
import { api, list } from './harness/rest.ts';
import { CHILDREN, stage } from './harness/stage.ts';
import { until } from './harness/until.ts';
import {
  boot,
  changeRouter,
  have,
  killAgainAndAgain,
  type Network,
  noneLeft,
  PATIENCE,
  patiently,
  type Port,
  random,
  remove,
} from './harness/wiring.ts';

const KILLS = 8;
const ROUTERS = 4;
const NAME = 'e2e-routers';
const INTERFACE = 'network:router_interface';

interface ChildRouter {
  readonly id: string;
  readonly routes: readonly { readonly destination: string; readonly nexthop: string }[];
}

/** What is on a router: the range of its network in each zone. */
type Ranges = Readonly<Record<string, string>>;

let furniture: Furnished;
/** VLANs that others use in each child. */
let before: number[][] = [];

beforeAll(async () => {
  furniture = await furnish();
  before = await Promise.all(CHILDREN.map(({ cloud }) => vlansOf(cloud)));
});

afterAll(async () => {
  await parentServes(stage);
  await clear();
});

/** What a child has of a router: its routes and interfaces, those on a transit apart. */
async function copyOf(cloud: 'child1' | 'child2', id: string) {
  const [router] = await list<ChildRouter>(api(cloud), 'network', '/routers', 'routers', { name: id });
  if (router === undefined) return undefined;
  const ports = await list<Port>(api(cloud), 'network', '/ports', 'ports', { device_id: router.id });
  const interfaces = await Promise.all(
    ports
      .filter(({ device_owner }) => device_owner === INTERFACE)
      .map(async (port) => {
        const query = { id: port.network_id };
        const [network] = await list<Network>(api(cloud), 'network', '/networks', 'networks', query);
        return { network, address: port.fixed_ips[0]?.ip_address };
      }),
  );
  const onTransit = (one: (typeof interfaces)[number]) => one.network?.['provider:network_type'] === 'vlan';
  return {
    routes: router.routes,
    transit: interfaces.filter(onTransit),
    near: interfaces.filter((one) => !onTransit(one)),
  };
}

async function vlansOf(cloud: 'child1' | 'child2'): Promise<number[]> {
  const networks = await list<Network>(api(cloud), 'network', '/networks', 'networks');
  return networks
    .filter((network) => network['provider:network_type'] === 'vlan')
    .map((network) => network['provider:segmentation_id'])
    .sort();
}

/** Each child's copy leads to the other's network by way of the other's address on the VLAN that both share. */
async function joined(id: string, ranges: Ranges): Promise<number> {
  const copies = await Promise.all(CHILDREN.map(async ({ zone, cloud }) => ({ zone, copy: await copyOf(cloud, id) })));
  const vlans = copies.map(({ copy }) => {
    expect(copy?.near).toHaveLength(1);
    expect(copy?.transit).toHaveLength(1);
    return copy?.transit[0]?.network?.['provider:segmentation_id'];
  });
  expect(new Set(vlans).size).toBe(1);
  for (const { zone, copy } of copies) {
    const far = copies.find((other) => other.zone !== zone);
    expect(copy?.routes).toEqual([{ destination: ranges[far?.zone ?? ''], nexthop: far?.copy?.transit[0]?.address }]);
  }
  return vlans[0] ?? 0;
}

/** Networks of the children's that lie on this VLAN. */
const onVlan = async (vlan: number): Promise<string[]> =>
  (
    await Promise.all(
      CHILDREN.map(({ cloud }) =>
        list<Network>(api(cloud), 'network', '/networks', 'networks', { 'provider:segmentation_id': vlan }),
      ),
    )
  )
    .flat()
    .filter((network) => network['provider:network_type'] === 'vlan')
    .map(({ name }) => name);

describe('a router with networks in both children', () => {
  const router = `${NAME}-router`;
  const ranges: Ranges = { east: '10.85.0.0/24', west: '10.86.0.0/24' };
  const ids: Record<string, string> = {};
  let id = '';
  let vlan = 0;

  it('is made by a tenant, as any other', async () => {
    id = (await tenant.json<{ id: string }>('router', 'create', router)).id;
    for (const { zone } of CHILDREN) {
      const name = `${NAME}-${zone}`;
      ids[zone] = (await tenant.json<{ id: string }>('network', 'create', name)).id;
      await tenant('subnet', 'create', name, '--network', name, '--subnet-range', ranges[zone] ?? '');
      await tenant('router', 'add', 'subnet', router, name);
      const what = ['--image', furniture.image, '--flavor', furniture.flavor, '--network', name];
      await tenant('server', 'create', name, ...what, '--availability-zone', zone, '--wait');
    }
    const found = (await servers('tenant')).filter(({ name }) => name.startsWith(NAME));
    expect(found.map(({ status }) => status)).toEqual(['ACTIVE', 'ACTIVE']);
  });

  it('becomes one router in each, joined by a transit that the tenant does not see', async () => {
    vlan = await until('both copies lead to each other', () => joined(id, ranges), PATIENCE);
    expect(vlan).toBeGreaterThanOrEqual(230);
    const seen = await tenant.json<{ Name: string }[]>('network', 'list');
    expect(seen.map(({ Name }) => Name).filter((name) => /transit/i.test(name))).toEqual([]);
    const shown = await tenant.json<{ routes: unknown[] }>('router', 'show', router);
    expect(shown.routes).toEqual([]);
    const ports = await list<Port>(api('tenant'), 'network', '/ports', 'ports', { device_id: id });
    expect(ports.map(({ device_owner }) => device_owner)).toEqual([INTERFACE, INTERFACE]);
    const [row] = await list<Network>(api('admin'), 'network', '/networks', 'networks', {
      'provider:segmentation_id': vlan,
    });
    expect(row).toMatchObject({ 'provider:physical_network': 'wan', 'provider:network_type': 'vlan' });
  });

  it('is alone again in one child when the other network leaves', async () => {
    await tenant('router', 'remove', 'subnet', router, `${NAME}-west`);
    await until(
      'the transit is gone',
      async () => {
        expect(await copyOf('child2', id)).toBeUndefined();
        const copy = await copyOf('child1', id);
        expect([copy?.routes, copy?.transit, copy?.near.length]).toEqual([[], [], 1]);
        expect(await onVlan(vlan)).toEqual([]);
        return true;
      },
      PATIENCE,
    );
  });

  it('is joined anew, and goes without a trace', async () => {
    await tenant('router', 'add', 'subnet', router, `${NAME}-west`);
    vlan = await until('both copies lead to each other', () => joined(id, ranges), PATIENCE);
    await tenant('server', 'delete', '--wait', ...CHILDREN.map(({ zone }) => `${NAME}-${zone}`));
    for (const { zone } of CHILDREN) await tenant('router', 'remove', 'subnet', router, `${NAME}-${zone}`);
    await tenant('router', 'delete', router);
    await tenant('network', 'delete', ...CHILDREN.map(({ zone }) => `${NAME}-${zone}`));
    await noneLeft(Object.values(ids));
    await until('nothing is on the VLAN', async () => (await onVlan(vlan)).length === 0, PATIENCE);
    for (const { cloud } of CHILDREN) expect(await copyOf(cloud, id)).toBeUndefined();
    expect(await admin.json('network', 'list', '--provider-segment', String(vlan))).toEqual([]);
  });
});

describe(`a parent that is killed ${KILLS} times while ${ROUTERS} such routers are wired and half of them unwired`, () => {
  const kept = new Map<string, Wired>();
  const gone: Wired[] = [];

  it('takes all of it', { timeout: 900_000 }, async () => {
    const killing = killAgainAndAgain(KILLS);
    const work = Array.from({ length: ROUTERS }, async (_, at) => {
      await sleep(at * 4_000 + random(0, 2_000));
      const wired = await wire(at);
      if (at % 2 === 0) return void kept.set(wired.router, wired);
      await sleep(random(0, 10_000));
      await unwire(wired);
      gone.push(wired);
    });
    await Promise.all([killing, ...work]);
    expect([kept.size, gone.length]).toEqual([ROUTERS / 2, ROUTERS / 2]);
  });

  it('has every kept router in both children, joined, and no other', { timeout: 600_000 }, async () => {
    const vlans = [];
    for (const { router, ranges } of kept.values()) {
      vlans.push(await until(`${router} is joined`, () => joined(router, ranges), PATIENCE));
    }
    expect(new Set(vlans).size).toBe(kept.size);
    await allGone(gone);
    const transits = await Promise.all(CHILDREN.map(({ cloud }) => vlansOf(cloud)));
    const made = transits.map((all, at) => all.filter((vlan) => !before[at]?.includes(vlan)));
    expect(made).toEqual([[...vlans].sort(), [...vlans].sort()]);
  });

  it('leaves nothing when the others go, too', { timeout: 600_000 }, async () => {
    for (const wired of kept.values()) await unwire(wired);
    await allGone([...kept.values()]);
  });
});

async function allGone(all: readonly Wired[]): Promise<void> {
  await noneLeft(all.flatMap(({ networks }) => networks));
  for (const { router } of all) {
    for (const { cloud } of CHILDREN) {
      await until(`${router} is gone from ${cloud}`, async () => (await copyOf(cloud, router)) === undefined, PATIENCE);
    }
  }
}

interface Wired {
  readonly router: string;
  readonly ranges: Ranges;
  readonly networks: readonly string[];
  readonly servers: readonly string[];
}

/** A router with a network and a server of each zone. */
async function wire(at: number): Promise<Wired> {
  const router = await have('tenant', 'routers', 'router', { name: `${NAME}-${at}` });
  const parts = await Promise.all(
    CHILDREN.map(async ({ zone }, index) => {
      const name = `${NAME}-${at}-${zone}`;
      const cidr = `10.${87 + index}.${at}.0/24`;
      const network = await have('tenant', 'networks', 'network', { name });
      const subnet = await have('tenant', 'subnets', 'subnet', { name, network_id: network, ip_version: 4, cidr });
      const server = await boot(furniture, name, zone, network);
      await patiently(`the router is on ${name}`, async () => {
        const query = { network_id: network, device_id: router };
        const ports = await list<Port>(api('tenant'), 'network', '/ports', 'ports', query);
        return ports.length > 0 || (await changeRouter(router, 'add', subnet));
      });
      return { zone, cidr, network, subnet, server };
    }),
  );
  return {
    router,
    ranges: Object.fromEntries(parts.map(({ zone, cidr }) => [zone, cidr])),
    networks: parts.map(({ network }) => network),
    servers: parts.map(({ server }) => server),
  };
}

async function unwire({ router, networks, servers: ids }: Wired): Promise<void> {
  for (const id of ids) await remove('compute', `/servers/${id}`);
  await patiently('the servers are gone', async () => (await servers('tenant')).every(({ id }) => !ids.includes(id)));
  for (const network_id of networks) {
    const subnets = await patiently('the subnets are listed', () =>
      list(api('tenant'), 'network', '/subnets', 'subnets', { network_id }),
    );
    for (const { id } of subnets) await patiently('the router leaves', () => changeRouter(router, 'remove', id, [404]));
  }
  await remove('network', `/routers/${router}`);
  for (const id of networks) await remove('network', `/networks/${id}`);
}
