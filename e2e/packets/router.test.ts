/**
 * One router with networks in two clouds: what its servers send each other is routed over the wire between the clouds,
 * and what they send to others leaves by their own cloud's gateway.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { inCidr } from '../../src/network/router-route.ts';
import { until } from '../harness/until.ts';
import type { Frame } from './frame.ts';
import {
  address6,
  type Attributes,
  externalNetwork,
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

const RANGES = {
  east: { v4: '10.91.0.0/24', v6: 'fd91:0:0:1::/64' },
  west: { v4: '10.92.0.0/24', v6: 'fd91:0:0:2::/64' },
} as const;

const scene = openScene();
const machines = {} as Record<Zone, Machine>;
const outside = {} as Record<Zone, Outside>;
let router = '';

beforeAll(async () => {
  const group = await scene.openGroup();
  const networks = { east: await network('east'), west: await network('west') };
  router = await scene.router('packets', [...networks.east.subnets, ...networks.west.subnets]);
  const boot = async (zone: Zone) => {
    const port = { network_id: networks[zone].id, security_groups: [group] };
    machines[zone] = await scene.boot(`packets-${zone}`, zone, port);
    outside[zone] = await scene.outside(zone);
  };
  await Promise.all(ZONES.map(boot));
});

/** A network that lives in one zone, with IPv4 and IPv6. */
async function network(zone: Zone) {
  const { v4, v6 } = RANGES[zone];
  const { id } = await scene.make('network', { name: `packets-${zone}`, availability_zone_hints: [zone] });
  const subnet = async (values: Attributes) =>
    (await scene.make('subnet', { name: `packets-${zone}`, network_id: id, ...values })).id;
  const auto = { ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
  return {
    id,
    subnets: [await subnet({ ip_version: 4, cidr: v4 }), await subnet({ ip_version: 6, cidr: v6, ...auto })],
  };
}

const address4 = ({ address }: Machine): string => address;

const ADDRESSES = [address4, address6];

it('has servers that get from their own cloud the addresses which the parent chose', async () => {
  for (const machine of Object.values(machines)) {
    expect(await machine.lease()).toMatchObject({ address: machine.address, prefix: 24 });
    await hasAddress6(machine);
    await machine.listen(SERVICE);
  }
  for (const addressOf of ADDRESSES) await reaches(machines.east, addressOf(machines.west));
  for (const zone of ZONES) await reaches(machines[zone], WORLD);
});

/** Between the two servers, one after the other as the sender. */
const WAYS = [
  ['east', 'west'],
  ['west', 'east'],
] as const;

/** What holds between the two servers, whatever else they have. */
function routed(): void {
  it.each(WAYS)('carries ping from %s to %s, two hops away and with the sender as it is', async (from, to) => {
    const [sender, receiver] = [machines[from], machines[to]];
    for (const addressOf of ADDRESSES) {
      await Promise.all([sender.frames(), receiver.frames()]);
      expect(await sender.ping(addressOf(receiver))).toMatchObject({ sent: 3, received: 3 });
      const [sent, arrived] = [await requestsOf(sender, 'out'), await requestsOf(receiver, 'in')];
      expect(sent).toHaveLength(3);
      expect(arrived.map(({ ttl, source }) => ({ ttl, source }))).toEqual(
        sent.map(({ ttl = 0 }) => ({ ttl: ttl - 2, source: addressOf(sender) })),
      );
    }
  });

  it.each(WAYS)('carries TCP from %s to %s, with the sender as it is', async (from, to) => {
    const [sender, receiver] = [machines[from], machines[to]];
    for (const addressOf of ADDRESSES) {
      expect(await sender.talk(addressOf(receiver), SERVICE)).toEqual({ seen_as: addressOf(sender) });
    }
  });
}

const requestsOf = async (machine: Machine, way: Frame['direction']): Promise<Frame[]> =>
  (await machine.frames()).filter(({ direction, protocol }) => direction === way && protocol === 'echo request');

describe('servers without floating IPs', () => {
  withAndWithoutParent(() => {
    routed();

    it.each(ZONES)('leave %s by the gateway that the router has there', async (zone) => {
      expect(await machines[zone].ping(WORLD)).toMatchObject({ sent: 3, received: 3 });
      expect(await machines[zone].talk(WORLD, SERVICE)).toEqual({ seen_as: own[zone] });
    });
  });

  /** The router's own address in each child's external network. */
  const own = {} as Record<Zone, string | undefined>;
  beforeAll(async () => {
    const addresses = await gatewayAddresses(router);
    for (const zone of ZONES) own[zone] = addresses.find((address) => inCidr(outside[zone].cidr, address));
  });
});

describe('servers with floating IPs', () => {
  const floating = {} as Record<Zone, string>;
  beforeAll(async () => {
    const floating_network_id = await externalNetwork();
    for (const zone of ZONES) {
      const wish = { floating_network_id, port_id: machines[zone].port.id };
      const made = await scene.make<{ id: string; floating_ip_address: string }>('floatingip', wish);
      floating[zone] = made.floating_ip_address;
      await reaches(outside[zone], floating[zone]);
    }
  });

  withAndWithoutParent(() => {
    it.each(ZONES)('are reached from outside %s', async (zone) => {
      await machines[zone].frames();
      expect(await outside[zone].ping(floating[zone])).toMatchObject({ sent: 3, received: 3 });
      const arrived = await requestsOf(machines[zone], 'in');
      expect(arrived.map(({ destination }) => destination)).toEqual(Array(3).fill(machines[zone].address));
      expect(await outside[zone].talk(floating[zone], SERVICE)).toEqual({ seen_as: outside[zone].gateway });
    });

    it.each(ZONES)('leave %s by their floating IPs', async (zone) => {
      expect(await machines[zone].talk(WORLD, SERVICE)).toEqual({ seen_as: floating[zone] });
    });

    routed();
  });
});

describe('a server that goes', () => {
  it('is no longer reached, and the other one still gets out', async () => {
    const { east, west } = machines;
    await scene.end(west);
    const once = { count: 1, wait_ms: 500 };
    await until('it does not answer', async () => (await east.ping(west.address, once)).received === 0);
    expect(await east.talk(west.address, SERVICE, { wait_ms: 1000 })).toHaveProperty('failure');
    expect(await east.talk(WORLD, SERVICE)).toHaveProperty('seen_as');
  });

  it('leaves its port to another, which is reached', async () => {
    machines.west = await scene.boot('packets-west-again', 'west', machines.west.port);
    expect(await machines.west.lease()).toMatchObject({ address: machines.west.address });
    await machines.west.listen(SERVICE);
    for (const addressOf of ADDRESSES) await reaches(machines.east, addressOf(machines.west));
  });

  routed();
});
