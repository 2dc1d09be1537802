/**
 * A network that stretches over two clouds: its servers are neighbours at layer 2, wherever they run, and each leaves by
 * the router of its own cloud.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { inCidr } from '../../src/network/router-route.ts';
import { api } from '../harness/rest.ts';
import { until } from '../harness/until.ts';
import {
  address6,
  gatewayAddresses,
  hasAddress6,
  type Machine,
  openScene,
  type Outside,
  reaches,
  SERVICE,
  withAndWithoutParent,
  WORLD,
  type Zone,
  ZONES,
} from './scene.ts';

const scene = openScene();
const machines = {} as Record<Zone, Machine>;
const outside = {} as Record<Zone, Outside>;
const ONCE = { count: 1, wait_ms: 500 };
let mover: Machine;
let port: { network_id: string; security_groups: string[] };
let router = '';

beforeAll(async () => {
  const { projectId: project_id } = await api('tenant').account();
  const provider = { 'provider:network_type': 'vlan', 'provider:physical_network': 'wan' };
  const { id } = await scene.make('network', { name: 'packets-stretched', project_id, ...provider }, 'admin');
  const subnet = { network_id: id, name: 'packets-stretched' };
  const v4 = await scene.make('subnet', { ...subnet, ip_version: 4, cidr: '10.93.0.0/24' });
  const auto = { ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
  const v6 = await scene.make('subnet', { ...subnet, ip_version: 6, cidr: 'fd93::/64', ...auto });
  router = await scene.router('packets-stretched', [v4.id, v6.id]);
  port = { network_id: id, security_groups: [await scene.openGroup()] };
  await Promise.all([
    ...ZONES.map(async (zone) => {
      machines[zone] = await scene.boot(`packets-${zone}`, zone, port);
      outside[zone] = await scene.outside(zone);
    }),
    scene.boot('packets-mover', 'west', port).then((machine) => (mover = machine)),
  ]);
});

it('gives its servers addresses of one subnet, and each cloud its own way out', async () => {
  const routers = new Map<Zone, string | null>();
  for (const machine of [...Object.values(machines), mover]) {
    const lease = await machine.lease();
    expect(lease).toMatchObject({ address: machine.address, prefix: 24, mtu: 1500 });
    routers.set(machine.zone, lease.router);
    await hasAddress6(machine);
    await machine.listen(SERVICE);
  }
  expect(new Set(routers.values()).size).toBe(2);
  await reaches(machines.east, machines.west.address);
  await reaches(machines.east, address6(machines.west));
  for (const zone of ZONES) await reaches(machines[zone], WORLD);
});

/** What holds between the two servers. */
function neighbours(): void {
  it('answers ARP across the wire with the server itself', async () => {
    const { east, west } = machines;
    await east.forget();
    await Promise.all([east.frames(), west.frames()]);
    expect(await east.ping(west.address)).toMatchObject({ sent: 3, received: 3 });
    const [seen, arrived] = [await east.frames(), await west.frames()];
    expect(seen.find(({ protocol, source }) => protocol === 'arp reply' && source === west.address)).toMatchObject({
      direction: 'in',
      from: west.port.mac_address,
      to: east.port.mac_address,
    });
    const requests = arrived.filter(({ direction, protocol }) => direction === 'in' && protocol === 'echo request');
    expect(requests).toHaveLength(3);
    for (const request of requests) {
      expect(request).toMatchObject({ from: east.port.mac_address, source: east.address, ttl: 64 });
    }
  });

  it('carries full frames and TCP', async () => {
    const { east, west } = machines;
    const full = 1500 - 28; // what an IPv4 and an ICMP head leave
    expect(await east.ping(west.address, { size: full })).toMatchObject({ sent: 3, received: 3 });
    expect(await east.talk(west.address, SERVICE)).toEqual({ seen_as: east.address });
    expect(await west.talk(east.address, SERVICE)).toEqual({ seen_as: west.address });
    expect(await east.talk(address6(west), SERVICE)).toEqual({ seen_as: address6(east) });
  });
}

withAndWithoutParent(() => {
  neighbours();

  it.each(ZONES)('leaves by the router of its own cloud: %s', async (zone) => {
    const seen = await machines[zone].talk(WORLD, SERVICE);
    expect(seen).toEqual({ seen_as: own[zone] });
  });
});

/** The router's own address in each child's external network. */
const own = {} as Record<Zone, string | undefined>;
beforeAll(async () => {
  const addresses = await gatewayAddresses(router);
  for (const zone of ZONES) own[zone] = addresses.find((address) => inCidr(outside[zone].cidr, address));
});

describe('a server that moves to the other cloud', () => {
  it('is reached from both where it was', async () => {
    for (const zone of ZONES) await reaches(machines[zone], mover.address);
  });

  it('is reached from neither when it is gone', async () => {
    await scene.end(mover);
    for (const zone of ZONES) {
      const silent = async () => (await machines[zone].ping(mover.address, ONCE)).received === 0;
      await until(`it does not answer ${zone}`, silent);
    }
  });

  it('is reached from both where it is then, with the port that it had', async () => {
    mover = await scene.boot('packets-moved', 'east', mover.port);
    expect(await mover.lease()).toMatchObject({ address: mover.address });
    await mover.listen(SERVICE);
    for (const zone of ZONES) {
      await reaches(machines[zone], mover.address);
      expect(await machines[zone].talk(mover.address, SERVICE)).toEqual({ seen_as: machines[zone].address });
    }
  });

  neighbours();
});
