import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import type { SimCloud } from '../sim/cloud.ts';
import {
  UNKNOWN,
  bind,
  call,
  changedServers,
  db,
  east,
  eventually,
  external,
  floatingSeen,
  foreign,
  newRouter,
  routersIn,
  subnetIn,
  tenantSubnet,
  type,
  west,
} from './edge-testing.ts';

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
    const others = await call('admin', 'POST', '/ports', { port: { network_id, project_id: 'p2' } });
    expect((await floating({ floating_network_id, port_id: others.body.port.id })).body.NeutronError.message).toContain(
      'owned by a different tenant',
    );
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

    const free = await call('alice', 'PUT', `/floatingips/${id}`, { floatingip: {} });
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
