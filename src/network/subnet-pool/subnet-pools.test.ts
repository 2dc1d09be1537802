import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { networkTest } from '../testing.ts';

const { call, make } = await networkTest();
const fault = (answer: Awaited<ReturnType<typeof call>>) => [answer.status, answer.body?.NeutronError?.type];
const pool = (who: string, values: object) =>
  call(who, 'POST', '/subnetpools', { subnetpool: { name: 'pool', ...values } });
const newPool = async (values: object, who = 'alice') => {
  const answer = await pool(who, { default_prefixlen: 26, min_prefixlen: 20, ...values });
  expect(answer.status).toBe(201);
  return answer.body.subnetpool;
};
const newNetwork = async (who = 'alice'): Promise<string> => (await make(who, 'network', {})).id;
const subnet = (network_id: string, values: object, who = 'alice') =>
  call(who, 'POST', '/subnets', { subnet: { network_id, ip_version: 4, ...values } });
const change = (id: string, values: object, who = 'alice') =>
  call(who, 'PUT', `/subnetpools/${id}`, { subnetpool: values });
const newScope = async (values: object = {}, who = 'alice'): Promise<string> => {
  const answer = await call(who, 'POST', '/address-scopes', { address_scope: { ip_version: 4, ...values } });
  expect(answer.status).toBe(201);
  return answer.body.address_scope.id;
};

describe('subnet pools', () => {
  it('are shown as Neutron shows them', async () => {
    const made = await pool('alice', { prefixes: ['10.0.0.0/16', '10.1.0.7/16'] });
    expect(made.status).toBe(201);
    const { id } = made.body.subnetpool;
    expect(made.body.subnetpool).toEqual({
      id,
      name: 'pool',
      project_id: 'p1',
      tenant_id: 'p1',
      default_prefixlen: '8',
      min_prefixlen: '8',
      max_prefixlen: '32',
      is_default: false,
      shared: false,
      prefixes: ['10.0.0.0/15'],
      ip_version: 4,
      default_quota: null,
      address_scope_id: null,
      description: '',
      tags: [],
      created_at: expect.any(String),
      updated_at: expect.any(String),
      revision_number: 0,
    });
    expect((await call('alice', 'GET', `/subnetpools/${id}?fields=min_prefixlen`)).body.subnetpool).toEqual({
      min_prefixlen: '8',
    });
    const six = await newPool({ prefixes: ['fd00::/48'], min_prefixlen: '56', default_prefixlen: 64 });
    expect(six).toMatchObject({ ip_version: 6, min_prefixlen: '56', default_prefixlen: '64', max_prefixlen: '128' });
    const listed = await call(
      'alice',
      'GET',
      '/subnetpools?ip_version=6&min_prefixlen=56&shared=False&sort_key=name&sort_dir=asc',
    );
    expect(listed.body.subnetpools.map((one: { id: string }) => one.id)).toEqual([six.id]);
  });

  it.each([
    [{ prefixes: [] }, 'EmptySubnetPoolPrefixList'],
    [{ prefixes: ['10.0.0.0/8', 'fd00::/48'] }, 'PrefixVersionMismatch'],
    [{ prefixes: ['nope'] }, 'HTTPBadRequest'],
    [{ prefixes: ['10.0.0.1'] }, 'HTTPBadRequest'],
    [{ prefixes: ['10.0.0.0/24', '10.0.0.0/24'] }, 'HTTPBadRequest'],
    [{ prefixes: '10.0.0.0/24' }, 'HTTPBadRequest'],
    [{}, 'HTTPBadRequest'],
    [{ prefixes: ['10.0.0.0/8'], name: '' }, 'HTTPBadRequest'],
    [{ prefixes: ['10.0.0.0/8'], min_prefixlen: 24, max_prefixlen: 20 }, 'IllegalSubnetPoolPrefixBounds'],
    [{ prefixes: ['10.0.0.0/8'], max_prefixlen: 33 }, 'IllegalSubnetPoolPrefixBounds'],
    [{ prefixes: ['10.0.0.0/8'], default_prefixlen: 4 }, 'IllegalSubnetPoolPrefixBounds'],
    [{ prefixes: ['10.0.0.0/8'], min_prefixlen: -1 }, 'HTTPBadRequest'],
    [{ prefixes: ['10.0.0.0/8'], min_prefixlen: 0 }, 'UnsupportedMinSubnetPoolPrefix'],
    [{ prefixes: ['10.0.0.0/8'], min_prefixlen: 'abc' }, 'InvalidInput'],
    [{ prefixes: ['10.0.0.0/8'], default_quota: -1 }, 'HTTPBadRequest'],
    [{ prefixes: ['10.0.0.0/8'], address_scope_id: 'zz' }, 'HTTPBadRequest'],
  ])('refuse %j', async (values, type) => {
    expect(fault(await pool('alice', values))).toEqual([400, type]);
  });

  it('are their project’s alone, unless an admin shares them', async () => {
    const { id } = await newPool({ prefixes: ['10.0.0.0/16'] });
    expect((await call('bob', 'GET', `/subnetpools/${id}`)).status).toBe(404);
    expect(fault(await change(id, { name: 'x' }, 'bob'))).toEqual([404, 'SubnetPoolNotFound']);
    expect((await call('bob', 'PUT', `/subnetpools/${id}/add_prefixes`, { prefixes: ['10.9.0.0/16'] })).status).toBe(
      404,
    );
    expect((await change(id, { name: 'x' }, 'rita')).status).toBe(403);
    expect((await pool('alice', { prefixes: ['10.0.0.0/8'], shared: true })).status).toBe(403);
    expect((await pool('alice', { prefixes: ['10.0.0.0/8'], is_default: true })).status).toBe(403);
    expect((await change(id, { is_default: true })).status).toBe(403);
    expect(fault(await change(id, { shared: true }, 'admin'))).toEqual([400, 'HTTPBadRequest']);
    const shared = await newPool({ prefixes: ['10.0.0.0/16'], shared: true }, 'admin');
    expect((await call('bob', 'GET', `/subnetpools/${shared.id}`)).body.subnetpool.shared).toBe(true);
    expect((await call('bob', 'GET', '/subnetpools?shared=true&fields=id')).body.subnetpools).toContainEqual({
      id: shared.id,
    });
    expect((await change(shared.id, { name: 'x' }, 'bob')).status).toBe(403);
    expect((await call('bob', 'DELETE', `/subnetpools/${shared.id}`)).status).toBe(403);
    expect((await call('admin', 'DELETE', `/subnetpools/${shared.id}`)).status).toBe(204);
  });

  it('change as Neutron lets them', async () => {
    const { id } = await newPool({ prefixes: ['10.0.0.0/16'] });
    expect(fault(await change(id, { prefixes: ['10.0.0.0/17'] }))).toEqual([400, 'IllegalSubnetPoolPrefixUpdate']);
    const wider = await change(id, { prefixes: ['10.0.0.0/15', '10.3.0.0/16'], default_quota: 64, name: 'other' });
    expect(wider.body.subnetpool).toMatchObject({ prefixes: ['10.0.0.0/15', '10.3.0.0/16'], name: 'other' });
    expect(fault(await change(id, { min_prefixlen: 30 }))).toEqual([400, 'IllegalSubnetPoolPrefixBounds']);
    expect(fault(await change(id, { prefixes: ['10.0.0.0/15', '10.3.0.0/16', 'fd00::/48'] }))[0]).toBe(400);
    const prefixes = (way: string, given: unknown) =>
      call('alice', 'PUT', `/subnetpools/${id}/${way}_prefixes`, { prefixes: given });
    expect((await prefixes('add', ['10.2.0.0/16'])).body).toEqual({ prefixes: ['10.0.0.0/14'] });
    expect((await prefixes('remove', ['10.0.0.0/16'])).body).toEqual({ prefixes: ['10.1.0.0/16', '10.2.0.0/15'] });
    expect((await prefixes('remove', ['192.168.0.0/16'])).body).toEqual({ prefixes: ['10.1.0.0/16', '10.2.0.0/15'] });
    for (const nothing of [[], 'x', [5], undefined]) expect((await prefixes('add', nothing)).status).toBe(400);
    expect((await call('alice', 'PUT', `/subnetpools/${id}/tags/blue`)).status).toBe(201);
    expect((await call('alice', 'GET', '/subnetpools?tags=blue')).body.subnetpools).toHaveLength(1);
    expect((await call('alice', 'DELETE', `/subnetpools/${id}`)).status).toBe(204);
    expect(fault(await call('alice', 'GET', `/subnetpools/${id}`))).toEqual([404, 'SubnetPoolNotFound']);
  });
});

describe('subnets out of a pool', () => {
  it('get what is left of it, and give it back', async () => {
    const { id } = await newPool({ prefixes: ['10.0.0.0/16', '10.1.0.0/16'] });
    const network = await newNetwork();
    const first = await subnet(network, { subnetpool_id: id });
    expect(first.body.subnet).toMatchObject({
      cidr: '10.0.0.0/26',
      gateway_ip: '10.0.0.1',
      subnetpool_id: id,
      allocation_pools: [{ start: '10.0.0.2', end: '10.0.0.62' }],
    });
    expect(first.body.subnet).not.toHaveProperty('prefixlen');
    expect((await subnet(network, { subnetpool_id: id, prefixlen: 24 })).body.subnet.cidr).toBe('10.0.1.0/24');
    expect((await subnet(network, { subnetpool_id: id, prefixlen: '24' })).body.subnet.cidr).toBe('10.0.2.0/24');
    expect((await subnet(network, { subnetpool_id: id, cidr: '10.1.5.0/24' })).body.subnet.cidr).toBe('10.1.5.0/24');
    const gateway = await subnet(network, { subnetpool_id: id, prefixlen: 24, gateway_ip: null });
    expect(gateway.body.subnet.gateway_ip).toBe('10.0.3.1');
    const again = { subnetpool_id: id, cidr: '10.0.1.128/25' };
    expect(fault(await subnet(network, again))).toEqual([409, 'SubnetAllocationError']);
    expect(fault(await subnet(network, { subnetpool_id: id, cidr: '10.7.0.0/24' }))[1]).toBe('SubnetAllocationError');
    expect(fault(await call('alice', 'DELETE', `/subnetpools/${id}`))).toEqual([400, 'SubnetPoolDeleteError']);
    const listed = await call('alice', 'GET', `/subnets?subnetpool_id=${id}`);
    expect(listed.body.subnets).toHaveLength(5);
    expect((await call('alice', 'DELETE', `/subnets/${first.body.subnet.id}`)).status).toBe(204);
    expect((await subnet(network, { subnetpool_id: id })).body.subnet.cidr).toBe('10.0.0.0/26');
    const removed = await call('alice', 'PUT', `/subnetpools/${id}/remove_prefixes`, { prefixes: ['10.0.0.0/16'] });
    expect(fault(removed)).toEqual([400, 'IllegalSubnetPoolPrefixUpdate']);
  });

  it('are refused as Neutron refuses them', async () => {
    const { id } = await newPool({ prefixes: ['10.0.0.0/24'], min_prefixlen: 25 });
    const network = await newNetwork();
    const refused = async (values: object, who = 'alice') => fault(await subnet(network, values, who));
    expect(await refused({ subnetpool_id: id, prefixlen: 24 })).toEqual([400, 'MinPrefixSubnetAllocationError']);
    expect(await refused({ subnetpool_id: id, prefixlen: 40 })).toEqual([400, 'MaxPrefixSubnetAllocationError']);
    expect(await refused({ subnetpool_id: id, prefixlen: -1 })).toEqual([400, 'HTTPBadRequest']);
    expect(await refused({ subnetpool_id: id, cidr: '10.0.0.0/25', prefixlen: 25 })).toEqual([400, 'BadRequest']);
    expect(await refused({ subnetpool_id: id, ip_version: 6 })).toEqual([400, 'BadRequest']);
    const allocation_pools = [{ start: '10.0.0.5', end: '10.0.0.9' }];
    expect(await refused({ subnetpool_id: id, allocation_pools })).toEqual([400, 'BadRequest']);
    expect(await refused({ prefixlen: 26 })).toEqual([400, 'BadRequest']);
    expect(await refused({ use_default_subnetpool: true })).toEqual([400, 'BadRequest']);
    expect(await refused({ subnetpool_id: id, use_default_subnetpool: true })).toEqual([400, 'BadRequest']);
    expect(await refused({ subnetpool_id: randomUUID() })).toEqual([404, 'SubnetPoolNotFound']);
    expect(await refused({ subnetpool_id: 'xx' })).toEqual([400, 'HTTPBadRequest']);
    expect(await refused({ subnetpool_id: 'prefix_delegation', ip_version: 6 })).toEqual([400, 'BadRequest']);
    expect(fault(await subnet(await newNetwork('bob'), { subnetpool_id: id }, 'bob'))).toEqual([
      404,
      'SubnetPoolNotFound',
    ]);
    expect((await subnet(network, { subnetpool_id: id, prefixlen: 25 })).status).toBe(201);
    expect((await subnet(network, { subnetpool_id: id, prefixlen: 25 })).status).toBe(201);
    expect(await refused({ subnetpool_id: id })).toEqual([409, 'SubnetAllocationError']);
  });

  it('never overlap, made at once on many networks', async () => {
    const { id } = await newPool({ prefixes: ['10.0.0.0/22'] });
    const networks = await Promise.all(Array.from({ length: 16 }, () => newNetwork()));
    const made = await Promise.all(networks.map((network) => subnet(network, { subnetpool_id: id })));
    expect(new Set(made.map(({ body }) => body.subnet.cidr)).size).toBe(16);
    expect(fault(await subnet(await newNetwork(), { subnetpool_id: id }))).toEqual([409, 'SubnetAllocationError']);
  });

  it('count against the quota of their project', async () => {
    const { id } = await newPool({ prefixes: ['10.0.0.0/16'], default_quota: 128, shared: true }, 'admin');
    const network = await newNetwork();
    expect((await subnet(network, { subnetpool_id: id })).status).toBe(201);
    expect((await subnet(network, { subnetpool_id: id })).status).toBe(201);
    expect(fault(await subnet(network, { subnetpool_id: id }))).toEqual([409, 'SubnetPoolQuotaExceeded']);
    expect((await subnet(await newNetwork('bob'), { subnetpool_id: id }, 'bob')).status).toBe(201);
  });

  it('come from the default pool where that is asked for', async () => {
    const wanted = { use_default_subnetpool: true, ip_version: 6 };
    expect((await subnet(await newNetwork(), wanted)).body.NeutronError.message).toBe(
      'Bad subnets request: No default subnetpool found for IPv6.',
    );
    const six = { prefixes: ['fd00::/48'], is_default: true, shared: true, min_prefixlen: 64, default_prefixlen: 64 };
    const { id } = await newPool(six, 'admin');
    expect(fault(await pool('admin', { ...six, prefixes: ['fd01::/48'] }))).toEqual([400, 'InvalidInput']);
    expect((await subnet(await newNetwork(), wanted)).body.subnet).toMatchObject({
      subnetpool_id: id,
      cidr: 'fd00::/64',
      gateway_ip: 'fd00::1',
    });
    const modes = { ipv6_ra_mode: 'slaac', ipv6_address_mode: 'slaac' };
    expect((await subnet(await newNetwork(), { ...wanted, ...modes })).body.subnet.cidr).toBe('fd00:0:0:1::/64');
  });

  it('share a network only with others of the pool', async () => {
    const [one, other] = [await newPool({ prefixes: ['10.0.0.0/16'] }), await newPool({ prefixes: ['10.1.0.0/16'] })];
    const network = await newNetwork();
    await subnet(network, { subnetpool_id: one.id });
    for (const values of [{ cidr: '192.168.0.0/24' }, { subnetpool_id: other.id }]) {
      expect(fault(await subnet(network, values))).toEqual([400, 'NetworkSubnetPoolAffinityError']);
    }
    expect((await subnet(network, { cidr: 'fd00::/64', ip_version: 6 })).status).toBe(201);
    const plain = await newNetwork();
    await subnet(plain, { cidr: '192.168.0.0/24' });
    expect(fault(await subnet(plain, { subnetpool_id: one.id }))).toEqual([400, 'NetworkSubnetPoolAffinityError']);
  });

  it('may be taken into a pool with their whole network', async () => {
    const { id } = await newPool({ prefixes: ['10.0.0.0/16'] });
    const network = await newNetwork();
    const made = await subnet(network, { cidr: '192.168.0.0/24' });
    const onboard = (network_id: unknown, who = 'alice') =>
      call(who, 'PUT', `/subnetpools/${id}/onboard_network_subnets`, { network_id });
    expect((await onboard(network, 'bob')).status).toBe(404);
    expect((await onboard(network, 'rita')).status).toBe(403);
    expect(fault(await onboard(randomUUID()))).toEqual([404, 'NetworkNotFound']);
    expect((await onboard(undefined)).status).toBe(400);
    expect((await onboard(await newNetwork('bob'))).status).toBe(404);
    expect((await onboard(network)).body).toEqual([{ id: made.body.subnet.id, cidr: '192.168.0.0/24' }]);
    expect((await call('alice', 'GET', `/subnetpools/${id}`)).body.subnetpool.prefixes).toEqual([
      '10.0.0.0/16',
      '192.168.0.0/24',
    ]);
    expect((await subnet(network, { subnetpool_id: id })).body.subnet.subnetpool_id).toBe(id);
    expect(fault(await onboard(network))).toEqual([400, 'IllegalSubnetPoolUpdate']);
  });
});

describe('address scopes', () => {
  it('are shown, shared and kept as Neutron does it', async () => {
    const made = await call('alice', 'POST', '/address-scopes', { address_scope: { name: 'one', ip_version: '4' } });
    const { id } = made.body.address_scope;
    expect(made.body.address_scope).toEqual({
      id,
      name: 'one',
      project_id: 'p1',
      tenant_id: 'p1',
      ip_version: 4,
      shared: false,
    });
    for (const values of [{}, { ip_version: 5 }]) {
      expect((await call('alice', 'POST', '/address-scopes', { address_scope: values })).status).toBe(400);
    }
    const update = (of: string, values: object, who = 'alice') =>
      call(who, 'PUT', `/address-scopes/${of}`, { address_scope: values });
    expect((await update(id, { shared: true })).status).toBe(403);
    expect((await update(id, { name: 'x' }, 'bob')).status).toBe(404);
    expect((await update(id, { name: 'x' }, 'rita')).status).toBe(403);
    expect((await update(id, { shared: true }, 'admin')).body.address_scope.shared).toBe(true);
    expect(fault(await update(id, { shared: false }, 'admin'))).toEqual([400, 'AddressScopeUpdateError']);
    expect((await update(id, { name: 'x' }, 'bob')).status).toBe(403);
    expect((await call('bob', 'DELETE', `/address-scopes/${id}`)).status).toBe(403);
    expect((await call('bob', 'GET', '/address-scopes?shared=True')).body.address_scopes).toHaveLength(1);
    expect((await call('alice', 'DELETE', `/address-scopes/${id}`)).status).toBe(204);
  });

  it('let no two pools overlap', async () => {
    const scope = await newScope();
    const { id } = await newPool({ prefixes: ['10.0.0.0/16'], address_scope_id: scope });
    const other = { address_scope_id: scope, prefixes: ['10.0.128.0/20'] };
    expect(fault(await pool('alice', other))).toEqual([409, 'AddressScopePrefixConflict']);
    expect(fault(await pool('alice', { ...other, prefixes: ['fd00::/48'] }))).toEqual([
      400,
      'IllegalSubnetPoolIpVersionAssociationToAddressScope',
    ]);
    expect(fault(await pool('bob', other))).toEqual([404, 'AddressScopeNotFound']);
    const next = await newPool({ ...other, prefixes: ['10.1.0.0/16'] });
    const grown = await call('alice', 'PUT', `/subnetpools/${next.id}/add_prefixes`, { prefixes: ['10.0.4.0/24'] });
    expect(fault(grown)).toEqual([409, 'AddressScopePrefixConflict']);
    expect(fault(await call('alice', 'DELETE', `/address-scopes/${scope}`))).toEqual([409, 'AddressScopeInUse']);
    expect((await change(id, { address_scope_id: null })).body.subnetpool.address_scope_id).toBeNull();
    expect((await call('alice', 'GET', `/subnetpools?address_scope_id=${scope}`)).body.subnetpools).toHaveLength(1);
  });

  it('take one of two overlapping pools that come at once', async () => {
    const scope = await newScope();
    const both = [pool('alice', { prefixes: ['10.0.0.0/16'], address_scope_id: scope })];
    both.push(pool('alice', { prefixes: ['10.0.0.0/20'], address_scope_id: scope }));
    const statuses = (await Promise.all(both)).map(({ status }) => status);
    expect(statuses.sort()).toEqual([201, 409]);
  });

  it('show on the networks whose subnets come from them, and keep others off', async () => {
    const [scope, elsewhere] = [await newScope(), await newScope()];
    const { id } = await newPool({ prefixes: ['10.0.0.0/16'], address_scope_id: scope });
    const second = await newPool({ prefixes: ['10.1.0.0/16'], address_scope_id: scope });
    const free = await newPool({ prefixes: ['10.2.0.0/16'] });
    const network = await newNetwork();
    await subnet(network, { subnetpool_id: id });
    expect((await subnet(network, { subnetpool_id: second.id })).status).toBe(201);
    const shown = (await call('alice', 'GET', `/networks/${network}`)).body.network;
    expect(shown).toMatchObject({ ipv4_address_scope: scope, ipv6_address_scope: null });
    const listed = (await call('alice', 'GET', `/networks?id=${network}`)).body.networks[0];
    expect(listed.ipv4_address_scope).toBe(scope);
    expect(fault(await subnet(network, { subnetpool_id: free.id }))).toEqual([400, 'NetworkAddressScopeAffinityError']);
    expect(fault(await change(id, { address_scope_id: elsewhere }))).toEqual([400, 'NetworkAddressScopeAffinityError']);
  });

  it('that others share: pools may enter, but no longer change', async () => {
    const scope = await newScope({ shared: true }, 'admin');
    const { id } = await newPool({ prefixes: ['10.0.0.0/16'], address_scope_id: scope }, 'bob');
    expect(fault(await change(id, { name: 'x' }, 'bob'))).toEqual([400, 'IllegalSubnetPoolUpdate']);
    expect((await change(id, { name: 'x' }, 'admin')).status).toBe(200);
  });
});
