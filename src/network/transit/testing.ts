/** A network service over three simulated children, two of which are joined: what tests of routers over both share. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { expect, vi } from 'vitest';
import type { RequestContext } from '../../http/service.ts';
import type { SimCloud } from '../../sim/cloud.ts';
import { identities, silent } from '../../testing/api.ts';
import { networkTest } from '../testing.ts';
import { NO_TOPOLOGY, type NetworkTopology } from '../topology.ts';

const topology: NetworkTopology = {
  ...NO_TOPOLOGY,
  physical_networks: [
    {
      name: 'wan',
      children: { east: 'physnet1', west: 'physnet1' },
      vlans: { first: 100, last: 149 },
      transit_vlans: { first: 150, last: 153 },
      flat: false,
      mtu: 1500,
    },
  ],
};
type Row = Record<string, unknown>;

export const context = { requestId: 'req-1', identity: identities.alice, log: silent } as unknown as RequestContext;

/** Waits until the check holds. */
export const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 20_000, interval: 50 });

const named = (rows: ReadonlyMap<string, object>, name: string): Row[] =>
  [...rows.values()].filter((row) => (row as { name?: unknown }).name === name) as Row[];

/** East and west, which a physical network joins, and a third that is alone; the proxies at work. */
export async function transitTest() {
  const test = await networkTest(['east', 'west', 'alone'], topology);
  const { call, make, db, cascade, sims, serverNetworks } = test;
  await cascade.start();
  const sim = (name: string) => sims[name] as SimCloud;

  /** A network with a subnet and, where a child is named, a server's port there. */
  async function network(cidr: string, child?: string, more: object = {}) {
    const { id } = await make('alice', 'network', { name: cidr });
    const ip_version = cidr.includes(':') ? 6 : 4;
    const subnet = await make('alice', 'subnet', { network_id: id, ip_version, cidr, ...more });
    const server = child === undefined ? undefined : await boot(child, id);
    return { id: id as string, subnet: subnet.id as string, cidr, server };
  }

  async function boot(child: string, network_id: string): Promise<string> {
    const server_id = randomUUID();
    const resolved = await serverNetworks.resolve(db.query, context, [{ network_id }]);
    await db.transaction((tx) =>
      serverNetworks.attach(tx, context, resolved, { server_id, child, zone: child, security_groups: undefined }),
    );
    cascade.poke();
    return server_id;
  }

  const add = (router: string, subnet_id: string) =>
    call('alice', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id });
  const remove = (router: string, subnet_id: string) =>
    call('alice', 'PUT', `/routers/${router}/remove_router_interface`, { subnet_id });

  /** What a child shows of a router's copy: its routes, and the networks of its interfaces. */
  function shown(child: string, routerId: string) {
    const { state } = sim(child);
    const [copy] = named(state.routers, routerId);
    if (copy === undefined) return undefined;
    const ports = ([...state.ports.values()] as unknown as Row[]).filter((port) => port.device_id === copy.id);
    const networks = ports.map((port) => state.networks.get(port.network_id as string) as unknown as Row);
    const transit = networks.find((one) => one?.['provider:network_type'] === 'vlan');
    const port = ports.find(({ network_id }) => network_id === transit?.id);
    return {
      routes: copy.routes as { destination: string; nexthop: string }[],
      interfaces: ports.length,
      vlan: transit?.['provider:segmentation_id'],
      project_id: transit?.project_id,
      address: (port?.fixed_ips as { ip_address: string }[] | undefined)?.[0]?.ip_address,
    };
  }

  /** Waits until both copies of a router lead to each other's subnet. */
  async function joined(router: string, near: { east: string; west: string }): Promise<number> {
    let vlan = 0;
    await eventually(() => {
      const [east, west] = [shown('east', router), shown('west', router)];
      expect(east?.vlan).toBeGreaterThanOrEqual(150);
      expect(east?.vlan).toBe(west?.vlan);
      expect(east?.address).not.toBe(west?.address);
      expect(east?.routes).toEqual([{ destination: near.west, nexthop: west?.address }]);
      expect(west?.routes).toEqual([{ destination: near.east, nexthop: east?.address }]);
      vlan = east?.vlan as number;
    });
    return vlan;
  }

  /** Takes everything away, and sees that nothing is left of it anywhere. */
  async function clear(router: string, ...networks: { id: string; subnet: string; server?: string | undefined }[]) {
    for (const { subnet, server } of networks) {
      const answer = await remove(router, subnet);
      expect([200, 404]).toContain(answer.status);
      if (server !== undefined) await db.transaction((tx) => serverNetworks.detach(tx, server));
    }
    expect((await call('alice', 'DELETE', `/routers/${router}`)).status).toBe(204);
    for (const { id } of networks) expect((await call('alice', 'DELETE', `/networks/${id}`)).status).toBe(204);
    await eventually(async () => {
      for (const child of ['east', 'west']) {
        const { state } = sim(child);
        expect(named(state.routers, router)).toEqual([]);
        const vlans = ([...state.networks.values()] as unknown as Row[]).filter(
          (one) => one['provider:network_type'] === 'vlan',
        );
        expect(vlans).toEqual([]);
      }
      const left = await sql`select kind, child, error from replicas
        where kind in ('router', 'network', 'subnet', 'port')`.execute(db.query);
      expect(left.rows).toEqual([]);
    });
  }

  return { ...test, sim, network, boot, add, remove, shown, joined, clear };
}
