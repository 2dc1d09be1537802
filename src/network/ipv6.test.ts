/** IPv6 in all of its address modes, as a real Neutron (Zed) answers to the same requests. */
import { describe, expect, it } from 'vitest';
import { networkTest } from './testing.ts';

const { call, make } = await networkTest();
const CIDR = 'fd00:1::/64';
const MODES = [undefined, 'slaac', 'dhcpv6-stateless', 'dhcpv6-stateful'] as const;
const newNetwork = async (): Promise<string> => (await make('alice', 'network', {})).id;
const create = async (values: object) =>
  call('alice', 'POST', '/subnets', {
    subnet: { network_id: await newNetwork(), ip_version: 6, cidr: CIDR, ...values },
  });
const message = (answer: Awaited<ReturnType<typeof call>>) => [answer.status, answer.body.NeutronError?.message];

describe('modes', () => {
  const pairs = MODES.flatMap((ra) => MODES.map((address) => [ra, address] as const));
  it.each(pairs)('ra %s, address %s', async (ipv6_ra_mode, ipv6_address_mode) => {
    const modes = {
      ...(ipv6_ra_mode === undefined ? {} : { ipv6_ra_mode }),
      ...(ipv6_address_mode === undefined ? {} : { ipv6_address_mode }),
    };
    const answer = await create(modes);
    if (ipv6_ra_mode !== undefined && ipv6_address_mode !== undefined && ipv6_ra_mode !== ipv6_address_mode) {
      expect(message(answer)).toEqual([
        400,
        `Invalid input for operation: ipv6_ra_mode set to '${ipv6_ra_mode}' with ipv6_address_mode set to '${ipv6_address_mode}' is not valid. If both attributes are set, they must be the same value.`,
      ]);
    } else {
      expect(answer.body.subnet).toMatchObject({
        gateway_ip: 'fd00:1::',
        allocation_pools: [{ start: 'fd00:1::1', end: 'fd00:1::ffff:ffff:ffff:ffff' }],
        ipv6_ra_mode: ipv6_ra_mode ?? null,
        ipv6_address_mode: ipv6_address_mode ?? null,
      });
    }
    if (Object.keys(modes).length === 0) return;
    expect(message(await create({ ...modes, enable_dhcp: false }))).toEqual([
      400,
      'Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.',
    ]);
  });

  it('give a port the address of its MAC, or one out of the pools', async () => {
    for (const mode of MODES) {
      const network_id = await newNetwork();
      const modes = mode === undefined ? {} : { ipv6_ra_mode: mode, ipv6_address_mode: mode };
      await make('alice', 'subnet', { network_id, ip_version: 6, cidr: CIDR, ...modes });
      await make('alice', 'subnet', { network_id, ip_version: 4, cidr: '10.1.0.0/24' });
      const port = await make('alice', 'port', { network_id, mac_address: 'fa:16:3e:01:02:03' });
      const six = port.fixed_ips.map(({ ip_address }: { ip_address: string }) => ip_address);
      expect(six).toHaveLength(2);
      const isAuto = mode === 'slaac' || mode === 'dhcpv6-stateless';
      expect(six.includes('fd00:1::f816:3eff:fe01:203')).toBe(isAuto);
    }
  });

  it('let a router have the first address, and nobody else', async () => {
    const network_id = await newNetwork();
    const subnet = await make('alice', 'subnet', { network_id, ip_version: 6, cidr: CIDR });
    const taken = { network_id, device_owner: 'compute:nova', fixed_ips: [{ ip_address: 'fd00:1::' }] };
    expect((await call('alice', 'POST', '/ports', { port: taken })).status).toBe(400);
    const router = await make('alice', 'router', {});
    const added = await call('alice', 'PUT', `/routers/${router.id}/add_router_interface`, { subnet_id: subnet.id });
    const port = (await call('alice', 'GET', `/ports/${added.body.port_id}`)).body.port;
    expect(port.fixed_ips).toEqual([{ subnet_id: subnet.id, ip_address: 'fd00:1::' }]);
  });
});

describe('subnets are refused in Neutron’s words', () => {
  const slaac = { ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
  const routes = Array.from({ length: 21 }, (_, at) => ({ destination: '1.0.0.0/8', nexthop: `10.0.0.${at}` }));
  it.each([
    [{ cidr: 'fd00:1::/127' }, 'InvalidInput'],
    [{ cidr: 'fd00:1::/80', ...slaac }, 'InvalidInput'],
    [{ dns_nameservers: ['10.0.0.1'] }, 'InvalidInput'],
    [{ host_routes: [{ destination: '10.0.0.0/8', nexthop: '10.0.0.1' }] }, 'InvalidInput'],
    [{ ip_version: 5 }, 'HTTPBadRequest'],
    [{ ip_version: 4 }, 'InvalidInput'],
    [{ ip_version: 4, cidr: '10.0.0.0/24', ipv6_ra_mode: 'slaac' }, 'InvalidInput'],
    [{ ip_version: 4, cidr: '10.0.0.0/24', service_types: ['foo'] }, 'InvalidSubnetServiceType'],
    [{ ip_version: 4, cidr: '10.0.0.0/24', host_routes: routes }, 'HostRoutesExhausted'],
    [
      { ip_version: 4, cidr: '10.0.0.0/24', dns_nameservers: routes.slice(0, 6).map(({ nexthop }) => nexthop) },
      'DNSNameServersExhausted',
    ],
    [{ subnetpool_id: 'prefix_delegation', cidr: null, ...slaac }, 'BadRequest'],
  ])('%j', async (values, type) => {
    const answer = await create(values);
    expect([answer.status, answer.body.NeutronError.type]).toEqual([400, type]);
  });

  it('and take a segment only as none', async () => {
    expect((await create({ segment_id: null, dns_publish_fixed_ip: true })).body.subnet).toMatchObject({
      segment_id: null,
      dns_publish_fixed_ip: true,
    });
    const unknown = await create({ segment_id: '00000000-0000-0000-0000-000000000000' });
    expect([unknown.status, unknown.body.NeutronError.type]).toEqual([404, 'SegmentNotFound']);
  });
});
