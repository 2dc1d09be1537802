import { expect, it } from 'vitest';
import { networkTest } from '../testing.ts';

const { call, make } = await networkTest();
const PATH = '/network-ip-availabilities';

it('counts what networks have and what is taken, as large as IPv6 is', async () => {
  const { id } = await make('alice', 'network', { name: 'counted\u0001' });
  const four = await make('alice', 'subnet', { network_id: id, cidr: '10.5.0.0/24', ip_version: 4, name: 's4' });
  const modes = { ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
  const six = await make('alice', 'subnet', { network_id: id, cidr: 'fd00:1::/64', ip_version: 6, ...modes });
  await make('alice', 'port', { network_id: id });
  const answer = await call('admin', 'GET', `${PATH}/${id}`);
  expect(answer.text).toContain('"total_ips":18446744073709551615');
  expect(answer.body.network_ip_availability).toMatchObject({
    network_id: id,
    network_name: 'counted\u0001',
    tenant_id: 'p1',
    project_id: 'p1',
    used_ips: 2,
    subnet_ip_availability: [
      { subnet_id: four.id, ip_version: 4, cidr: '10.5.0.0/24', subnet_name: 's4', used_ips: 1, total_ips: 253 },
      { subnet_id: six.id, ip_version: 6, cidr: 'fd00:1::/64', subnet_name: '', used_ips: 1 },
    ],
  });
  const only = await call('admin', 'GET', `${PATH}?ip_version=4&network_id=${id}`);
  expect(only.body.network_ip_availabilities[0]).toMatchObject({ used_ips: 1, total_ips: 253 });
  const named = await call('admin', 'GET', `${PATH}?network_name=counted%01&fields=network_id`);
  expect(named.body.network_ip_availabilities).toEqual([{ network_id: id }]);
  expect((await call('admin', 'GET', `${PATH}?project_id=p9`)).body.network_ip_availabilities).toEqual([]);
  expect((await call('admin', 'GET', `${PATH}?ip_version=x`)).body.network_ip_availabilities).toEqual([]);
});

it('is paged as networks are, and for administrators alone', async () => {
  for (const name of ['a', 'b', 'c']) await make('bob', 'network', { name });
  const first = await call('admin', 'GET', `${PATH}?project_id=p2&limit=2`);
  expect(first.body.network_ip_availabilities).toHaveLength(2);
  expect(first.body.network_ip_availabilities[0]).toMatchObject({
    subnet_ip_availability: [],
    used_ips: 0,
    total_ips: 0,
  });
  const next = new URL(first.body.network_ip_availabilities_links[0].href);
  expect((await call('admin', 'GET', `${PATH}${next.search}`)).body.network_ip_availabilities).toHaveLength(1);
  expect((await call('admin', 'GET', `${PATH}?foo=1`)).status).toBe(400);
  expect((await call('admin', 'GET', `${PATH}/nope`)).body.NeutronError.type).toBe('NetworkNotFound');
  expect((await call('bob', 'GET', PATH)).status).toBe(403);
});

it('lists the subnets that floating IPs come from, of networks that the project may use', async () => {
  const open = await make('admin', 'network', { 'router:external': true });
  const closed = await make('admin', 'network', {});
  for (const network of [open, closed]) {
    await make('admin', 'subnet', { network_id: network.id, cidr: '203.0.113.0/24', ip_version: 4, name: 'public' });
  }
  await make('admin', 'subnet', { network_id: open.id, cidr: '2001:db8::/64', ip_version: 6 });
  const pools = (await call('alice', 'GET', '/floatingip-pools')).body.floatingip_pools;
  expect(pools).toEqual([
    {
      subnet_id: expect.any(String),
      subnet_name: 'public',
      network_id: open.id,
      cidr: '203.0.113.0/24',
      tenant_id: 'p1',
      project_id: 'p1',
    },
  ]);
  expect((await call('alice', 'GET', '/floatingip-pools?fields=cidr')).body.floatingip_pools).toEqual([
    { cidr: '203.0.113.0/24' },
  ]);
  expect((await call('alice', 'GET', '/floatingip-pools?cidr=x')).status).toBe(400);
});

it('shows the one segment of each network to administrators, who may name it', async () => {
  const { id } = await make('alice', 'network', {});
  const segment = async () => (await call('admin', 'GET', `/segments?network_id=${id}`)).body.segments;
  expect(await segment()).toMatchObject([{ id, network_id: id, name: null, network_type: expect.any(String) }]);
  const named = await call('admin', 'PUT', `/segments/${id}`, { segment: { name: 'rack' } });
  expect(named.body.segment).toMatchObject({ name: 'rack', description: null });
  expect((await call('admin', 'GET', '/segments?name=rack&fields=id')).body.segments).toEqual([{ id }]);
  expect((await call('admin', 'GET', `/segments/${id}`)).body.segment.name).toBe('rack');
  const more = { segment: { network_id: id, network_type: 'geneve' } };
  expect((await call('admin', 'POST', '/segments', more)).status).toBe(409);
  expect((await call('admin', 'DELETE', `/segments/${id}`)).body.NeutronError.type).toBe('SegmentInUse');
  expect((await call('admin', 'GET', '/segments/nope')).body.NeutronError.type).toBe('SegmentNotFound');
  for (const [method, path] of [
    ['GET', '/segments'],
    ['PUT', `/segments/${id}`],
    ['DELETE', `/segments/${id}`],
  ] as const) {
    expect((await call('alice', method, path, method === 'PUT' ? { segment: {} } : undefined)).status).toBe(403);
  }
});
