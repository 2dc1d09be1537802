import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RequestContext } from '../http/service.ts';
import { identities, silent } from '../testing/api.ts';
import type { NetworkRequest } from './server-networks.ts';
import { networkTest } from './testing.ts';

const { call, make, db, cascade, sims, serverNetworks } = await networkTest(['east', 'west']);
const east = sims.east as NonNullable<typeof sims.east>;
// As much of a request as these functions look at.
const context = { requestId: 'req-1', identity: identities.alice, log: silent } as unknown as RequestContext;

beforeEach(() => {
  east.faults.clear();
});

let third = 0;
async function plain(values: Record<string, unknown> = {}) {
  third += 1;
  const network = await make('alice', 'network', { name: `net-${third}` });
  const subnet = await make('alice', 'subnet', {
    network_id: network.id,
    ip_version: 4,
    cidr: `10.${third}.0.0/24`,
    ...values,
  });
  return { network, subnet };
}

/** A boot as far as networks go. */
async function boot(
  wanted: readonly NetworkRequest[] | 'auto' | 'none' | undefined,
  options: { child?: string; groups?: readonly string[]; server_id?: string } = {},
) {
  const { child = 'east', server_id = randomUUID() } = options;
  const resolved = await serverNetworks.resolve(db.query, context, wanted);
  const ports = await db.transaction((tx) =>
    serverNetworks.attach(tx, context, resolved, { server_id, child, zone: child, security_groups: options.groups }),
  );
  return { server_id, ports, resolved };
}

describe('resolving', () => {
  it('speaks as Nova does', async () => {
    const refusal = async (wanted: Parameters<typeof boot>[0]) =>
      serverNetworks.resolve(db.query, context, wanted).then(
        () => 'fine',
        (error: { status: number; message: string }) => `${error.status} ${error.message}`,
      );
    const unknown = randomUUID();
    expect(await refusal([{ network_id: unknown }])).toBe(`400 Network ${unknown} could not be found.`);
    expect(await refusal([{ port_id: unknown }])).toBe(`400 Port id ${unknown} could not be found.`);
    const nothing = { requests: [], children: undefined, refusals: new Map() };
    expect(await serverNetworks.resolve(db.query, context, 'none')).toEqual(nothing);
    expect(await serverNetworks.resolve(db.query, context, undefined)).toEqual(nothing);
    expect(await refusal('auto')).toBe('400 Unable to automatically allocate a network for project p1');
    const foreign = await make('bob', 'network', { name: 'foreign' });
    expect(await refusal([{ network_id: foreign.id }])).toBe(`400 Network ${foreign.id} could not be found.`);
    const empty = await make('alice', 'network', {});
    expect(await refusal([{ network_id: empty.id }])).toBe(
      `400 Network ${empty.id} requires a subnet in order to boot instances on.`,
    );
    await call('alice', 'DELETE', `/networks/${empty.id}`);
    const { network } = await plain();
    expect((await serverNetworks.resolve(db.query, context, undefined)).requests).toMatchObject([
      { network_id: network.id },
    ]);
    expect(await refusal([{ network_id: network.id, fixed_ip: '9.9.9.9' }])).toBe(
      `400 Invalid input received: Fixed IP 9.9.9.9 is not a valid ip address for network ${network.id}.`,
    );
    const port = await make('alice', 'port', { network_id: network.id, fixed_ips: [{ ip_address: '10.1.0.9' }] });
    expect(await refusal([{ network_id: network.id, fixed_ip: '10.1.0.9' }])).toMatch(/^400 Fixed IP address 10.1.0.9/);
    await boot([{ port_id: port.id }]);
    expect(await refusal([{ port_id: port.id }])).toBe(`409 Port ${port.id} is still in use.`);
    await plain();
    expect(await refusal(undefined)).toBe(
      '409 Multiple possible networks found, use a Network ID to be more specific.',
    );
    const west = await make('alice', 'network', { availability_zone_hints: ['west'] });
    await make('alice', 'subnet', { network_id: west.id, ip_version: 4, cidr: '10.250.0.0/24' });
    expect((await serverNetworks.resolve(db.query, context, [{ network_id: west.id }])).children).toEqual(['west']);
    expect(await refusal([{ network_id: west.id }, { network_id: network.id }])).toMatch(/^400 The networks asked for/);
    await expect(boot([{ network_id: west.id }], { child: 'east' })).rejects.toMatchObject({ status: 400 });
  });
});

describe('a server', () => {
  it('gets ports made, bound and shown, and loses them with its end', async () => {
    const { network, subnet } = await plain();
    const given = await make('alice', 'port', { network_id: network.id });
    const group = await make('alice', 'security_group', { name: 'web' });
    const { server_id, ports } = await boot(
      [{ port_id: given.id }, { network_id: network.id, fixed_ip: subnet.gateway_ip.replace(/1$/, '77'), tag: 'eth' }],
      { groups: ['web'] },
    );
    expect(ports).toMatchObject([
      { id: given.id, preserve_on_delete: true, network_name: network.name },
      {
        preserve_on_delete: false,
        security_groups: ['web'],
        tag: 'eth',
        fixed_ips: [{ subnet_id: subnet.id, version: 4 }],
      },
    ]);
    expect((await serverNetworks.portsOf(db.query, [server_id])).get(server_id)).toEqual(ports);
    const shown = await call('admin', 'GET', `/ports/${ports[1]?.id}`);
    expect(shown.body.port).toMatchObject({
      device_id: server_id,
      device_owner: 'compute:east',
      security_groups: [group.id],
      'binding:host_id': 'east',
    });
    expect((await call('alice', 'GET', `/networks/${network.id}`)).body.network.availability_zones).toEqual(['east']);
    await expect(boot([{ network_id: network.id }], { child: 'west' })).rejects.toMatchObject({ status: 400 });
    await expect(boot([{ network_id: network.id }], { groups: ['nope'] })).rejects.toMatchObject({ status: 400 });
    for (let twice = 0; twice < 2; twice += 1) await db.transaction((tx) => serverNetworks.detach(tx, server_id));
    expect((await call('alice', 'GET', `/ports/${ports[1]?.id}`)).status).toBe(404);
    expect((await call('alice', 'GET', `/ports/${given.id}`)).body.port).toMatchObject({
      device_id: '',
      device_owner: '',
    });
  });

  it('is told of changes to its ports in their transaction', async () => {
    const told: string[] = [];
    serverNetworks.onChange(async (_tx, ids) => void told.push(...ids));
    const { network } = await plain();
    const { server_id, ports } = await boot([{ network_id: network.id }]);
    await call('alice', 'DELETE', `/ports/${ports[0]?.id}`);
    expect(told).toEqual([server_id]);
  });

  it('that goes past the quota takes nothing', async () => {
    const { network } = await plain();
    const usage = async () =>
      (
        await sql<{ n: number }>`select in_use as n from quotas
        where project_id = 'p1' and service = 'network' and resource = 'port'`.execute(db.query)
      ).rows[0]?.n ?? 0;
    const before = await usage();
    await sql`update quotas set hard_limit = in_use + 1
      where project_id = 'p1' and service = 'network' and resource = 'port'`.execute(db.query);
    await expect(boot([{ network_id: network.id }, { network_id: network.id }])).rejects.toMatchObject({
      status: 403,
      message: 'Maximum number of ports exceeded',
    });
    expect(await usage()).toBe(before);
    await sql`update quotas set hard_limit = null where project_id = 'p1'`.execute(db.query);
  });
});

describe('the child', () => {
  afterEach(() => vi.useRealTimers());

  it('gets all that a server needs, once, with the addresses of the parent', async () => {
    const { network, subnet } = await plain({ dns_nameservers: ['8.8.8.8'] });
    const group = await make('alice', 'security_group', { name: 'ssh' });
    await make('alice', 'security_group_rule', {
      security_group_id: group.id,
      direction: 'ingress',
      protocol: 'tcp',
      port_range_min: 22,
      port_range_max: 22,
    });
    const { server_id, ports } = await boot([{ network_id: network.id }, { network_id: network.id }], {
      groups: ['ssh'],
    });
    east.requests.reset();
    const ids = await serverNetworks.ensurePorts(cascade.context('east'), server_id);
    expect(ids).toHaveLength(2);
    expect(east.requests.count('POST network /ports')).toBe(1);
    expect(east.requests.count('POST network /networks')).toBe(1);
    const theirs = ids.map((id) => east.state.ports.get(id));
    theirs.forEach((port, at) => {
      expect(port).toMatchObject({ name: ports[at]?.id, mac_address: ports[at]?.mac_address });
      expect(port?.fixed_ips).toMatchObject([{ ip_address: ports[at]?.fixed_ips[0]?.ip_address }]);
    });
    const childSubnet = [...east.state.subnets.values()].find(({ name }) => name === subnet.id);
    const [from, to] = [subnet.allocation_pools[0].end.replace('254', '253'), subnet.allocation_pools[0].end];
    expect(childSubnet).toMatchObject({
      cidr: subnet.cidr,
      gateway_ip: subnet.gateway_ip,
      dns_nameservers: ['8.8.8.8'],
    });
    expect(childSubnet?.allocation_pools).toEqual([
      { start: from, end: from },
      { start: to, end: to },
    ]);
    // What was set aside for the child is nobody else's.
    const taken = await call('alice', 'POST', '/ports', {
      port: { network_id: network.id, fixed_ips: [{ ip_address: to }] },
    });
    expect(taken.status).toBe(409);
    east.requests.reset();
    expect(await serverNetworks.ensurePorts(cascade.context('east'), server_id)).toEqual(ids);
    expect(east.requests.list).toHaveLength(0);
  });

  it('finds what an earlier attempt made, and makes no second one', async () => {
    const { network } = await plain();
    const { server_id, ports } = await boot([{ network_id: network.id }]);
    const [id] = await serverNetworks.ensurePorts(cascade.context('east'), server_id);
    // As after a crash between the child's answer and its being stored.
    await sql`update replicas set child_id = null, revision = 0 where child = 'east'
      and kind in ('port', 'network', 'subnet')`.execute(db.query);
    east.requests.reset();
    expect(await serverNetworks.ensurePorts(cascade.context('east'), server_id)).toEqual([id]);
    expect(east.requests.count(/^POST network/)).toBe(0);
    // Bringing what is there already changes nothing; an address behind the parent's back is put right.
    const theirs = east.state.ports;
    expect(theirs.get(id ?? '')).toMatchObject({ name: ports[0]?.id });
  });

  it('gets rules that change one by one, and groups that name each other', async () => {
    const { network } = await plain();
    const one = await make('alice', 'security_group', { name: 'one' });
    const two = await make('alice', 'security_group', { name: 'two' });
    const rule = (security_group_id: string, remote_group_id: string) =>
      make('alice', 'security_group_rule', { security_group_id, remote_group_id, direction: 'ingress' });
    await rule(one.id, two.id);
    const back = await rule(two.id, one.id);
    const { server_id } = await boot([{ network_id: network.id }], { groups: ['one'] });
    await serverNetworks.ensurePorts(cascade.context('east'), server_id);
    await cascade.context('east').ensure('security_group', two.id);
    const rulesIn = async (id: string) => {
      const replica = await cascade.context('east').ensure('security_group', id);
      const { body } = await cascade
        .context('east')
        .api.call<{ security_group_rules: { remote_group_id: string | null }[] }>({
          service: 'network',
          method: 'GET',
          path: '/security-group-rules',
          query: { security_group_id: replica.child_id },
        });
      return { replica, rules: body.security_group_rules };
    };
    const [first, second] = [await rulesIn(one.id), await rulesIn(two.id)];
    expect(first.rules.map(({ remote_group_id }) => remote_group_id)).toContain(second.replica.child_id);
    expect(second.rules.map(({ remote_group_id }) => remote_group_id)).toContain(first.replica.child_id);
    await call('alice', 'DELETE', `/security-group-rules/${back.id}`);
    east.requests.reset();
    expect((await rulesIn(two.id)).rules).toHaveLength(2);
    expect(east.requests.count(/^DELETE network/)).toBe(1);
    expect(east.requests.count(/^POST network/)).toBe(0);
  });

  it('tells the status of ports, survives an unreadable record, and gets back what was deleted there', async () => {
    const { network } = await plain();
    const { server_id, ports } = await boot([{ network_id: network.id }]);
    const [id = ''] = await serverNetworks.ensurePorts(cascade.context('east'), server_id);
    await cascade.start();
    const theirs = east.state.ports;
    const port = theirs.get(id);
    if (port === undefined) throw new Error('the port is not in the child');
    port.status = 'ACTIVE';
    theirs.set('broken', Object.assign({ ...port, id: 'broken' }, JSON.parse('{"status": 7}')));
    const status = async () => (await call('alice', 'GET', `/ports/${ports[0]?.id}`)).body.port?.status;
    await vi.waitFor(async () => expect(await status()).toBe('ACTIVE'), { timeout: 10_000, interval: 100 });
    theirs.delete('broken');
    theirs.delete(id);
    await sql`update cursors set cursor = null where feed = 'ports'`.execute(db.query);
    await vi.waitFor(() => expect([...theirs.values()].map(({ name }) => name)).toContain(ports[0]?.id), {
      timeout: 20_000,
      interval: 200,
    });
    await db.transaction((tx) => serverNetworks.detach(tx, server_id));
    cascade.poke();
    await vi.waitFor(() => expect([...theirs.values()].map(({ name }) => name)).not.toContain(ports[0]?.id), {
      timeout: 10_000,
      interval: 100,
    });
    expect((await call('alice', 'DELETE', `/networks/${network.id}`)).status).toBe(204);
    await vi.waitFor(
      async () => {
        const left = await sql`select 1 from replicas where resource_id = ${network.id}`.execute(db.query);
        expect(left.rows).toHaveLength(0);
      },
      { timeout: 10_000, interval: 100 },
    );
  }, 60_000);
});
