import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { RequestContext } from '../../http/service.ts';
import type { Trace, TraceKind } from '../../network/trace/contract.ts';
import { networkTest } from '../../network/testing.ts';
import { NO_TOPOLOGY, type NetworkTopology } from '../../network/topology.ts';
import type { SimCloud } from '../../sim/cloud.ts';
import { identities, silent } from '../../testing/api.ts';
import type { Config } from '../config.ts';
import { printTrace } from './print.ts';
import { printedTrace, traced } from './trace.ts';

const topology: NetworkTopology = {
  ...NO_TOPOLOGY,
  physical_networks: [
    {
      name: 'wan',
      children: { east: 'physnet1', west: 'provider-a' },
      vlans: { first: 100, last: 109 },
      transit_vlans: { first: 150, last: 159 },
      flat: false,
      mtu: 1500,
    },
  ],
};
const { call, make, db, cascade, sims, serverNetworks } = await networkTest(['east', 'west'], topology);
const contextOf = (who: 'alice' | 'bob') =>
  ({ requestId: 'req-1', identity: identities[who], log: silent }) as unknown as RequestContext;
await cascade.start();

type Row = Record<string, unknown>;
const sim = (name: string) => sims[name] as SimCloud;
const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 20_000, interval: 50 });
const copies = (child: string, store: 'routers' | 'networks' | 'ports', id: string): Row[] =>
  [...(sim(child).state[store] as ReadonlyMap<string, unknown>).values()].filter(
    (row) => (row as Row).name === id,
  ) as Row[];

/** Where a copy sends its first route. */
const hopOf = (copy: Row | undefined): string | undefined =>
  ((copy?.routes ?? []) as { nexthop: string }[])[0]?.nexthop;

const config = {
  topology,
  children: ['east', 'west'].map((name) => ({ name, cloud: name, timeout_ms: 2000 })),
} as unknown as Config;
const clouds = Object.fromEntries(
  Object.entries(sims).map(([name, one]) => [name, { name, auth_type: 'password' as const, ...one.cloudsYamlEntry }]),
);
const look = (kind: TraceKind, id: string): Promise<Trace> => traced(db, config, kind, id, { clouds, login_ms: 2000 });

/** The cells of one row, by child, as `shown` or `shown / wanted` where that differs. */
function cells(trace: Trace, kind: string, name: string, id?: string): Record<string, string | null> {
  const section = trace.sections.find((one) => one.kind === kind && (id === undefined || one.id === id));
  const row = section?.rows.find((one) => one.name === name);
  if (row === undefined) return { none: name };
  return Object.fromEntries(
    Object.entries(row.children).map(([child, { shown, wanted, differs }]) => [
      child,
      differs && wanted !== undefined ? `${shown} / ${wanted}` : shown,
    ]),
  );
}

async function boot(child: string, network_id: string, who: 'alice' | 'bob' = 'alice'): Promise<string> {
  const server_id = randomUUID();
  const context = contextOf(who);
  const resolved = await serverNetworks.resolve(db.query, context, [{ network_id }]);
  const ports = await db.transaction((tx) =>
    serverNetworks.attach(tx, context, resolved, { server_id, child, zone: child, security_groups: undefined }),
  );
  await eventually(async () => void (await serverNetworks.ensurePorts(cascade.context(child), server_id)));
  cascade.poke();
  return ports[0]?.id ?? '';
}

/** A router with a network in each child, wired. */
async function span(at: number) {
  const router: string = (await make('alice', 'router', { name: 'both' })).id;
  const near = await Promise.all(
    (['east', 'west'] as const).map(async (child, number) => {
      const network = (await make('alice', 'network', { availability_zone_hints: [child] })).id as string;
      const cidr = `10.${at}.${number}.0/24`;
      const subnet = (await make('alice', 'subnet', { network_id: network, ip_version: 4, cidr })).id as string;
      await call('alice', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id: subnet });
      return { network, subnet, cidr };
    }),
  );
  cascade.poke();
  await eventually(async () => expect((await look('router', router)).differences).toBe(0));
  return { router, east: near[0], west: near[1] };
}

afterEach(async () => {
  for (const name of ['east', 'west']) {
    sim(name).faults.clear();
    await sim(name).start();
    // What is done there fails at once until it has been seen to be back.
    await eventually(async () => expect(await cascade.child(name)?.probe()).toBe(true));
  }
});

describe('headwater network trace', () => {
  it('shows a router beside its copies, its transit and the routes between them', async () => {
    const { router, east, west } = await span(1);
    const trace = await look('router', router);
    const copy = { east: copies('east', 'routers', router)[0], west: copies('west', 'routers', router)[0] };
    expect(trace.children).toEqual([
      { name: 'east', unreachable: null },
      { name: 'west', unreachable: null },
    ]);
    expect(cells(trace, 'router', 'id')).toEqual({ east: copy.east?.id, west: copy.west?.id });
    expect(cells(trace, 'router', `interface ${east?.cidr}`)).toEqual({ east: '10.1.0.1', west: null });
    const hop = hopOf(copy.east);
    expect(cells(trace, 'router', `route ${west?.cidr}`)).toEqual({ east: `by ${hop}`, west: null });
    const segment = cells(trace, 'network', 'segment');
    expect(segment.east).toMatch(/^vlan 15\d on physnet1$/);
    expect(segment.west).toBe(segment.east?.replace('physnet1', 'provider-a'));
    expect(trace.sections.map(({ title }) => title)).toEqual([
      'router "both"',
      `stretched network "transit of router ${router}"`,
      expect.stringMatching(/^subnet 100\.\d+\.\d+\.0\/24 "transit of router/),
      'network',
      `subnet ${east?.cidr}`,
      'network',
      `subnet ${west?.cidr}`,
    ]);
    expect(printTrace(trace)).toMatch(/Parent and children agree\.\n$/);
  });

  it('marks what was changed in a child behind the parent’s back', async () => {
    const { router, west } = await span(2);
    const [copy] = copies('east', 'routers', router);
    const hop = hopOf(copy);
    Object.assign(copy as Row, {
      routes: [{ destination: '10.99.0.0/16', nexthop: '10.2.0.9' }],
      admin_state_up: false,
    });
    const { ports } = sim('west').state;
    const [other] = copies('west', 'routers', router);
    for (const [id, port] of ports) {
      if (port.device_id === other?.id && port.fixed_ips.some(({ ip_address }) => ip_address === '10.2.1.1'))
        ports.delete(id);
    }
    const trace = await look('router', router);
    expect(cells(trace, 'router', 'admin_state_up')).toEqual({ east: 'false / true', west: 'true' });
    expect(cells(trace, 'router', `route ${west?.cidr}`)).toEqual({ east: `null / by ${hop}`, west: null });
    expect(cells(trace, 'router', 'route 10.99.0.0/16')).toEqual({ east: 'by 10.2.0.9 / null', west: null });
    expect(cells(trace, 'router', `interface ${west?.cidr}`)).toEqual({ east: null, west: 'null / 10.2.1.1' });
    expect(trace.differences).toBe(4);
    const text = printTrace(trace);
    expect(text).toMatch(/^! {2}route 10\.99\.0\.0\/16 +- +by 10\.2\.0\.9 \(should be nothing\)/m);
    expect(text).toMatch(/4 things are not as it should be: see the lines marked with !\.\n$/);
    sim('west').state.routers.delete(String(other?.id));
    expect(cells(await look('router', router), 'router', 'state')).toEqual({ east: 'there', west: 'gone' });
  });

  it('says of a dead or a silent child that it is unreachable, soon, and shows the others', async () => {
    const { router, east } = await span(3);
    await sim('west').stop();
    const dead = await look('router', router);
    expect(dead.children[1]?.unreachable).toContain('ECONNREFUSED');
    expect(cells(dead, 'router', 'state')).toEqual({ east: 'there', west: 'unreachable' });
    expect(cells(dead, 'router', `interface ${east?.cidr}`)).toEqual({ east: '10.3.0.1' });
    expect(printTrace(dead)).toMatch(
      /west is unreachable: .*\nParent and children agree, as far as the children could be asked\.\n$/,
    );
    await sim('west').start();
    sim('west').faults.inject({ match: {}, delay_ms: 60_000 });
    const started = performance.now();
    const silentOne = await look('router', router);
    expect(silentOne.children[1]?.unreachable).toBe('no answer within 2 s');
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it('shows what was last said against a copy, and the work under way', async () => {
    const { router } = await span(4);
    sim('west').faults.inject({
      match: { method: 'PUT', path: /^\/routers\// },
      respond: { status: 400, body: { NeutronError: { type: 'BadRequest', message: 'not today', detail: '' } } },
    });
    await call('alice', 'PUT', `/routers/${router}`, { router: { admin_state_up: false } });
    await eventually(async () => {
      const [section] = (await look('router', router)).sections;
      expect(section?.notes.join()).toContain('west: last error: not today');
    });
    const refused = await look('router', router);
    expect(cells(refused, 'router', 'state')).toEqual({ east: 'there', west: 'behind' });
    expect(cells(refused, 'router', 'admin_state_up')).toEqual({ east: 'false', west: 'true / false' });
    sim('west').faults.clear();
    await sim('west').stop();
    await call('alice', 'PUT', `/routers/${router}`, { router: { admin_state_up: true } });
    const waiting = await look('router', router);
    expect(waiting.sections[0]?.notes.join()).toMatch(/west: work under way: /);
  });

  it('shows a port with its addresses and groups, and the ports of a network that a child has lost', async () => {
    const network = (await make('alice', 'network', { name: 'n' })).id as string;
    await make('alice', 'subnet', { network_id: network, ip_version: 4, cidr: '10.5.0.0/24' });
    const [one, two] = [await boot('east', network), await boot('east', network)];
    const trace = await look('port', one);
    expect(trace.sections.map(({ kind }) => kind)).toEqual(['port', 'network', 'subnet', 'security_group']);
    const [copy] = copies('east', 'ports', one);
    expect(cells(trace, 'port', 'mac_address')).toEqual({ east: copy?.mac_address });
    expect(trace.differences).toBe(0);
    Object.assign(copy as Row, { 'binding:vif_type': 'binding_failed', fixed_ips: [], security_groups: [] });
    const broken = await look('port', one);
    expect(cells(broken, 'port', 'addresses').east).toMatch(/^null \/ 10\.5\.0\.\d+$/);
    expect(cells(broken, 'port', 'bound').east).toContain('binding_failed');
    expect(cells(broken, 'port', 'security_groups').east).toMatch(/^null \/ [0-9a-f-]{36}$/);
    expect(broken.differences).toBe(3);
    sim('east').state.ports.delete(String(copies('east', 'ports', two)[0]?.id));
    const lost = await look('network', network);
    expect(cells(lost, 'ports', 'ports')).toEqual({ east: '1 / 2' });
    expect(cells(lost, 'ports', 'missing')).toEqual({ east: `${two} / null` });
  });

  it('shows whether a child admits the members that a group has in other children', async () => {
    const ports: string[] = [];
    for (const child of ['east', 'west']) {
      const network = (await make('bob', 'network', { availability_zone_hints: [child] })).id as string;
      await make('bob', 'subnet', {
        network_id: network,
        ip_version: 4,
        cidr: child === 'east' ? '10.7.0.0/24' : '10.8.0.0/24',
      });
      ports.push(await boot(child, network, 'bob'));
    }
    const [near = ''] = ports;
    await eventually(async () => {
      const trace = await look('port', near);
      expect([trace.differences, cells(trace, 'remote_members', 'addresses')]).toEqual([0, { east: '1', west: '1' }]);
    });
    for (const group of sim('east').state.addressGroups.values()) Object.assign(group, { addresses: ['10.7.9.9/32'] });
    const broken = await look('port', near);
    expect(cells(broken, 'remote_members', 'missing').east).toMatch(/^10\.8\.0\.\d+\/32 \/ null$/);
    expect(cells(broken, 'remote_members', 'too many').east).toBe('10.7.9.9/32 / null');
  });

  it('holds stretched networks to one segment, and shows each child its own addresses', async () => {
    const wan = { 'provider:network_type': 'vlan', 'provider:physical_network': 'wan' };
    const network = (await make('admin', 'network', { project_id: 'p1', ...wan })).id as string;
    const subnet = (await make('alice', 'subnet', { network_id: network, ip_version: 4, cidr: '10.6.0.0/24' })).id;
    const router = (await make('alice', 'router', {})).id as string;
    await call('alice', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id: subnet });
    for (const child of ['east', 'west']) await boot(child, network);
    await eventually(async () => expect((await look('router', router)).differences).toBe(0));
    const trace = await look('router', router);
    const gateways = cells(trace, 'subnet', 'gateway_ip');
    expect([gateways.east, gateways.west]).toContain('10.6.0.1');
    expect(gateways.east).not.toBe(gateways.west);
    expect(cells(trace, 'router', 'interface 10.6.0.0/24')).toEqual(gateways);
    Object.assign(copies('west', 'networks', network)[0] as Row, { 'provider:segmentation_id': 999 });
    const moved = await look('network', network);
    expect(cells(moved, 'network', 'segment').west).toMatch(/^vlan 999 on provider-a \/ vlan 10\d on provider-a$/);
  });

  it('shows what of the children stands behind an external network', async () => {
    const id = await vi.waitFor(
      async () => {
        const { body } = await call('alice', 'GET', '/networks?router:external=true');
        expect(body.networks[0]?.subnets).toHaveLength(2);
        return body.networks[0].id as string;
      },
      { timeout: 20_000, interval: 50 },
    );
    const trace = await look('network', id);
    expect(trace.sections.map(({ kind }) => kind)).toEqual(['network', 'subnet', 'subnet', 'ports']);
    expect(cells(trace, 'network', 'state')).toEqual({ east: "the child's own", west: "the child's own" });
    expect(trace.differences).toBe(0);
  });

  it('refuses what the parent does not have', async () => {
    await expect(look('router', randomUUID())).rejects.toThrow('the parent has no router');
    await expect(printedTrace('subnet', 'x', { config: 'none' })).rejects.toThrow('name a router, network, port');
  });
});
