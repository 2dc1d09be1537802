import { describe, expect, it } from 'vitest';
import type { SimCloud } from '../../sim/cloud.ts';
import {
  bind,
  call,
  east,
  eventually,
  external,
  newRouter,
  subnetIn,
  tenantSubnet,
  type,
  west,
} from '../edge-testing.ts';

interface Site {
  readonly network_id: string;
  readonly subnet_id: string;
  readonly router_id: string;
  readonly port_id: string;
  readonly address: string;
  readonly floating_id: string;
}

const portOn = async (network_id: string) =>
  (await call('alice', 'POST', '/ports', { port: { network_id } })).body.port;
const newFloating = async (more: object = {}) => {
  const { id: floating_network_id } = await external();
  const { status, body } = await call('alice', 'POST', '/floatingips', {
    floatingip: { floating_network_id, ...more },
  });
  expect(status, JSON.stringify(body)).toBe(201);
  return body.floatingip;
};

/** A network in `east` behind a router with a gateway, a port on it, and a floating IP that is tied to nothing. */
async function site(cidr: string): Promise<Site> {
  const { id: network_id } = await external();
  const tenant = await tenantSubnet(cidr);
  const router_id = await newRouter({ external_gateway_info: { network_id } });
  await call('alice', 'PUT', `/routers/${router_id}/add_router_interface`, { subnet_id: tenant.subnet_id });
  await bind(tenant.network_id, 'east');
  const port = await portOn(tenant.network_id);
  const floating = await newFloating({ subnet_id: await subnetIn('east') });
  return {
    ...tenant,
    router_id,
    port_id: port.id,
    address: port.fixed_ips[0].ip_address,
    floating_id: floating.id,
  };
}

const forward = ({ floating_id, port_id, address }: Site, more: object, who = 'alice') =>
  call(who, 'POST', `/floatingips/${floating_id}/port_forwardings`, {
    port_forwarding: { internal_port_id: port_id, internal_ip_address: address, protocol: 'tcp', ...more },
  });
const ranges = (sim: SimCloud, id: string): string[] => {
  const found = [...sim.state.floatingips.values()].find(({ description }) => description === `headwater:${id}`);
  const there = (found?.port_forwardings ?? []) as Record<string, string>[];
  return there.map((one) => `${one.protocol} ${one.external_port_range} ${one.internal_port_range}`).sort();
};

describe('port forwardings', () => {
  it('are made, shown in the floating IP, listed, changed and taken away, here and in the child', async () => {
    const here = await site('10.21.0.0/24');
    const path = `/floatingips/${here.floating_id}/port_forwardings`;
    const made = await forward(here, { external_port: 80, internal_port: '8080', description: 'web' });
    expect(made.status).toBe(201);
    const one = made.body.port_forwarding;
    expect(one).toEqual({
      id: one.id,
      external_port: 80,
      external_port_range: '80:80',
      internal_port: 8080,
      internal_port_range: '8080:8080',
      internal_port_id: here.port_id,
      internal_ip_address: here.address,
      protocol: 'tcp',
      description: 'web',
    });
    const several = await forward(here, {
      external_port_range: '90:95',
      internal_port_range: '190:195',
      protocol: 'udp',
    });
    expect(several.body.port_forwarding).toMatchObject({ external_port: null, internal_port: null });
    const shown = (await call('alice', 'GET', `/floatingips/${here.floating_id}`)).body.floatingip;
    expect(shown).toMatchObject({ router_id: here.router_id, port_id: null });
    expect(shown.port_forwardings).toHaveLength(2);
    expect(shown.port_forwardings).toContainEqual({
      id: one.id,
      protocol: 'tcp',
      internal_ip_address: here.address,
      internal_port_id: here.port_id,
      internal_port: 8080,
      external_port: 80,
    });
    await eventually(() =>
      expect(ranges(east, here.floating_id)).toEqual(['tcp 80:80 8080:8080', 'udp 90:95 190:195']),
    );
    await eventually(async () =>
      expect((await call('alice', 'GET', `/floatingips/${here.floating_id}`)).body.floatingip.status).toBe('ACTIVE'),
    );

    const listed = async (query: string) => (await call('alice', 'GET', `${path}?${query}`)).body.port_forwardings;
    expect(await listed('external_port=80')).toEqual([one]);
    expect(await listed('protocol=udp&fields=external_port_range')).toEqual([{ external_port_range: '90:95' }]);
    const sorted = await listed('sort_key=external_port&sort_dir=desc');
    expect(sorted.map((each: { protocol: string }) => each.protocol)).toEqual(['udp', 'tcp']);
    expect((await call('alice', 'GET', `${path}?internal_port=8080`)).status).toBe(400);
    expect((await call('alice', 'GET', `${path}?limit=1`)).body.port_forwardings_links[0].href).toContain(path);

    const changed = await call('alice', 'PUT', `${path}/${one.id}`, { port_forwarding: { external_port: 81 } });
    expect(changed.body.port_forwarding).toMatchObject({ external_port: 81, internal_port: 8080, description: 'web' });
    await eventually(() =>
      expect(ranges(east, here.floating_id)).toEqual(['tcp 81:81 8080:8080', 'udp 90:95 190:195']),
    );
    for (const { id } of sorted) expect((await call('alice', 'DELETE', `${path}/${id}`)).status).toBe(204);
    expect(type(await call('alice', 'GET', `${path}/${one.id}`))).toBe('PortForwardingNotFound');
    const free = (await call('alice', 'GET', `/floatingips/${here.floating_id}`)).body.floatingip;
    expect(free).toMatchObject({ router_id: null, port_forwardings: [], status: 'DOWN' });
    await eventually(() => expect(ranges(east, here.floating_id)).toEqual([]));
    expect((await call('alice', 'DELETE', `/floatingips/${here.floating_id}`)).status).toBe(204);
  });

  it('refuse what Neutron refuses', async () => {
    const here = await site('10.22.0.0/24');
    const refused = async (more: object) => (await forward(here, more)).body.NeutronError;
    await forward(here, { external_port: 80, internal_port: 80 });
    expect((await refused({ external_port: 80, internal_port: 81 })).message).toBe(
      'Bad port_forwarding request: There is a port collision with the external_port_range. The following ranges collides: 80:80 and 80:80.',
    );
    expect((await refused({ external_port: 81, internal_port: 80 })).message).toContain('internal_port_range');
    expect((await refused({ external_port: 0, internal_port: 81 })).message).toContain("'0' is too small");
    expect((await refused({ external_port: 'x', internal_port: 81 })).message).toContain("'x' is not an integer");
    expect((await refused({ external_port_range: 'a:b', internal_port: 81 })).message).toContain('Invalid port: a');
    expect((await refused({ external_port_range: '9:8', internal_port: 81 })).message).toContain('must be lower');
    expect((await refused({ external_port_range: '200:205', internal_port_range: '200:202' })).message).toContain(
      'N-N',
    );
    expect((await refused({ external_port: 82 })).type).toBe('BadRequest');
    expect((await refused({ external_port: 82, internal_port: 82, protocol: 'gre' })).type).toBe('InvalidInput');
    const away = { external_port: 82, internal_port: 82, internal_ip_address: '9.9.9.9' };
    expect((await refused(away)).message).toContain('is not suitable for internal neutron port');
    const path = `/floatingips/${here.floating_id}`;
    const tie = await call('alice', 'PUT', path, { floatingip: { port_id: here.port_id } });
    expect([tie.status, type(tie)]).toEqual([409, 'FipInUseByPortForwarding']);
    expect(type(await call('alice', 'DELETE', path))).toBe('FipInUseByPortForwarding');
    const { router_id, subnet_id } = here;
    const leave = await call('alice', 'PUT', `/routers/${router_id}/remove_router_interface`, { subnet_id });
    expect(type(leave)).toBe('RouterInterfaceInUseByFloatingIP');
    expect((await forward(here, { external_port: 83, internal_port: 83 }, 'bob')).status).toBe(404);
    expect((await forward(here, { external_port: 83, internal_port: 83 }, 'rita')).status).toBe(403);

    const tied = await newFloating({ port_id: here.port_id });
    expect((await refused({ external_port: 84, internal_port: 84 })).type).toBe('PortHasBindingFloatingIP');
    const other = await portOn(here.network_id);
    const onTied = { ...here, floating_id: tied.id, port_id: other.id, address: other.fixed_ips[0].ip_address };
    expect(type(await forward(onTied, { external_port: 84, internal_port: 84 }))).toBe(
      'FloatingIPPortAlreadyAssociated',
    );
    const far = { ...here, floating_id: (await newFloating({ subnet_id: await subnetIn('west') })).id };
    const elsewhere = await forward(
      { ...far, port_id: other.id, address: onTied.address },
      { external_port: 84, internal_port: 84 },
    );
    expect(type(elsewhere)).toBe('FloatingIPInOtherAvailabilityZone');
    expect(ranges(west, far.floating_id)).toEqual([]);
  });

  it('go with their port and with its address, and take no port twice at once', async () => {
    const here = await site('10.23.0.0/24');
    const both = await Promise.all([1, 2].map(() => forward(here, { external_port: 80, internal_port: 80 })));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 400]);
    const port = await portOn(here.network_id);
    const there = { ...here, port_id: port.id, address: port.fixed_ips[0].ip_address };
    await forward(there, { external_port: 81, internal_port: 81 });
    const shown = async () =>
      (await call('alice', 'GET', `/floatingips/${here.floating_id}`)).body.floatingip.port_forwardings.length;
    expect(await shown()).toBe(2);
    await eventually(() => expect(ranges(east, here.floating_id)).toHaveLength(2));
    const fixed_ips = [{ subnet_id: here.subnet_id, ip_address: '10.23.0.77' }];
    const moved = await call('admin', 'PUT', `/ports/${port.id}`, { port: { fixed_ips } });
    expect(moved.status).toBe(200);
    expect(await shown()).toBe(1);
    expect((await call('alice', 'DELETE', `/ports/${here.port_id}`)).status).toBe(204);
    expect(await shown()).toBe(0);
    await eventually(() => expect(ranges(east, here.floating_id)).toEqual([]));
  });
});
