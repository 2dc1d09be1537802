import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, it, vi } from 'vitest';
import { json } from '../db/database.ts';
import type { RequestContext } from '../http/service.ts';
import type { SimCloud } from '../sim/cloud.ts';
import { identities, silent, type TestAnswer } from '../testing/api.ts';
import { networkTest } from './testing.ts';
import { NO_TOPOLOGY } from './topology.ts';

const physical = {
  name: 'wan',
  children: { east: 'physnet1', unwired: 'physnet1', poor: 'physnet1', dvr: 'physnet1' },
  vlans: { first: 100, last: 109 },
  transit_vlans: { first: 150, last: 159 },
  flat: true,
  mtu: 1500,
};
const apart = { ...physical, name: 'apart', children: { unwired: 'physnet1', poor: 'physnet1' } };
const wires = { physicalNetworks: ['physnet1', 'public'] };
const { call, make, db, cascade, sims, serverNetworks } = await networkTest(
  ['east', 'unwired', 'poor', 'dvr'],
  { ...NO_TOPOLOGY, physical_networks: [physical, apart] },
  { east: wires, poor: wires, unwired: { physicalNetworks: ['public'] }, dvr: { ...wires, beside: ['dvr'] } },
);
const sim = (name: string) => sims[name] as SimCloud;
const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 20_000, interval: 50 });
const context = { requestId: 'req-1', identity: identities.alice, log: silent } as unknown as RequestContext;

/** The account in `poor` is a member and nothing more. */
function withoutAdmin({ state }: SimCloud): void {
  const admin = [...state.roles].find(([, name]) => name === 'admin')?.[0] ?? '';
  for (const key of state.assignments) if (key.endsWith(`/${admin}`)) state.assignments.delete(key);
  state.tokens.clear();
}
withoutAdmin(sim('poor'));
await cascade.start();
await eventually(async () => {
  const known = await sql`select 1 from child_abilities`.execute(db.query);
  expect(known.rows).toHaveLength(4);
});

const vlan = (name: string, more: object = {}) =>
  call('admin', 'POST', '/networks', {
    network: { project_id: 'p1', 'provider:network_type': 'vlan', 'provider:physical_network': name, ...more },
  });
const resolved = (network_id: string) => serverNetworks.resolve(db.query, context, [{ network_id }]);
async function boot(child: string, network_id: string): Promise<void> {
  const wanted = await resolved(network_id);
  const to = { server_id: randomUUID(), child, zone: child, security_groups: undefined };
  await db.transaction((tx) => serverNetworks.attach(tx, context, wanted, to));
  cascade.poke();
}
const fault = ({ status, body }: TestAnswer) => [status, body.NeutronError.type, body.NeutronError.message];
const rows = async () =>
  (
    await sql<{ n: number }>`select (select count(*) from networks where not external)::int
    + (select count(*) from network_segments)::int + (select count(*) from ports)::int as n`.execute(db.query)
  ).rows[0]?.n;

async function subnetOn(child: string | undefined, cidr: string): Promise<string> {
  const { id: network_id } = await make(
    'alice',
    'network',
    child === undefined ? {} : { availability_zone_hints: [child] },
  );
  return (await make('alice', 'subnet', { network_id, ip_version: 4, cidr })).id;
}
const add = (router: string, subnet_id: string) =>
  call('alice', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id });

describe('a child that cannot take part', () => {
  it('has no stretched network: refused with the reason where nobody else could have it, and nothing is made', async () => {
    const before = await rows();
    const nowhere = await vlan('apart');
    expect(fault(nowhere)).toEqual([
      409,
      'NetworkAvailabilityZoneNotJoined',
      'Unable to create the network: the availability zone unwired cannot take part in networks that stretch over availability zones: the cloud below is not wired to the network between the availability zones.',
    ]);
    const hinted = await vlan('wan', { availability_zone_hints: ['east', 'poor'] });
    expect(fault(hinted)).toEqual([
      409,
      'NetworkAvailabilityZoneNotJoined',
      'Unable to create the network: the availability zone poor cannot take part in networks that stretch over availability zones: the cloud below does not let networks be made that reach other clouds.',
    ]);
    expect(JSON.stringify([nowhere.body, hinted.body])).not.toMatch(/physnet1|127\.0\.0\.1/);
    expect(await rows()).toBe(before);
  });

  it('is no place for servers on one that others have', async () => {
    const { body, status } = await vlan('wan');
    expect([status, body.network.availability_zones]).toEqual([201, ['dvr', 'east']]);
    const { id } = body.network;
    await make('alice', 'subnet', { network_id: id, ip_version: 4, cidr: '10.9.0.0/24' });
    expect((await resolved(id)).children).toEqual(['east', 'dvr']);
    const before = await rows();
    await expect(boot('unwired', id)).rejects.toMatchObject({
      status: 409,
      message: expect.stringContaining('not wired'),
    });
    expect(await rows()).toBe(before);
    await boot('east', id);
    const all = await sql<{ child: string; facts: object }>`select child, facts from child_abilities`.execute(db.query);
    await sql`update child_abilities set facts = facts || '{"provider_networks": false}'`.execute(db.query);
    await expect(resolved(id)).rejects.toMatchObject({
      status: 409,
      message: expect.stringContaining('does not let networks be made that reach other clouds'),
    });
    for (const { child, facts } of all.rows) {
      await sql`update child_abilities set facts = ${json(facts)} where child = ${child}`.execute(db.query);
    }
    await eventually(() => expect([...sim('east').state.networks.values()].map(({ name }) => name)).toContain(id));
  });

  it('has no router that spans, and no server is steered to where one would have to', async () => {
    const router = (await make('alice', 'router', {})).id;
    const [one, two, free] = [
      await subnetOn('east', '10.1.0.0/24'),
      await subnetOn('unwired', '10.2.0.0/24'),
      await subnetOn(undefined, '10.3.0.0/24'),
    ];
    expect((await add(router, one)).status).toBe(200);
    const before = await rows();
    expect(fault(await add(router, two))).toEqual([
      409,
      'RouterAvailabilityZonesNotJoined',
      `Router ${router} cannot span the availability zones east, unwired: the availability zone unwired cannot take part in routers that span availability zones: the cloud below is not wired to the network between the availability zones.`,
    ]);
    expect(await rows()).toBe(before);
    expect((await add(router, free)).status).toBe(200);
    const { network_id } = (await call('alice', 'GET', `/subnets/${free}`)).body.subnet;
    expect([...((await resolved(network_id)).children ?? [])].sort()).toEqual(['dvr', 'east']);
    await expect(boot('poor', network_id)).rejects.toMatchObject({ status: 409 });
  });
});

describe('a child whose routers are distributed', () => {
  const copyOf = (router: string) => [...sim('dvr').state.routers.values()].find(({ name }) => name === router);

  it('gets centralized copies, which can end a transit', async () => {
    const router = (await make('alice', 'router', {})).id;
    expect((await add(router, await subnetOn('east', '10.4.0.0/24'))).status).toBe(200);
    expect((await add(router, await subnetOn('dvr', '10.5.0.0/24'))).status).toBe(200);
    await eventually(() => {
      expect(copyOf(router)).toMatchObject({ distributed: false, admin_state_up: true });
      expect(copyOf(router)?.routes).toHaveLength(1);
    });
    const refused = await call('admin', 'PUT', `/routers/${router}`, { router: { distributed: true } });
    expect(fault(refused).slice(0, 2)).toEqual([409, 'RouterAvailabilityZonesNotJoined']);
    expect((await call('admin', 'GET', `/routers/${router}`)).body.router.distributed).toBe(false);
    expect([...sim('east').state.routers.values()].find(({ name }) => name === router)).not.toHaveProperty(
      'distributed',
    );
  });

  it('keeps a distributed router that was asked for, which cannot span; and one made so by others is centralized', async () => {
    const router = (await make('admin', 'router', { project_id: 'p1', distributed: true })).id;
    expect((await add(router, await subnetOn('dvr', '10.6.0.0/24'))).status).toBe(200);
    await eventually(() => expect(copyOf(router)).toMatchObject({ distributed: true }));
    const one = await subnetOn('east', '10.7.0.0/24');
    const refused = await add(router, one);
    expect(fault(refused)[2]).toContain('a distributed router cannot');
    expect((await call('admin', 'PUT', `/routers/${router}`, { router: { distributed: false } })).status).toBe(200);
    await eventually(() => expect(copyOf(router)).toMatchObject({ distributed: false, admin_state_up: true }));
    expect((await add(router, one)).status).toBe(200);
    await eventually(() => expect(copyOf(router)?.routes).toHaveLength(1));
  });
});
