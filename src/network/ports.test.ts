import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { networksWithSubnet, networkTest } from './testing.ts';

const { call, make, db } = await networkTest(['east', 'west']);
const plain = networksWithSubnet(make);
const typeOf = (answer: { body: { NeutronError: { type: string } } }): string => answer.body.NeutronError.type;

describe('ports', () => {
  it('get an address, a MAC and the default group', async () => {
    const { network, subnet } = await plain();
    const port = await make('alice', 'port', { network_id: network.id, name: 'p' });
    expect(port).toMatchObject({ status: 'DOWN', device_id: '', port_security_enabled: true, admin_state_up: true });
    expect(port.mac_address).toMatch(/^fa:16:3e:/);
    expect(port.fixed_ips).toEqual([{ subnet_id: subnet.id, ip_address: expect.stringMatching(/^10\./) }]);
    const groups = await call('alice', 'GET', '/security-groups?name=default');
    expect(port.security_groups).toEqual([groups.body.security_groups[0].id]);
    expect(port).not.toHaveProperty('binding:host_id');
    const [{ ip_address }] = port.fixed_ips;
    const found = await call(
      'alice',
      'GET',
      `/ports?fixed_ips=ip_address%3D${ip_address}&fixed_ips=subnet_id%3D${subnet.id}`,
    );
    expect(found.body.ports.map(({ id }: { id: string }) => id)).toEqual([port.id]);
    expect((await call('bob', 'GET', `/ports/${port.id}`)).status).toBe(404);
    expect((await call('bob', 'GET', '/ports')).body.ports).not.toContainEqual(
      expect.objectContaining({ id: port.id }),
    );
  });

  it('take the address and the MAC asked for, once', async () => {
    const { network, subnet } = await plain('alice', { cidr: '10.210.0.0/24' });
    const wish = {
      network_id: network.id,
      mac_address: 'FA-16-3E-00-00-01',
      fixed_ips: [{ ip_address: '10.210.0.77' }],
    };
    const port = await make('alice', 'port', wish);
    expect(port).toMatchObject({
      mac_address: 'fa:16:3e:00:00:01',
      fixed_ips: [{ ip_address: '10.210.0.77', subnet_id: subnet.id }],
    });
    const refuse = async (values: Record<string, unknown>, type: string) =>
      expect(typeOf(await call('alice', 'POST', '/ports', { port: { network_id: network.id, ...values } }))).toBe(type);
    await refuse({ fixed_ips: [{ ip_address: '10.210.0.77' }] }, 'IpAddressAlreadyAllocated');
    await refuse({ mac_address: 'fa:16:3e:00:00:01' }, 'MacAddressInUse');
    await refuse({ mac_address: 'foo' }, 'HTTPBadRequest');
    await refuse({ fixed_ips: [{ ip_address: '10.99.0.1' }] }, 'InvalidIpForNetwork');
    await refuse({ fixed_ips: [{ ip_address: '10.210.0.0', subnet_id: subnet.id }] }, 'InvalidIpForSubnet');
    await refuse({ fixed_ips: [{ subnet_id: randomUUID() }] }, 'SubnetNotFound');
    await refuse({ security_groups: [randomUUID()] }, 'SecurityGroupNotFound');
    await refuse(
      { port_security_enabled: false, allowed_address_pairs: [{ ip_address: '10.0.0.1' }] },
      'AddressPairAndPortSecurityRequired',
    );
  });

  it('keep the addresses that an update names, and give the others back', async () => {
    const { network, subnet } = await plain('alice', { cidr: '10.211.0.0/24' });
    const port = await make('alice', 'port', { network_id: network.id, fixed_ips: [{ ip_address: '10.211.0.5' }] });
    const update = (values: unknown) => call('alice', 'PUT', `/ports/${port.id}`, { port: values });
    const two = await update({ fixed_ips: [{ ip_address: '10.211.0.5' }, { ip_address: '10.211.0.6' }] });
    expect(two.body.port.fixed_ips).toHaveLength(2);
    const other = await update({ fixed_ips: [{ ip_address: '10.211.0.6' }] });
    expect(other.body.port.fixed_ips).toEqual([{ ip_address: '10.211.0.6', subnet_id: subnet.id }]);
    await make('alice', 'port', { network_id: network.id, fixed_ips: [{ ip_address: '10.211.0.5' }] });
    expect(typeOf(await update({ fixed_ips: [{ ip_address: '10.211.0.5' }] }))).toBe('IpAddressAlreadyAllocated');
    expect((await update({ mac_address: 'fa:16:3e:00:00:09' })).status).toBe(403);
    expect(typeOf(await update({ port_security_enabled: false }))).toBe('PortSecurityPortHasSecurityGroup');
    expect((await update({ port_security_enabled: false, security_groups: [] })).status).toBe(200);
    const options = await update({ extra_dhcp_opts: [{ opt_name: 'mtu', opt_value: '1400' }] });
    expect(options.body.port.extra_dhcp_opts).toEqual([{ opt_name: 'mtu', opt_value: '1400', ip_version: 4 }]);
    expect(
      (await update({ extra_dhcp_opts: [{ opt_name: 'mtu', opt_value: null }] })).body.port.extra_dhcp_opts,
    ).toEqual([]);
  });

  it('made a hundred at once never share an address', async () => {
    const { network, subnet } = await plain('alice', { cidr: '10.212.0.0/25' });
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => call('alice', 'POST', '/ports', { port: { network_id: network.id } })),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    const addresses = answers.map(({ body }) => body.port.fixed_ips[0].ip_address);
    expect(new Set(addresses).size).toBe(100);
    expect(new Set(answers.map(({ body }) => body.port.mac_address)).size).toBe(100);
    const stored = await sql<{
      n: number;
    }>`select count(*)::int as n from ip_allocations where subnet_id = ${subnet.id}`.execute(db.query);
    expect(stored.rows[0]?.n).toBe(100);
  }, 30_000);

  it('fill a pool to the last address, even all at once, and no further', async () => {
    const { network } = await plain('alice', { cidr: '10.213.0.0/28' });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => call('alice', 'POST', '/ports', { port: { network_id: network.id } })),
    );
    const made = answers.filter(({ status }) => status === 201);
    expect(made).toHaveLength(13);
    for (const refused of answers.filter(({ status }) => status !== 201)) {
      expect([refused.status, typeOf(refused)]).toEqual([409, 'IpAddressGenerationFailure']);
    }
    expect((await call('alice', 'DELETE', `/ports/${made[4]?.body.port.id}`)).status).toBe(204);
    const again = await make('alice', 'port', { network_id: network.id });
    expect(again.fixed_ips).toEqual(made[4]?.body.port.fixed_ips);
  }, 30_000);

  it('get the address that their MAC makes where addresses are automatic', async () => {
    const { network } = await plain('alice', {
      ip_version: 6,
      cidr: 'fd00:1::/64',
      ipv6_ra_mode: 'slaac',
      ipv6_address_mode: 'slaac',
    });
    const port = await make('alice', 'port', { network_id: network.id, mac_address: 'fa:16:3e:76:60:7d' });
    expect(port.fixed_ips[0].ip_address).toBe('fd00:1::f816:3eff:fe76:607d');
    const refused = await call('alice', 'POST', '/ports', {
      port: { network_id: network.id, fixed_ips: [{ ip_address: 'fd00:1::9' }] },
    });
    expect(typeOf(refused)).toBe('AllocationOnAutoAddressSubnet');
  });

  it('have an automatic address for as long as its subnet is there, whichever was first', async () => {
    const { network, subnet: plainSubnet } = await plain('alice', { cidr: '10.44.0.0/24', ip_version: 4 });
    const port = await make('alice', 'port', { network_id: network.id, mac_address: 'fa:16:3e:76:60:7d' });
    const auto = { ip_version: 6, cidr: 'fd00:2::/64', ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
    const subnet = await make('alice', 'subnet', { network_id: network.id, ...auto });
    const shown = async () => (await call('alice', 'GET', `/ports/${port.id}`)).body.port.fixed_ips;
    const automatic = { subnet_id: subnet.id, ip_address: 'fd00:2::f816:3eff:fe76:607d' };
    expect(await shown()).toEqual([...port.fixed_ips, automatic]);
    expect(typeOf(await call('alice', 'DELETE', `/subnets/${plainSubnet.id}`))).toBe('SubnetInUse');
    expect((await call('alice', 'DELETE', `/subnets/${subnet.id}`)).status).toBe(204);
    expect(await shown()).toEqual(port.fixed_ips);
    const routed = await make('alice', 'subnet', { network_id: network.id, ...auto });
    const router = await make('alice', 'router', {});
    await call('alice', 'PUT', `/routers/${router.id}/add_router_interface`, { subnet_id: routed.id });
    expect(typeOf(await call('alice', 'DELETE', `/subnets/${routed.id}`))).toBe('SubnetInUse');
    expect(await shown()).toEqual([...port.fixed_ips, { ...automatic, subnet_id: routed.id }]);
  });
});

it('ports go by the hand of their owner, or of the owner of their network', async () => {
  const network = await make('alice', 'network', { name: 'mine' });
  const port = await make('admin', 'port', { network_id: network.id, project_id: 'p2' });
  const change = await call('alice', 'PUT', `/ports/${port.id}`, { port: { name: 'x' } });
  expect(change.status).toBe(403);
  expect((await call('alice', 'DELETE', `/ports/${port.id}`)).status).toBe(204);
});
