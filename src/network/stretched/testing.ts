/** For the tests of networks over several children: a service over three simulated ones, two pairs of which share a wire. */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterEach, expect, vi } from 'vitest';
import type { RequestContext } from '../../http/service.ts';
import type { SimCloud } from '../../sim/cloud.ts';
import { identities, silent, type TestAnswer } from '../../testing/api.ts';
import type { NetworkRequest } from '../server-networks.ts';
import { networkTest } from '../testing.ts';
import { NO_TOPOLOGY, type NetworkTopology } from '../topology.ts';

export const topology: NetworkTopology = {
  ...NO_TOPOLOGY,
  physical_networks: [
    {
      name: 'wan',
      children: { east: 'physnet1', west: 'provider-a' },
      vlans: { first: 220, last: 223 },
      transit_vlans: { first: 160, last: 169 },
      flat: true,
      mtu: 1500,
    },
    // Without VLANs for transits: what stretches over it needs none.
    {
      name: 'lan',
      children: { east: 'physnet2', alone: 'physnet2' },
      vlans: { first: 230, last: 231 },
      transit_vlans: undefined,
      flat: false,
      mtu: 1500,
    },
  ],
};
export const WAN = { 'provider:network_type': 'vlan', 'provider:physical_network': 'wan' };

/** The fault's type. */
export const typeOf = (answer: TestAnswer): string => answer.body.NeutronError.type;

/** Copies by their mark, among what a simulated child has. */
export const named = (rows: ReadonlyMap<string, object>, id: string) =>
  [...rows.values()].filter((row) => (row as { name?: unknown }).name === id) as Record<string, unknown>[];

/** Call it once at the top of a file. */
export async function stretchedTest() {
  const { call, make, db, cascade, sims, serverNetworks } = await networkTest(['east', 'west', 'alone'], topology);
  const [east, west] = [sims.east as SimCloud, sims.west as SimCloud];
  const context = { requestId: 'req-1', identity: identities.alice, log: silent } as unknown as RequestContext;
  await cascade.start();

  const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 20_000, interval: 50 });
  const create = (network: object) => call('admin', 'POST', '/networks', { network });
  const replicas = async (id: string) =>
    (
      await sql<{ child: string }>`select child from replicas where resource_id = ${id} order by child`.execute(
        db.query,
      )
    ).rows.map(({ child }) => child);

  /** A stretched network of alice's with a subnet. */
  async function stretched(cidr: string, more: object = {}) {
    const network = await make('admin', 'network', { project_id: 'p1', ...WAN, ...more });
    const subnet = await make('alice', 'subnet', { network_id: network.id, ip_version: 4, cidr });
    return { network, subnet };
  }

  /** A boot as far as networks go, up to the ports in the child. */
  async function boot(child: string, wanted: readonly NetworkRequest[]) {
    const server_id = randomUUID();
    const resolved = await serverNetworks.resolve(db.query, context, wanted);
    expect(resolved.children ?? [child]).toContain(child);
    const ports = await db.transaction((tx) =>
      serverNetworks.attach(tx, context, resolved, { server_id, child, zone: child, security_groups: undefined }),
    );
    cascade.poke();
    const [childId = ''] = await vi.waitFor(() => serverNetworks.ensurePorts(cascade.context(child), server_id), {
      timeout: 10_000,
      interval: 50,
    });
    return { server_id, port: ports[0] as NonNullable<(typeof ports)[0]>, childId };
  }

  const end = async (serverId: string) => {
    await db.transaction((tx) => serverNetworks.detach(tx, serverId));
    cascade.poke();
  };
  const drop = async (...networks: { id: string }[]) => {
    for (const { id } of networks) expect((await call('admin', 'DELETE', `/networks/${id}`)).status).toBe(204);
    await eventually(async () => {
      for (const { id } of networks) expect(await replicas(id)).toEqual([]);
    });
  };

  afterEach(async () => {
    for (const sim of [east, west]) {
      sim.faults.clear();
      await sim.start();
    }
  });

  return {
    call,
    make,
    db,
    cascade,
    sims,
    serverNetworks,
    east,
    west,
    context,
    eventually,
    create,
    replicas,
    stretched,
    boot,
    end,
    drop,
  };
}

/** Somebody else has a network on this VLAN in the child. */
export function occupy(sim: SimCloud, physical: string, id: number): void {
  const [any] = sim.state.networks.values();
  sim.state.networks.set(`foreign-${id}`, {
    ...any,
    id: `foreign-${id}`,
    name: 'foreign',
    'provider:network_type': 'vlan',
    'provider:physical_network': physical,
    'provider:segmentation_id': id,
  });
}

/** They are gone again. */
export const vacate = (sim: SimCloud, id: number) => void sim.state.networks.delete(`foreign-${id}`);
