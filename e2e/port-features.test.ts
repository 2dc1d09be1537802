/**
 * What ports of servers have in either child: allowed address pairs, QoS, trunks with subports and port forwarding. Each
 * is looked at in the child itself, down to what its own Neutron tells the switch.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { servers } from './client/names.ts';
import { clear, furnish, type Furnished } from './harness/furnish.ts';
import { northbound } from './harness/ovn.ts';
import { parentServes } from './harness/parent.ts';
import { api, list, refusal } from './harness/rest.ts';
import { CHILDREN, stage } from './harness/stage.ts';
import { until } from './harness/until.ts';
import { boot, changeRouter, have, PATIENCE, patiently, remove } from './harness/wiring.ts';
import type { CloudCall } from '../src/openstack/contract.ts';

const NAME = 'e2e-features';
const RANGES: Readonly<Record<string, readonly [string, string]>> = {
  east: ['10.87.0.0/24', '10.87.1.0/24'],
  west: ['10.88.0.0/24', '10.88.1.0/24'],
};

interface Port {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly fixed_ips: readonly { readonly ip_address: string }[];
  readonly allowed_address_pairs: readonly { readonly ip_address: string; readonly mac_address: string }[];
  readonly qos_policy_id: string | null;
}

interface Trunk {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly sub_ports: readonly { readonly port_id: string; readonly segmentation_id: number }[];
}

let furniture: Furnished;
let external = '';

beforeAll(async () => {
  furniture = await furnish();
  external = await until('a subnet of each child', async () => {
    const query = { 'router:external': 'true', name: 'public' };
    const [found] = await list<{ id: string; subnets: string[] }>(
      api('tenant'),
      'network',
      '/networks',
      'networks',
      query,
    );
    return found?.subnets.length === CHILDREN.length && found.id;
  });
});

afterAll(async () => {
  await parentServes(stage);
  await clear();
});

type Who = 'admin' | 'tenant';

async function send<Answer>(who: Who, method: CloudCall['method'], path: string, body?: object): Promise<Answer> {
  return (await api(who).call<Answer>({ service: 'network', method, path, ...(body === undefined ? {} : { body }) }))
    .body;
}

async function make(who: Who, path: string, key: string, values: object): Promise<string> {
  return (await send<Record<string, { id: string }>>(who, 'POST', path, { [key]: values }))[key]?.id ?? '';
}

type Where = 'child1' | 'child2' | Who;

const found = <Item>(where: Where, path: string, collection: string, query: Record<string, string>): Promise<Item[]> =>
  list<Item>(api(where), 'network', path, collection, query);

async function first<Item>(...of: Parameters<typeof found>): Promise<Item> {
  return (await found<Item>(...of))[0] as Item;
}

describe.each(CHILDREN)('a server in $zone', ({ zone, cloud }) => {
  const name = `${NAME}-${zone}`;
  const [range = '', tagged_range = ''] = RANGES[zone] ?? [];
  let network = '';
  let subnet = '';
  let router = '';
  let port: Port;
  let server = '';

  const portIn = (id: string) => first<Port>(cloud, '/ports', 'ports', { name: id });
  const shown = () => first<Port>('tenant', '/ports', 'ports', { id: port.id });
  const update = (values: object) => send('tenant', 'PUT', `/ports/${port.id}`, { port: values });
  const isUp = () =>
    until(`${name} is ACTIVE`, async () => {
      const [one] = await servers('tenant', { name: `^${name}$` });
      if (one?.status === 'ERROR') throw new Error(JSON.stringify(one.fault));
      return one?.status === 'ACTIVE';
    });

  it('has a port', async () => {
    network = await have('tenant', 'networks', 'network', { name });
    subnet = await have('tenant', 'subnets', 'subnet', { name, network_id: network, ip_version: 4, cidr: range });
    const id = await make('tenant', '/ports', 'port', { name, network_id: network });
    port = await first<Port>('tenant', '/ports', 'ports', { id });
    server = await boot(furniture, name, zone, network, { networks: [{ port: id }] });
    await isUp();
    await until('the port is ACTIVE', async () => (await shown()).status === 'ACTIVE');
  });

  it('lets allowed address pairs through, and no longer when they go', async () => {
    const guard = async () => {
      const { id } = await portIn(port.id);
      return northbound(cloud, 'get', 'Logical_Switch_Port', id, 'port_security');
    };
    await update({ allowed_address_pairs: [{ ip_address: '192.168.250.0/24' }] });
    await until('the switch lets the pair through', async () => (await guard()).includes('192.168.250.0/24'));
    const there = await portIn(port.id);
    expect(there.allowed_address_pairs).toEqual((await shown()).allowed_address_pairs);
    await update({ allowed_address_pairs: [] });
    await until('the pair is gone', async () => !(await guard()).includes('192.168.250.0/24'));
  });

  it('is held to a QoS policy, which changes and goes', async () => {
    const policy = await make('admin', '/qos/policies', 'policy', { name, shared: true });
    const limits = `/qos/policies/${policy}/bandwidth_limit_rules`;
    const limit = { max_kbps: 2000, max_burst_kbps: 1600, direction: 'egress' };
    const rule = await make('admin', limits, 'bandwidth_limit_rule', limit);
    await update({ qos_policy_id: policy });
    const copy = await until('the copy has the policy', async () => (await portIn(port.id)).qos_policy_id ?? undefined);
    const rules = async () =>
      (await first<{ rules: object[] }>(cloud, '/qos/policies', 'policies', { id: copy })).rules;
    expect(await rules()).toMatchObject([{ type: 'bandwidth_limit', ...limit }]);
    const row = async () => {
      const { id } = await portIn(port.id);
      const rows = (await northbound(cloud, '--bare', '--columns=match,bandwidth', 'list', 'QoS')).split('\n\n');
      return rows.filter((text) => text.includes(`inport == "${id}"`)).join('\n');
    };
    await until('the switch holds it to the rate', async () => (await row()).includes('rate=2000'));
    await send('admin', 'PUT', `${limits}/${rule}`, { bandwidth_limit_rule: { max_kbps: 3000 } });
    await until('the switch holds it to another', async () => (await row()).includes('rate=3000'));
    await update({ qos_policy_id: null });
    await until('the switch holds it to none', async () => (await row()).trim() === '');
    expect((await portIn(port.id)).qos_policy_id).toBeNull();
    await send('admin', 'DELETE', `/qos/policies/${policy}`);
    await patiently('the child has no such policy', async () => {
      const left = await found(cloud, '/qos/policies', 'policies', { name: policy });
      return left.length === 0;
    });
  });

  it('forwards single ports of a floating IP', async () => {
    router = await have('tenant', 'routers', 'router', { name });
    await changeRouter(router, 'add', subnet);
    await send('tenant', 'PUT', `/routers/${router}`, { router: { external_gateway_info: { network_id: external } } });
    const target = { internal_port_id: port.id, internal_ip_address: port.fixed_ips[0]?.ip_address };
    // Made for the port, so that it is in the port's child, and untied from it.
    const wanted = { floating_network_id: external, port_id: port.id };
    const floating = await make('tenant', '/floatingips', 'floatingip', wanted);
    await send('tenant', 'PUT', `/floatingips/${floating}`, { floatingip: { port_id: null } });
    const path = `/floatingips/${floating}/port_forwardings`;
    const one = { ...target, internal_port: 22, external_port: 2222, protocol: 'tcp' };
    const made = await make('tenant', path, 'port_forwarding', one);
    expect(
      await refusal(api('tenant'), { service: 'network', method: 'POST', path, body: { port_forwarding: one } }),
    ).toMatchObject({ status: 400 });
    const address = (
      await first<{ floating_ip_address: string }>('tenant', '/floatingips', 'floatingips', { id: floating })
    ).floating_ip_address;
    const leads = async () =>
      [...(await northbound(cloud, '--bare', '--columns=vips', 'list', 'Load_Balancer')).matchAll(/\S+/g)]
        .map(([text]) => text.replaceAll(/["{},]/g, ''))
        .filter((text) => text.startsWith(`${address}:`));
    const to = `${port.fixed_ips[0]?.ip_address}`;
    await until('the router forwards it', async () => (await leads()).includes(`${address}:2222=${to}:22`), PATIENCE);
    await send('tenant', 'PUT', `${path}/${made}`, { port_forwarding: { external_port: 2223 } });
    await until('the router forwards another', async () => {
      expect(await leads()).toEqual([`${address}:2223=${to}:22`]);
      return true;
    });
    await send('tenant', 'DELETE', `${path}/${made}`);
    await until('the router forwards none', async () => (await leads()).length === 0);
    await send('tenant', 'DELETE', `/floatingips/${floating}`);
  });

  it('is the parent of a trunk, with subports that come and go', async () => {
    const inner = await have('tenant', 'networks', 'network', { name: `${name}-tagged` });
    const cidr = tagged_range;
    await have('tenant', 'subnets', 'subnet', { name: `${name}-tagged`, network_id: inner, ip_version: 4, cidr });
    const [one, other] = await Promise.all(
      [1, 2].map((at) => make('tenant', '/ports', 'port', { name: `${name}-sub-${at}`, network_id: inner })),
    );
    const sub = (port_id: string | undefined, segmentation_id: number) => ({
      port_id,
      segmentation_type: 'vlan',
      segmentation_id,
    });
    const trunk = await make('tenant', '/trunks', 'trunk', { name, port_id: port.id, sub_ports: [sub(one, 101)] });
    const copy = () => first<Trunk | undefined>(cloud, '/trunks', 'trunks', { name: trunk });
    const tags = async () => (await copy())?.sub_ports.map(({ segmentation_id }) => segmentation_id).sort();
    const is = (wanted: readonly number[]) =>
      until(`the trunk has ${wanted.join(' and ')}`, async () => {
        expect(await tags()).toEqual(wanted);
        return true;
      });
    await is([101]);
    await send('tenant', 'PUT', `/trunks/${trunk}/add_subports`, { sub_ports: [sub(other, 102)] });
    await is([101, 102]);
    await until('the trunk is ACTIVE', async () => {
      const { status } = await first<Trunk>('tenant', '/trunks', 'trunks', { id: trunk });
      return status === 'ACTIVE' || Promise.reject(new Error(status));
    });
    const child = await portIn(other ?? '');
    // The switch takes its frames from the parent port, by the tag.
    await until('the switch has the tag', async () => {
      const tag = await northbound(cloud, 'get', 'Logical_Switch_Port', child.id, 'tag', 'parent_name');
      const parent = await portIn(port.id);
      expect(tag.trim().split('\n')).toEqual(['102', `"${parent.id}"`]);
      return true;
    });
    await send('tenant', 'PUT', `/trunks/${trunk}/remove_subports`, { sub_ports: [{ port_id: one }] });
    await is([102]);
    await send('tenant', 'DELETE', `/trunks/${trunk}`);
    await patiently('the child has no trunk', async () => (await copy()) === undefined);
    for (const id of [one, other]) await remove('network', `/ports/${id}`);
  });

  it('leaves nothing of it', async () => {
    await remove('compute', `/servers/${server}`);
    await patiently('the server is gone', async () => (await servers('tenant', { name: `^${name}$` })).length === 0);
    await changeRouter(router, 'remove', subnet);
    await remove('network', `/routers/${router}`);
    await remove('network', `/ports/${port.id}`);
    await patiently(
      'the child has no port of it',
      async () => (await found(cloud, '/ports', 'ports', { name: port.id })).length === 0,
    );
  });
});
