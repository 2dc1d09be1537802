/**
 * Networks that stretch over both children: one subnet, servers of both zones on it. First as a client sees them, then
 * with a parent that is killed again and again while such networks are wired and unwired in both children.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Server, servers } from './client/names.ts';
import { clear, furnish, type Furnished } from './harness/furnish.ts';
import { admin, tenant } from './harness/openstack.ts';
import { parentServes } from './harness/parent.ts';
import { api, list } from './harness/rest.ts';
import { CHILDREN, stage } from './harness/stage.ts';
import { until } from './harness/until.ts';
import {
  boot,
  changeRouter,
  copyIn,
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
const NETWORKS = 6;
const NAME = 'e2e-stretched';

let furniture: Furnished;
let project = '';

beforeAll(async () => {
  furniture = await furnish();
  project = (await api('tenant').account()).projectId ?? '';
});

afterAll(async () => {
  await parentServes(stage);
  await clear();
});

/** Both children have it alike, and no address or MAC of it is anywhere twice. */
async function agreed(id: string): Promise<void> {
  const [row] = await list<Network>(api('admin'), 'network', '/networks', 'networks', { id });
  const ports = await list<Port>(api('tenant'), 'network', '/ports', 'ports', { network_id: id });
  const copies = await Promise.all(CHILDREN.map(({ cloud }) => copyIn(cloud, id)));
  for (const copy of copies) {
    expect(copy?.network).toMatchObject({
      'provider:network_type': 'vlan',
      'provider:segmentation_id': row?.['provider:segmentation_id'],
    });
    const routed = copy?.ports.find(({ device_owner }) => device_owner === 'network:router_interface');
    expect(copy?.subnet?.gateway_ip).toBe(routed?.fixed_ips[0]?.ip_address);
  }
  const all = copies.flatMap((copy) => copy?.ports ?? []);
  const addresses = all.flatMap(({ fixed_ips }) => fixed_ips.map(({ ip_address }) => ip_address));
  const pools = copies.flatMap((copy) => copy?.subnet?.allocation_pools ?? []).map(({ start }) => start);
  expect(new Set(addresses).size).toBe(addresses.length);
  expect(new Set(pools).size).toBe(pools.length);
  expect(new Set(all.map(({ mac_address }) => mac_address)).size).toBe(all.length);
  const ofServers = ({ device_owner }: Port): boolean => device_owner.startsWith('compute:');
  const said = (mark: string, port: Port) => `${mark} ${port.mac_address} ${port.fixed_ips[0]?.ip_address}`;
  expect(
    all
      .filter(ofServers)
      .map((port) => said(port.name, port))
      .sort(),
  ).toEqual(
    ports
      .filter(ofServers)
      .map((port) => said(port.id, port))
      .sort(),
  );
}

describe('a network that stretches over both children', () => {
  const [net, sub, router] = [`${NAME}-net`, `${NAME}-subnet`, `${NAME}-router`];
  let id = '';

  it('is made by an administrator for a tenant, who makes a subnet and a router for it', async () => {
    const provider = ['--provider-network-type', 'vlan', '--provider-physical-network', 'wan'];
    const made = await admin.json<Network>('network', 'create', net, '--project', 'e2e', ...provider);
    id = made.id;
    expect(made).toMatchObject({ 'provider:physical_network': 'wan', availability_zones: ['east', 'west'] });
    const number = String(made['provider:segmentation_id']);
    expect(await admin.refused('network', 'create', 'x', ...provider, '--provider-segment', number)).toContain(
      `The VLAN ${number} on physical network wan is in use.`,
    );
    expect(await tenant.refused('network', 'create', 'x', ...provider)).toMatch(/403/);
    await tenant('subnet', 'create', sub, '--network', net, '--subnet-range', '10.83.0.0/24');
    await tenant('router', 'create', router);
    await tenant('router', 'add', 'subnet', router, sub);
  });

  it('has servers of both zones', async () => {
    for (const { zone } of CHILDREN) {
      const what = ['--image', furniture.image, '--flavor', furniture.flavor, '--network', net];
      await tenant('server', 'create', `${NAME}-${zone}`, ...what, '--availability-zone', zone);
    }
    await until('both are ACTIVE', async () => {
      const found = (await servers('tenant')).filter(({ name }) => name.startsWith(NAME));
      if (found.some(({ status }) => status === 'ERROR'))
        throw new Error(JSON.stringify(found.map(({ fault }) => fault)));
      return found.length === 2 && found.every(({ status }) => status === 'ACTIVE');
    });
  });

  it('is one segment, with addresses of its own for each child', async () => {
    await until('both routers are wired', () => agreed(id).then(() => true), PATIENCE);
  });

  it('goes without a trace, and leaves its VLAN to others', async () => {
    const number = await admin.value('provider:segmentation_id', 'network', 'show', id);
    await tenant('server', 'delete', '--wait', ...CHILDREN.map(({ zone }) => `${NAME}-${zone}`));
    await tenant('router', 'remove', 'subnet', router, sub);
    await tenant('router', 'delete', router);
    await tenant('network', 'delete', net);
    const again = [
      '--provider-network-type',
      'vlan',
      '--provider-physical-network',
      'wan',
      '--provider-segment',
      number,
    ];
    const made = await until('the VLAN is free', () => admin.value('id', 'network', 'create', 'x', ...again), PATIENCE);
    for (const { cloud } of CHILDREN) expect(await copyIn(cloud, id)).toBeUndefined();
    await admin('network', 'delete', made);
  });
});

describe(`a parent that is killed ${KILLS} times while ${NETWORKS} such networks are wired and half of them unwired`, () => {
  const kept = new Map<string, Wired>();
  const gone = new Set<string>();

  it('takes all of it', { timeout: 900_000 }, async () => {
    const killing = killAgainAndAgain(KILLS);
    const work = Array.from({ length: NETWORKS }, async (_, at) => {
      await sleep(at * 3_000 + random(0, 2_000));
      const wired = await wire(at);
      if (at % 2 === 0) return void kept.set(wired.network, wired);
      await sleep(random(0, 10_000));
      await unwire(wired);
      gone.add(wired.network);
    });
    await Promise.all([killing, ...work]);
    expect([kept.size, gone.size]).toEqual([NETWORKS / 2, NETWORKS / 2]);
  });

  it('has every kept network in both children, alike, and no other', { timeout: 600_000 }, async () => {
    await until(
      'the servers are ACTIVE',
      async () => {
        const found = (await servers('tenant')).filter(({ name }) => name.startsWith(NAME));
        if (found.length === NETWORKS && found.every(({ status }) => status === 'ACTIVE')) return true;
        throw new Error(JSON.stringify(found.map(({ name, status, fault }) => [name, status, fault?.message])));
      },
      PATIENCE,
    );
    for (const id of kept.keys()) await until(`${id} is wired`, () => agreed(id).then(() => true), PATIENCE);
    await noneLeft([...gone]);
  });

  it('leaves nothing when the others go, too', { timeout: 600_000 }, async () => {
    for (const wired of kept.values()) await unwire(wired);
    await noneLeft([...kept.keys()]);
  });
});

interface Wired {
  readonly network: string;
  readonly subnet: string;
  readonly router: string;
  readonly servers: readonly string[];
}

/** One network with a subnet, a router on it and a server of each zone. */
async function wire(at: number): Promise<Wired> {
  const name = `${NAME}-${at}`;
  const provider = { 'provider:network_type': 'vlan', 'provider:physical_network': 'wan', project_id: project };
  const network = await have('admin', 'networks', 'network', { name, ...provider });
  const cidr = `10.84.${at}.0/24`;
  const subnet = await have('tenant', 'subnets', 'subnet', { name, network_id: network, ip_version: 4, cidr });
  const router = await have('tenant', 'routers', 'router', { name });
  await patiently(`the router is on ${name}`, async () => {
    const ports = await list<Port>(api('tenant'), 'network', '/ports', 'ports', {
      network_id: network,
      device_id: router,
    });
    return ports.length > 0 || (await changeRouter(router, 'add', subnet));
  });
  const made = await Promise.all(CHILDREN.map(({ zone }) => boot(furniture, `${name}-${zone}`, zone, network)));
  return { network, subnet, router, servers: made };
}

async function unwire({ network, subnet, router, servers: ids }: Wired): Promise<void> {
  for (const id of ids) await remove('compute', `/servers/${id}`);
  await patiently('the servers are gone', async () => {
    const found = await servers('tenant');
    return found.every((server: Server) => !ids.includes(server.id));
  });
  await patiently('the router leaves', async () => (await changeRouter(router, 'remove', subnet, [404])) !== undefined);
  await remove('network', `/routers/${router}`);
  await remove('network', `/networks/${network}`);
}
