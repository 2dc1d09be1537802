import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import type { SimCloud } from '../sim/cloud.ts';
import {
  UNKNOWN,
  bind,
  call,
  cascade,
  db,
  east,
  eventually,
  external,
  foreign,
  newRouter,
  routersIn,
  subnetIn,
  tenantSubnet,
  type,
  west,
} from './edge-testing.ts';
import { externalNetworkFeed } from './external-network-feed.ts';

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
    expect((await routes(null)).body.router.routes).toEqual([]);
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
      expect(found).toMatchObject({ description: 'Headwater: r' });
      expect(found?.routes).toEqual(routes);
      expect(found?.external_gateway_info).toMatchObject({
        external_fixed_ips: [{ ip_address: await addressIn(name) }],
      });
      const ports = [...sim.state.ports.values()].filter((port) => port.device_id === found?.id);
      const interfaces = ports.filter(({ device_owner }) => device_owner === 'network:router_interface');
      const addresses = interfaces.flatMap(({ fixed_ips }) => fixed_ips.map(({ ip_address }) => ip_address));
      expect(addresses.filter((address) => !address.startsWith('100.64.'))).toEqual(gateways);
    };
    await eventually(() => copy(east, 'east', ['10.4.0.1'], [route]));
    expect(routersIn(west, id)).toEqual([]);
    await bind(second.network_id, 'west');
    cascade.poke();
    const by = (...destinations: string[]) =>
      destinations.map((destination) => ({ destination, nexthop: expect.stringMatching(/^100\.64\./) as string }));
    await eventually(() => copy(west, 'west', ['10.5.0.1'], by('10.4.0.0/24', '192.168.7.0/24')));
    await eventually(() => copy(east, 'east', ['10.4.0.1'], [route, ...by('10.5.0.0/24')]));

    await call('alice', 'PUT', `/routers/${id}`, { router: { routes: [], admin_state_up: false } });
    await call('alice', 'PUT', `/routers/${id}/remove_router_interface`, { subnet_id: first.subnet_id });
    await eventually(() => {
      expect(routersIn(east, id)).toEqual([]);
      expect(routersIn(west, id)[0]).toMatchObject({ admin_state_up: false, routes: [] });
    });
    await call('alice', 'PUT', `/routers/${id}/remove_router_interface`, { subnet_id: second.subnet_id });
    expect((await call('alice', 'DELETE', `/routers/${id}`)).status).toBe(204);
    await eventually(() => {
      expect(routersIn(east, id)).toEqual([]);
      expect(routersIn(west, id)).toEqual([]);
    });
  });
});
