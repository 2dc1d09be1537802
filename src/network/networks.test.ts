import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { networksWithSubnet, networkTest } from './testing.ts';

const { call, make, db } = await networkTest(['east', 'west']);

const plain = networksWithSubnet(make);
const typeOf = (answer: { body: { NeutronError: { type: string } } }): string => answer.body.NeutronError.type;

describe('networks', () => {
  it('look as Neutron shows them, with more for admins', async () => {
    const network = await make('alice', 'network', { name: 'blue', description: 'mine' });
    expect(network).toMatchObject({
      name: 'blue',
      project_id: 'p1',
      tenant_id: 'p1',
      status: 'ACTIVE',
      mtu: 1442,
      admin_state_up: true,
      shared: false,
      'router:external': false,
      subnets: [],
      availability_zone_hints: [],
      revision_number: 1,
    });
    expect(network).not.toHaveProperty('provider:network_type');
    expect(network).not.toHaveProperty('child');
    const shown = await call('admin', 'GET', `/networks/${network.id}`);
    expect(shown.body.network).toHaveProperty('provider:network_type', 'geneve');
  });

  it('are listed with filters, fields, sorting and paging', async () => {
    const names = ['z1', 'z2', 'z3'];
    for (const name of names) await make('bob', 'network', { name, description: 'listed' });
    const first = await call(
      'bob',
      'GET',
      '/networks?description=listed&sort_key=name&sort_dir=desc&limit=2&fields=name',
    );
    expect(first.body.networks).toEqual([{ name: 'z3' }, { name: 'z2' }]);
    const next = new URL(first.body.networks_links[0].href);
    const second = await call('bob', 'GET', `/networks${next.search}`);
    expect(second.body.networks).toEqual([{ name: 'z1' }]);
    const both = await call('bob', 'GET', '/networks?name=z1&name=z2');
    expect(both.body.networks).toHaveLength(2);
    expect((await call('bob', 'GET', '/networks?admin_state_up=False&description=listed')).body.networks).toEqual([]);
    const wrong = await call('bob', 'GET', '/networks?foo=bar');
    expect(wrong.body.NeutronError.message).toBe("['foo'] is invalid attribute for filtering");
    expect((await call('bob', 'GET', `/networks?marker=${randomUUID()}&limit=1`)).status).toBe(404);
  });

  it('of others are not there, shared ones are seen but not changed', async () => {
    const own = await make('alice', 'network', { name: 'own' });
    expect((await call('bob', 'GET', `/networks/${own.id}`)).status).toBe(404);
    expect((await call('bob', 'PUT', `/networks/${own.id}`, { network: { name: 'x' } })).status).toBe(404);
    expect((await call('bob', 'DELETE', `/networks/${own.id}`)).status).toBe(404);
    expect(
      (await call('bob', 'POST', '/subnets', { subnet: { network_id: own.id, ip_version: 4, cidr: '10.99.0.0/24' } }))
        .status,
    ).toBe(404);
    expect((await call('bob', 'POST', '/ports', { port: { network_id: own.id } })).status).toBe(404);
    const shared = await make('admin', 'network', { name: 'all', shared: true });
    expect((await call('bob', 'GET', `/networks/${shared.id}`)).status).toBe(200);
    expect((await call('bob', 'DELETE', `/networks/${shared.id}`)).status).toBe(403);
  });

  it('are refused to readers, and admin attributes to members', async () => {
    expect((await call('rita', 'POST', '/networks', { network: { name: 'x' } })).status).toBe(403);
    expect((await call('rita', 'GET', '/networks')).status).toBe(200);
    for (const attribute of [{ shared: true }, { 'router:external': true }, { 'provider:network_type': 'vlan' }]) {
      const refused = await call('alice', 'POST', '/networks', { network: attribute });
      expect(refused.status, JSON.stringify(attribute)).toBe(403);
    }
    const provider = await call('admin', 'POST', '/networks', { network: { 'provider:network_type': 'vlan' } });
    expect([provider.status, typeOf(provider)]).toEqual([400, 'InvalidInput']);
    expect((await call('alice', 'POST', '/networks', { network: { project_id: 'p2' } })).status).toBe(400);
    expect((await call('alice', 'POST', '/networks', { network: { nonsense: 1 } })).body.NeutronError.message).toBe(
      "Unrecognized attribute(s) 'nonsense'",
    );
  });

  it('live where their zone hints say', async () => {
    const network = await make('alice', 'network', { availability_zone_hints: ['west'] });
    expect(network).toMatchObject({ availability_zone_hints: ['west'], availability_zones: ['west'] });
    const unknown = await call('alice', 'POST', '/networks', { network: { availability_zone_hints: ['moon'] } });
    expect([unknown.status, unknown.body.NeutronError.message]).toEqual([
      404,
      'AvailabilityZone moon could not be found.',
    ]);
    const two = await call('alice', 'POST', '/networks', { network: { availability_zone_hints: ['east', 'west'] } });
    expect(two.status).toBe(400);
  });

  it('made in bulk are all made or none', async () => {
    const before = (await call('alice', 'GET', '/networks')).body.networks.length;
    const refused = await call('alice', 'POST', '/networks', { networks: [{ name: 'a' }, { mtu: 9000 }] });
    expect(refused.status).toBe(400);
    expect((await call('alice', 'GET', '/networks')).body.networks).toHaveLength(before);
    const made = await call('alice', 'POST', '/networks', { networks: [{ name: 'a' }, { name: 'b' }] });
    expect(made.body.networks.map(({ name }: { name: string }) => name)).toEqual(['a', 'b']);
  });

  it('with ports cannot go, and take their subnets with them', async () => {
    const { network, subnet } = await plain();
    const port = await make('alice', 'port', { network_id: network.id });
    const refused = await call('alice', 'DELETE', `/networks/${network.id}`);
    expect([refused.status, typeOf(refused)]).toEqual([409, 'NetworkInUse']);
    expect(typeOf(await call('alice', 'DELETE', `/subnets/${subnet.id}`))).toBe('SubnetInUse');
    expect((await call('alice', 'DELETE', `/ports/${port.id}`)).status).toBe(204);
    expect((await call('alice', 'DELETE', `/networks/${network.id}`)).status).toBe(204);
    expect((await call('alice', 'GET', `/subnets/${subnet.id}`)).status).toBe(404);
  });
});

describe('subnets', () => {
  it('get a gateway and pools by default', async () => {
    const { network, subnet } = await plain('alice', { cidr: '10.200.0.7/24' });
    expect(subnet).toMatchObject({
      cidr: '10.200.0.0/24',
      gateway_ip: '10.200.0.1',
      allocation_pools: [{ start: '10.200.0.2', end: '10.200.0.254' }],
      enable_dhcp: true,
      ip_version: 4,
      network_id: network.id,
    });
    const shown = await call('alice', 'GET', `/networks/${network.id}`);
    expect(shown.body.network.subnets).toEqual([subnet.id]);
    const without = await make('alice', 'subnet', {
      network_id: network.id,
      ip_version: 4,
      cidr: '10.201.0.0/24',
      gateway_ip: null,
    });
    expect(without).toMatchObject({
      gateway_ip: null,
      allocation_pools: [{ start: '10.201.0.1', end: '10.201.0.254' }],
    });
  });

  it.each([
    [{ cidr: '10.202.0.128/25' }, 'InvalidInput', 400],
    [{ cidr: '10.8.0.0/24', ip_version: 6 }, 'InvalidInput', 400],
    [{ cidr: 'foo' }, 'InvalidInput', 400],
    [{ cidr: undefined }, 'BadRequest', 400],
    [{ cidr: '10.8.0.0/24', ip_version: 5 }, 'HTTPBadRequest', 400],
    [{ cidr: '10.8.0.0/32' }, 'InvalidInput', 400],
    [{ cidr: '10.8.0.0/24', ipv6_ra_mode: 'slaac' }, 'InvalidInput', 400],
    [{ cidr: '10.8.0.0/24', dns_nameservers: ['a'] }, 'HTTPBadRequest', 400],
    [{ cidr: '10.8.0.0/24', dns_nameservers: ['8.8.8.8', '8.8.8.8'] }, 'HTTPBadRequest', 400],
    [{ cidr: '10.8.0.0/24', host_routes: [{ destination: '1.2.3.0/24' }] }, 'HTTPBadRequest', 400],
    [
      { cidr: '10.8.0.0/24', allocation_pools: [{ start: '10.8.0.1', end: '10.8.0.9' }] },
      'GatewayConflictWithAllocationPools',
      409,
    ],
    [
      { cidr: '10.8.0.0/24', allocation_pools: [{ start: '10.8.1.1', end: '10.8.1.9' }] },
      'OutOfBoundsAllocationPool',
      400,
    ],
    [{ cidr: '10.8.0.0/24', allocation_pools: [{ start: '10.8.0.9', end: '10.8.0.2' }] }, 'InvalidAllocationPool', 400],
    [
      {
        cidr: '10.8.0.0/24',
        allocation_pools: [
          { start: '10.8.0.2', end: '10.8.0.9' },
          { start: '10.8.0.5', end: '10.8.0.19' },
        ],
      },
      'OverlappingAllocationPools',
      409,
    ],
  ])('refuse %j', async (values, type, status) => {
    const { network } = await plain('alice', { cidr: '10.202.0.0/24' });
    const refused = await call('alice', 'POST', '/subnets', {
      subnet: { network_id: network.id, ip_version: 4, ...values },
    });
    expect([refused.status, typeOf(refused)], refused.text).toEqual([status, type]);
  });

  it('of external networks are shown to who names them, and listed to admins only', async () => {
    const external = await make('admin', 'network', { 'router:external': true });
    const subnet = await make('admin', 'subnet', { network_id: external.id, ip_version: 4, cidr: '172.30.0.0/24' });
    expect((await call('alice', 'GET', `/networks/${external.id}`)).body.network.subnets).toEqual([subnet.id]);
    expect((await call('alice', 'GET', `/subnets/${subnet.id}`)).status).toBe(200);
    expect((await call('alice', 'GET', `/subnets?id=${subnet.id}`)).body.subnets).toEqual([]);
    expect((await call('alice', 'PUT', `/subnets/${subnet.id}`, { subnet: { name: 'x' } })).status).toBe(404);
    expect((await call('alice', 'POST', '/ports', { port: { network_id: external.id } })).status).toBe(403);
  });

  it('change by the same rules', async () => {
    const { subnet } = await plain('alice', {
      cidr: '10.203.0.0/24',
      allocation_pools: [{ start: '10.203.0.10', end: '10.203.0.20' }],
    });
    const update = (values: unknown) => call('alice', 'PUT', `/subnets/${subnet.id}`, { subnet: values });
    expect((await update({ gateway_ip: '10.203.0.2', name: 'n' })).body.subnet).toMatchObject({
      gateway_ip: '10.203.0.2',
      name: 'n',
      revision_number: 1,
    });
    for (const enable_dhcp of [false, true]) {
      expect((await update({ enable_dhcp })).body.subnet).toMatchObject({ enable_dhcp });
    }
    expect(typeOf(await update({ gateway_ip: '10.203.0.15' }))).toBe('GatewayConflictWithAllocationPools');
    expect((await update({ cidr: '10.9.0.0/24' })).status).toBe(400);
    expect((await update({ allocation_pools: [{ start: '10.203.0.30', end: '10.203.0.31' }] })).status).toBe(200);
  });
});

it('a group is named once, and made in bulk by either form', async () => {
  const bulk = { security_groups: [{ security_group: { name: 'bulk' } }, { name: 'bulk' }] };
  const { status, body } = await call('bob', 'POST', '/security-groups', bulk);
  expect([status, body.security_groups.map(({ name }: { name: string }) => name)]).toEqual([201, ['bulk', 'bulk']]);
  const [{ id }, other] = body.security_groups;
  const network = await make('bob', 'network', {});
  const port = await make('bob', 'port', { network_id: network.id });
  for (const [method, path] of [
    ['POST', '/ports'],
    ['PUT', `/ports/${port.id}`],
  ] as const) {
    const values = { ...(method === 'POST' ? { network_id: network.id } : {}), security_groups: [id, id] };
    expect((await call('bob', method, path, { port: values })).body.NeutronError.message).toBe(
      `Invalid input for security_groups. Reason: Duplicate items in the list: '${id}'.`,
    );
  }
  await call('bob', 'DELETE', `/ports/${port.id}`);
  // What an administrator adds to a project's group is seen by the project.
  const rule = { security_group_id: other.id, direction: 'ingress', protocol: 'tcp', project_id: 'p0' };
  const added = await make('admin', 'security_group_rule', rule);
  expect((await call('bob', 'GET', `/security-group-rules?id=${added.id}`)).body.security_group_rules).toHaveLength(1);
  expect((await call('alice', 'GET', `/security-group-rules/${added.id}`)).status).toBe(404);
});

it('what is not seen is not found, also where it could not be changed', async () => {
  const { policy } = (await call('admin', 'POST', '/qos/policies', { policy: { name: 'hidden' } })).body;
  const change = () => call('alice', 'PUT', `/qos/policies/${policy.id}`, { policy: { name: 'x' } });
  expect(typeOf(await change())).toBe('QosPolicyNotFound');
  await call('admin', 'PUT', `/qos/policies/${policy.id}`, { policy: { shared: true } });
  expect((await change()).status).toBe(403);
  expect(typeOf(await call('alice', 'GET', '/qos/rule-types/bandwidth_limit'))).toBe('NotAuthorized');
});

it('a body is looked at before the right to send it', async () => {
  const long = { policy: { name: 'x'.repeat(256) } };
  expect((await call('alice', 'POST', '/qos/policies', long)).status).toBe(400);
  expect((await call('alice', 'POST', '/qos/policies', { policy: { name: 'x' } })).status).toBe(403);
});

it('values come as text, and bodies by any name or none', async () => {
  const network = await make('alice', 'network', { name: 'n', admin_state_up: 'yes', mtu: '1400' });
  expect(network).toMatchObject({ admin_state_up: true, mtu: 1400 });
  const subnet = await make('alice', 'subnet', { network_id: network.id, ip_version: '4', cidr: '10.45.0.0/24' });
  expect(subnet.ip_version).toBe(4);
  const body = JSON.stringify({ network: { admin_state_up: 0 } });
  const updated = await call('alice', 'PUT', `/networks/${network.id}`, body, { 'content-type': 'text/plain' });
  expect(updated.body.network.admin_state_up).toBe(false);
  for (const [values, message] of [
    [{ admin_state_up: 'maybe' }, "Invalid input for operation: 'maybe' cannot be converted to boolean."],
    [{ mtu: 'much' }, "Invalid input for operation: 'much' is not an integer."],
    [{ project_id: 'p1', tenant_id: 'p2' }, "'project_id' and 'tenant_id' do not match"],
  ] as const) {
    const refused = await call('admin', 'POST', '/networks', { network: values });
    expect([refused.status, refused.body.NeutronError.message]).toEqual([400, message]);
  }
  const ids = async (query: string) =>
    (await call('alice', 'GET', `/subnets?network_id=${network.id}&${query}`)).body.subnets.map(
      ({ id }: { id: string }) => id,
    );
  expect([await ids('shared=true'), await ids('shared=false')]).toEqual([[], [subnet.id]]);
});

describe('the quota', () => {
  it('of groups lets the last one be made, whether or not the default one is there', async () => {
    await sql`insert into quotas (project_id, service, resource, hard_limit)
      values ('p9', 'network', 'security_group', 1)`.execute(db.query);
    const another = () =>
      call('admin', 'POST', '/security-groups', { security_group: { name: 'g', project_id: 'p9' } });
    expect((await another()).status).toBe(201);
    expect(typeOf(await another())).toBe('OverQuota');
  });

  it('is counted to the last and gives back; a refusal keeps nothing', async () => {
    await sql`insert into quotas (project_id, service, resource, hard_limit) values ('p2', 'network', 'port', 2)
      on conflict (project_id, service, resource) do update set hard_limit = 2`.execute(db.query);
    const { network, subnet } = await plain('bob');
    const ports = [
      await make('bob', 'port', { network_id: network.id }),
      await make('bob', 'port', { network_id: network.id }),
    ];
    const refused = await call('bob', 'POST', '/ports', { port: { network_id: network.id } });
    expect([refused.status, refused.body.NeutronError]).toEqual([
      409,
      { type: 'OverQuota', message: "Quota exceeded for resources: ['port'].", detail: '' },
    ]);
    const held = await sql<{
      n: number;
    }>`select count(*)::int as n from ip_allocations where subnet_id = ${subnet.id}`.execute(db.query);
    expect(held.rows[0]?.n).toBe(2);
    await call('bob', 'DELETE', `/ports/${ports[0].id}`);
    await make('bob', 'port', { network_id: network.id });
  });
});
