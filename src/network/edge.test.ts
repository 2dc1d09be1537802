import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createCascade, type RunningCascade } from '../cascade/cascade.ts';
import { network as convention } from '../http/conventions.ts';
import { createCloudClient } from '../openstack/client.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { silent, type TestApi, testApi } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { edgeOperations, type EdgeParts, edgeRules, registerEdgeKinds } from './edge.ts';
import { externalNetworkFeed } from './external-network-feed.ts';
import { networkKind } from './network-replica.ts';
import { networkResource } from './network-resource.ts';
import { bindNetwork, networkOperations } from './networks.ts';
import { createPortBatches } from './port-batch.ts';
import { createPortEvents } from './port-events.ts';
import { portKind } from './port-replica.ts';
import { portResource } from './port-resource.ts';
import { portOperations, portRules } from './ports.ts';
import { routersFollowNetwork } from './router-interface.ts';
import { securityGroupKind } from './security-group-replica.ts';
import { subnetKind } from './subnet-replica.ts';
import { subnetOperations } from './subnets.ts';

const db = await testDatabase();
const UNKNOWN = '11111111-1111-1111-1111-111111111111';
const changedServers: string[] = [];
/** Floating IPs of the servers' ports, as they were when it was told of. */
const floatingSeen: number[] = [];
let east: SimCloud;
let west: SimCloud;
let cascade: RunningCascade;
let api: TestApi;
let parts: EdgeParts;

const call = (who: string, method: string, path: string, body?: unknown) =>
  api.call(who, method, `/network/v2.0${path}`, body);
const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 10_000, interval: 25 });

async function child(name: string, cidr: string) {
  const sim = await createSimCloud({ name, externalNetworks: [{ name: 'public', cidr }] });
  const entry = { name, auth_type: 'password' as const, ...sim.cloudsYamlEntry };
  const client = createCloudClient({ entry, name, backoff_ms: 1 });
  return { sim, configured: { config: { name, zones: { [name]: 'nova' }, tenancy: 'shared' as const }, api: client } };
}

beforeAll(async () => {
  const [one, other] = await Promise.all([child('east', '172.24.1.0/24'), child('west', '172.24.2.0/24')]);
  [east, west] = [one.sim, other.sim];
  cascade = await createCascade({ db, log: silent, children: [one.configured, other.configured] });
  await sql`update children set up = true, seen_at = clock_timestamp()`.execute(db.query);
  const events = createPortEvents();
  events.onServersChanged(async (tx, ids) => {
    changedServers.push(...ids);
    const found = await sql`select 1 from floating_ips f join ports p on p.id = f.port_id
      where p.device_id = any(${[...ids]}::text[])`.execute(tx);
    floatingSeen.push(found.rows.length);
  });
  parts = {
    db,
    cascade,
    events,
    async bindNetwork(tx, networkId, name) {
      const isBound = await bindNetwork(tx, cascade, networkId, name);
      if (isBound) await routersFollowNetwork(tx, cascade, networkId, name);
      return isBound;
    },
  };
  for (const replica of [networkKind, subnetKind, securityGroupKind(cascade), portKind(createPortBatches())]) {
    cascade.register({ replica: replica as never });
  }
  registerEdgeKinds(parts);
  const operations = [
    ...networkOperations({ db, cascade }),
    ...subnetOperations({ db, cascade }),
    ...portOperations({ db, cascade, events }),
    ...edgeOperations(parts),
  ];
  const rules = [...edgeRules, ...portRules, ...networkResource.fieldRules, ...portResource.fieldRules];
  api = testApi([{ convention, operations, rules }]);
  await cascade.start();
  await eventually(async () => {
    const found = await sql<{ times: number }>`select count(*)::int as times from external_subnets`.execute(db.query);
    expect(found.rows[0]?.times).toBe(2);
  });
});

afterAll(async () => {
  await api.close();
  await cascade.stop();
  await Promise.all([east.close(), west.close()]);
});

async function external(): Promise<{ id: string; subnets: string[] }> {
  const { body } = await call('alice', 'GET', '/networks?router:external=true');
  expect(body.networks).toHaveLength(1);
  return body.networks[0];
}

async function subnetIn(name: string): Promise<string> {
  const found = await sql<{ subnet_id: string }>`select subnet_id from external_subnets where child = ${name}`.execute(
    db.query,
  );
  return found.rows[0]?.subnet_id ?? '';
}

async function tenantSubnet(cidr: string, gateway?: string | null) {
  const { body } = await call('alice', 'POST', '/networks', { network: { name: 'n' } });
  const network_id: string = body.network.id;
  const wanted = { network_id, cidr, ip_version: 4, ...(gateway === undefined ? {} : { gateway_ip: gateway }) };
  const made = await call('alice', 'POST', '/subnets', { subnet: wanted });
  expect(made.status).toBe(201);
  return { network_id, subnet_id: made.body.subnet.id as string };
}

async function newRouter(more: object = {}): Promise<string> {
  const { status, body } = await call('alice', 'POST', '/routers', { router: { name: 'r', ...more } });
  expect(status).toBe(201);
  return body.router.id;
}

const bind = (networkId: string, name: string) => db.transaction((tx) => parts.bindNetwork(tx, networkId, name));
const type = (answer: { body: { NeutronError: { type: string } } }) => answer.body.NeutronError.type;
const routersIn = (sim: SimCloud, id: string) => [...sim.state.routers.values()].filter(({ name }) => name === id);

/** A port that somebody else has in a child. */
const foreign = (network_id: string) => ({
  id: 'foreign-port',
  network_id,
  project_id: 'somebody',
  mac_address: 'fa:16:3e:00:00:01',
  status: 'ACTIVE',
  device_id: 'something',
  device_owner: 'network:floatingip',
  security_groups: [],
});

describe('external networks', () => {
  it('are one network of the parent with a subnet for each child, which every tenant sees', async () => {
    const { id, subnets } = await external();
    expect(subnets).toHaveLength(2);
    const { body } = await call('admin', 'GET', `/subnets?network_id=${id}`);
    expect(body.subnets.map((subnet: { cidr: string }) => subnet.cidr).sort()).toEqual([
      '172.24.1.0/24',
      '172.24.2.0/24',
    ]);
  });

  it('are read again without a second network, and come back when they were deleted here', async () => {
    const feed = externalNetworkFeed(db, cascade);
    const before = await external();
    await feed.round(cascade.context('east'), undefined);
    expect(await external()).toEqual(before);
    const gone = await subnetIn('west');
    await sql`delete from subnets where id = ${gone}`.execute(db.query);
    await sql`update networks set subnets = array_remove(subnets, ${gone}) where id = ${before.id}`.execute(db.query);
    await feed.round(cascade.context('west'), undefined);
    const { id, subnets } = await external();
    expect([id, subnets.length]).toEqual([before.id, 2]);
    expect(subnets).toContain(await subnetIn('west'));
  });

  it('have no address to give that somebody uses in the child', async () => {
    const subnet = [...east.state.subnets.values()].find(({ cidr }) => cidr === '172.24.1.0/24');
    if (subnet === undefined) throw new Error('the simulated cloud has no external subnet');
    const fixed_ips = [{ subnet_id: subnet.id, ip_address: '172.24.1.99' }];
    east.state.ports.set('foreign-port', { ...foreign(subnet.network_id), fixed_ips });
    const owner = async () =>
      (
        await sql<{ port_id: string }>`select port_id from ip_allocations where ip_address = '172.24.1.99'`.execute(
          db.query,
        )
      ).rows;
    await externalNetworkFeed(db, cascade).round(cascade.context('east'), undefined);
    expect(await owner()).toEqual([{ port_id: 'child:east' }]);
    const wanted = { floating_network_id: (await external()).id, floating_ip_address: '172.24.1.99' };
    const refused = await call('admin', 'POST', '/floatingips', { floatingip: wanted });
    expect([refused.status, type(refused)]).toEqual([409, 'IpAddressAlreadyAllocated']);
    east.state.ports.delete('foreign-port');
    await externalNetworkFeed(db, cascade).round(cascade.context('east'), undefined);
    expect(await owner()).toEqual([]);
  });
});

describe('routers', () => {
  it('show as Neutron shows them, and only to their project', async () => {
    const { id: network_id } = await external();
    const id = await newRouter({ external_gateway_info: { network_id } });
    const { body } = await call('alice', 'GET', `/routers/${id}`);
    expect(body.router).toMatchObject({
      name: 'r',
      project_id: 'p1',
      tenant_id: 'p1',
      status: 'ACTIVE',
      admin_state_up: true,
      routes: [],
      availability_zones: [],
      external_gateway_info: { network_id, enable_snat: true },
    });
    expect(body.router.external_gateway_info.external_fixed_ips).toHaveLength(2);
    for (const hidden of ['distributed', 'ha', 'gw_port_id', 'gateway_network_id', 'zones']) {
      expect(body.router).not.toHaveProperty(hidden);
    }
    const foreign = await call('bob', 'GET', `/routers/${id}`);
    expect([foreign.status, type(foreign)]).toEqual([404, 'RouterNotFound']);
    expect((await call('bob', 'GET', '/routers')).body.routers).toEqual([]);
    expect((await call('rita', 'DELETE', `/routers/${id}`)).status).toBe(403);
    expect((await call('alice', 'DELETE', `/routers/${id}`)).status).toBe(204);
    const left = await sql`select 1 from ports where device_id = ${id}`.execute(db.query);
    expect(left.rows).toEqual([]);
  });

  it('refuse gateways as Neutron does', async () => {
    const { id: network_id } = await external();
    const { network_id: tenant } = await tenantSubnet('10.1.0.0/24');
    const id = await newRouter();
    const set = (external_gateway_info: unknown) =>
      call('alice', 'PUT', `/routers/${id}`, { router: { external_gateway_info } });
    expect(type(await set({ network_id: UNKNOWN }))).toBe('NetworkNotFound');
    expect((await set({ network_id: tenant })).body.NeutronError.message).toBe(
      `Bad router request: Network ${tenant} is not an external network.`,
    );
    expect((await set({ enable_snat: true })).status).toBe(400);
    expect((await set({ network_id, enable_snat: false })).status).toBe(403);
    expect((await set({ network_id, external_fixed_ips: [{ ip_address: '172.24.1.9' }] })).status).toBe(403);
    const chosen = await call('admin', 'PUT', `/routers/${id}`, {
      router: { external_gateway_info: { network_id, external_fixed_ips: [{ ip_address: '172.24.1.9' }] } },
    });
    const addresses = chosen.body.router.external_gateway_info.external_fixed_ips;
    expect(addresses).toContainEqual({ subnet_id: await subnetIn('east'), ip_address: '172.24.1.9' });
    expect(addresses).toHaveLength(2);
    expect((await set({})).body.router.external_gateway_info).toBeNull();
    await call('alice', 'DELETE', `/routers/${id}`);
  });

  it('take interfaces, and refuse them, in the words of Neutron', async () => {
    const { network_id, subnet_id } = await tenantSubnet('10.2.0.0/24');
    const overlapping = await tenantSubnet('10.2.0.0/16');
    const gatewayless = await tenantSubnet('10.3.0.0/24', null);
    const id = await newRouter();
    const add = (body: unknown, who = 'alice') => call(who, 'PUT', `/routers/${id}/add_router_interface`, body);
    const message = async (body: unknown) => (await add(body)).body.NeutronError.message as string;
    expect(await message({})).toBe('Bad router request: Either subnet_id or port_id must be specified.');
    expect(await message({ subnet_id, port_id: UNKNOWN })).toBe(
      'Bad router request: Cannot specify both subnet-id and port-id.',
    );
    expect(await message({ subnet_id: 'nope' })).toBe("Bad router request: 'nope' is not a valid UUID.");
    expect(await message({ subnet_id: gatewayless.subnet_id })).toContain('must have a gateway IP');
    expect(type(await add({ subnet_id: UNKNOWN }))).toBe('SubnetNotFound');
    expect(type(await add({ port_id: UNKNOWN }))).toBe('PortNotFound');
    expect(type(await add({ subnet_id }, 'bob'))).toBe('RouterNotFound');
    const added = await add({ subnet_id });
    expect(added.status).toBe(200);
    expect(added.body).toEqual({
      id,
      tenant_id: 'p1',
      port_id: expect.any(String),
      network_id,
      subnet_id,
      subnet_ids: [subnet_id],
    });
    expect(await message({ subnet_id })).toBe(`Bad router request: Router already has a port on subnet ${subnet_id}.`);
    expect(await message({ subnet_id: overlapping.subnet_id })).toBe(
      `Bad router request: Cidr 10.2.0.0/16 of subnet ${overlapping.subnet_id} overlaps with cidr 10.2.0.0/24 of subnet ${subnet_id}.`,
    );
    const inUse = await call('alice', 'DELETE', `/routers/${id}`);
    expect([inUse.status, type(inUse)]).toEqual([409, 'RouterInUse']);
    const direct = await call('alice', 'DELETE', `/ports/${added.body.port_id}`);
    expect([direct.status, type(direct)]).toEqual([409, 'ServicePortInUse']);

    const routes = (list: unknown) => call('alice', 'PUT', `/routers/${id}`, { router: { routes: list } });
    const far = { destination: '192.168.0.0/24', nexthop: '10.99.0.9' };
    const near = { ...far, nexthop: '10.2.0.9' };
    expect((await routes([far])).body.NeutronError.message).toBe(
      "Invalid format for routes: [{'destination': '192.168.0.0/24', 'nexthop': '10.99.0.9'}], the nexthop is not connected with router",
    );
    expect((await routes([near, near])).status).toBe(400);
    expect((await routes([{ destination: 'bad', nexthop: 'x' }])).body.NeutronError.message).toBe(
      "Invalid input for routes. Reason: 'bad' is not a valid CIDR.",
    );
    expect((await routes([near])).body.router.routes).toEqual([near]);
    const more = { destination: '192.168.1.0/24', nexthop: '10.2.0.9' };
    const change = (how: string) =>
      call('alice', 'PUT', `/routers/${id}/${how}_extraroutes`, { router: { routes: [more] } });
    expect((await change('add')).body.router.routes).toEqual([near, more]);
    const remove = (body: unknown) => call('alice', 'PUT', `/routers/${id}/remove_router_interface`, body);
    expect(type(await remove({ subnet_id }))).toBe('RouterInterfaceInUseByRoute');
    expect((await change('remove')).body.router.routes).toEqual([near]);
    await routes([]);
    expect(type(await remove({ subnet_id: gatewayless.subnet_id }))).toBe('RouterInterfaceNotFoundForSubnet');
    expect(type(await remove({ port_id: UNKNOWN }))).toBe('RouterInterfaceNotFound');
    const removed = await remove({ subnet_id });
    expect(removed.body).toEqual(added.body);
    expect((await call('alice', 'DELETE', `/routers/${id}`)).status).toBe(204);
  });

  it('are copied into the children that their networks live in, with what can be reached there', async () => {
    const { id: network_id } = await external();
    const [first, second] = [await tenantSubnet('10.4.0.0/24'), await tenantSubnet('10.5.0.0/24')];
    const id = await newRouter({ external_gateway_info: { network_id } });
    for (const { subnet_id } of [first, second]) {
      await call('alice', 'PUT', `/routers/${id}/add_router_interface`, { subnet_id });
    }
    const route = { destination: '192.168.7.0/24', nexthop: '10.4.0.7' };
    await call('alice', 'PUT', `/routers/${id}`, { router: { routes: [route] } });
    expect(routersIn(east, id)).toEqual([]);
    await bind(first.network_id, 'east');
    cascade.poke();
    const { body } = await call('alice', 'GET', `/routers/${id}`);
    const addressIn = async (name: string) => {
      const subnet = await subnetIn(name);
      const fixedIps: { subnet_id: string; ip_address: string }[] =
        body.router.external_gateway_info.external_fixed_ips;
      return fixedIps.find(({ subnet_id }) => subnet_id === subnet)?.ip_address;
    };
    const copy = async (sim: SimCloud, name: string, gateways: string[], routes: unknown[]) => {
      const [found, ...others] = routersIn(sim, id);
      expect(others).toEqual([]);
      expect(found).toMatchObject({ description: 'Headwater: r', routes });
      expect(found?.external_gateway_info).toMatchObject({
        external_fixed_ips: [{ ip_address: await addressIn(name) }],
      });
      const ports = [...sim.state.ports.values()].filter((port) => port.device_id === found?.id);
      const interfaces = ports.filter(({ device_owner }) => device_owner === 'network:router_interface');
      expect(interfaces.flatMap(({ fixed_ips }) => fixed_ips.map(({ ip_address }) => ip_address))).toEqual(gateways);
    };
    await eventually(() => copy(east, 'east', ['10.4.0.1'], [route]));
    expect(routersIn(west, id)).toEqual([]);
    await bind(second.network_id, 'west');
    cascade.poke();
    await eventually(() => copy(west, 'west', ['10.5.0.1'], []));

    await call('alice', 'PUT', `/routers/${id}`, { router: { routes: [], admin_state_up: false } });
    await call('alice', 'PUT', `/routers/${id}/remove_router_interface`, { subnet_id: first.subnet_id });
    await eventually(() =>
      expect(routersIn(east, id)[0]).toMatchObject({ external_gateway_info: null, admin_state_up: false, routes: [] }),
    );
    await call('alice', 'PUT', `/routers/${id}/remove_router_interface`, { subnet_id: second.subnet_id });
    expect((await call('alice', 'DELETE', `/routers/${id}`)).status).toBe(204);
    await eventually(() => {
      expect(routersIn(east, id)).toEqual([]);
      expect(routersIn(west, id)).toEqual([]);
    });
  });
});

describe('floating IPs', () => {
  const floating = (more: object, who = 'alice') => call(who, 'POST', '/floatingips', { floatingip: more });
  const inChild = (sim: SimCloud, id: string) =>
    [...sim.state.floatingips.values()].filter(({ description }) => description === `headwater:${id}`);

  async function connected(cidr: string) {
    const { id: network_id } = await external();
    const tenant = await tenantSubnet(cidr);
    const router_id = await newRouter({ external_gateway_info: { network_id } });
    await call('alice', 'PUT', `/routers/${router_id}/add_router_interface`, { subnet_id: tenant.subnet_id });
    const port = { network_id: tenant.network_id, device_id: 'server-1', device_owner: 'compute:east' };
    const { body } = await call('alice', 'POST', '/ports', { port });
    return {
      ...tenant,
      router_id,
      port_id: body.port.id as string,
      address: body.port.fixed_ips[0].ip_address as string,
    };
  }

  it('refuse what Neutron refuses', async () => {
    const { id: floating_network_id } = await external();
    const { network_id, subnet_id } = await tenantSubnet('10.6.0.0/24');
    expect((await floating({})).body.NeutronError.message).toContain("'floating_network_id' not specified");
    expect((await floating({ floating_network_id: 'nope' })).status).toBe(400);
    expect(type(await floating({ floating_network_id: UNKNOWN }))).toBe('NetworkNotFound');
    expect((await floating({ floating_network_id: network_id })).body.NeutronError.message).toBe(
      `Bad floatingip request: Network ${network_id} is not a valid external network.`,
    );
    expect(type(await floating({ floating_network_id, subnet_id }))).toBe('InvalidInput');
    expect((await floating({ floating_network_id, floating_ip_address: '172.24.1.50' })).status).toBe(403);
    expect(type(await floating({ floating_network_id, floating_ip_address: '9.9.9.9' }, 'admin'))).toBe(
      'InvalidIpForNetwork',
    );
    expect(type(await floating({ floating_network_id, port_id: UNKNOWN }))).toBe('PortNotFound');
    const { body } = await call('alice', 'POST', '/ports', { port: { network_id } });
    expect(type(await floating({ floating_network_id, port_id: body.port.id }))).toBe(
      'ExternalGatewayForFloatingIPNotFound',
    );
    expect(type(await call('alice', 'GET', '/floatingips/nope'))).toBe('FloatingIPNotFound');
  });

  it('live in the child that is asked for, and leave it when they are deleted', async () => {
    const { id: floating_network_id } = await external();
    const made = await floating({ floating_network_id, subnet_id: await subnetIn('west'), description: 'mine' });
    expect(made.status).toBe(201);
    const fip = made.body.floatingip;
    expect(fip).toMatchObject({
      status: 'DOWN',
      port_id: null,
      router_id: null,
      description: 'mine',
      project_id: 'p1',
    });
    expect(fip).not.toHaveProperty('child');
    expect(fip).not.toHaveProperty('subnet_id');
    expect(fip.floating_ip_address).toMatch(/^172\.24\.2\./);
    await eventually(() =>
      expect(inChild(west, fip.id)).toMatchObject([{ floating_ip_address: fip.floating_ip_address }]),
    );
    expect((await call('bob', 'GET', `/floatingips/${fip.id}`)).status).toBe(404);
    expect((await call('alice', 'DELETE', `/floatingips/${fip.id}`)).status).toBe(204);
    expect((await call('alice', 'GET', `/floatingips/${fip.id}`)).status).toBe(404);
    await eventually(async () => {
      expect(inChild(west, fip.id)).toEqual([]);
      const held = await sql`select 1 from ip_allocations where ip_address = ${fip.floating_ip_address}::inet`.execute(
        db.query,
      );
      expect(held.rows).toEqual([]);
    });
  });

  it('are tied to a port, become ACTIVE as the child says, and tell the server', async () => {
    const { id: floating_network_id } = await external();
    const { network_id, subnet_id, router_id, port_id, address } = await connected('10.7.0.0/24');
    const stranger = await floating({ floating_network_id, subnet_id: await subnetIn('west') });
    await bind(network_id, 'east');
    changedServers.length = 0;
    const made = await floating({ floating_network_id, port_id });
    expect(made.body.floatingip).toMatchObject({
      router_id,
      port_id,
      fixed_ip_address: address,
      status: 'DOWN',
      port_details: { device_id: 'server-1', network_id },
    });
    const id: string = made.body.floatingip.id;
    expect(made.body.floatingip.floating_ip_address).toMatch(/^172\.24\.1\./);
    expect(changedServers).toEqual(['server-1']);
    await eventually(async () =>
      expect((await call('alice', 'GET', `/floatingips/${id}`)).body.floatingip.status).toBe('ACTIVE'),
    );
    expect(inChild(east, id)).toMatchObject([{ fixed_ip_address: address, status: 'ACTIVE' }]);

    expect(type(await floating({ floating_network_id, port_id }))).toBe('FloatingIPPortAlreadyAssociated');
    const other = await call('alice', 'PUT', `/floatingips/${stranger.body.floatingip.id}`, {
      floatingip: { port_id },
    });
    expect(other.status).toBe(409);
    const remove = await call('alice', 'PUT', `/routers/${router_id}/remove_router_interface`, { subnet_id });
    expect(type(remove)).toBe('RouterInterfaceInUseByFloatingIP');
    const clear = await call('alice', 'PUT', `/routers/${router_id}`, { router: { external_gateway_info: null } });
    expect(type(clear)).toBe('RouterExternalGatewayInUseByFloatingIp');

    const free = await call('alice', 'PUT', `/floatingips/${id}`, { floatingip: { port_id: null } });
    expect(free.body.floatingip).toMatchObject({
      port_id: null,
      router_id: null,
      fixed_ip_address: null,
      status: 'DOWN',
    });
    await eventually(() => expect(inChild(east, id)).toMatchObject([{ port_id: null }]));
    const moved = await call('alice', 'PUT', `/floatingips/${stranger.body.floatingip.id}`, {
      floatingip: { port_id },
    });
    expect([moved.status, type(moved)]).toEqual([409, 'FloatingIPInOtherAvailabilityZone']);
    expect(moved.body.NeutronError.message).toContain(await subnetIn('east'));

    await call('alice', 'PUT', `/floatingips/${id}`, { floatingip: { port_id } });
    expect((await call('alice', 'DELETE', `/ports/${port_id}`)).status).toBe(204);
    expect((await call('alice', 'GET', `/floatingips/${id}`)).body.floatingip.port_id).toBeNull();
    for (const one of [id, stranger.body.floatingip.id]) await call('alice', 'DELETE', `/floatingips/${one}`);
    await call('alice', 'PUT', `/routers/${router_id}/remove_router_interface`, { subnet_id });
    expect((await call('alice', 'DELETE', `/routers/${router_id}`)).status).toBe(204);
    await eventually(() => {
      expect(routersIn(east, router_id)).toEqual([]);
      expect(inChild(east, id)).toEqual([]);
    });
  });

  it('bring a network that is nowhere yet to where they are', async () => {
    const { id: floating_network_id } = await external();
    const { network_id, port_id } = await connected('10.8.0.0/24');
    const made = await floating({ floating_network_id, subnet_id: await subnetIn('west'), port_id });
    expect(made.status).toBe(201);
    const { rows } = await sql`select child from networks where id = ${network_id}`.execute(db.query);
    expect(rows).toEqual([{ child: 'west' }]);
    await eventually(async () =>
      expect((await call('alice', 'GET', `/floatingips/${made.body.floatingip.id}`)).body.floatingip.status).toBe(
        'ACTIVE',
      ),
    );
    expect((await call('alice', 'DELETE', `/floatingips/${made.body.floatingip.id}`)).status).toBe(204);
    expect(floatingSeen.slice(-2)).toEqual([1, 0]);
  });

  it('show ERROR where the child has given the address to somebody else', async () => {
    const { id: floating_network_id } = await external();
    const seed = [...east.state.networks.values()].find((one) => one['router:external'] === true);
    const subnet = [...east.state.subnets.values()].find((one) => one.network_id === seed?.id);
    if (subnet === undefined) throw new Error('the simulated cloud has no external subnet');
    const id = 'foreign-port';
    east.state.ports.set(id, {
      ...foreign(subnet.network_id),
      fixed_ips: [{ subnet_id: subnet.id, ip_address: '172.24.1.77' }],
    });
    const wanted = { floating_network_id, floating_ip_address: '172.24.1.77' };
    const made = await floating(wanted, 'admin');
    expect(made.body.floatingip.floating_ip_address).toBe('172.24.1.77');
    await eventually(async () => {
      const { body } = await call('admin', 'GET', `/floatingips/${made.body.floatingip.id}`);
      expect(body.floatingip).toMatchObject({ status: 'ERROR', floating_ip_address: '172.24.1.77' });
    });
    await call('admin', 'DELETE', `/floatingips/${made.body.floatingip.id}`);
    east.state.ports.delete(id);
  });

  it('count against the quota', async () => {
    await call('admin', 'PUT', '/quotas/p2', { quota: { floatingip: 0 } });
    const { id: floating_network_id } = await external();
    const refused = await floating({ floating_network_id }, 'bob');
    expect([refused.status, type(refused)]).toEqual([409, 'OverQuota']);
    expect((await call('bob', 'GET', '/floatingips')).body.floatingips).toEqual([]);
  });
});
