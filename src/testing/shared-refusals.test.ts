/**
 * What an account that is no administrator cannot do in a child whose one project all tenants share: refused with the
 * reason when it is asked for, before anything is stored or sent. Where another child serves as well, that one does.
 */
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { login } from '../sim/testing.ts';
import type { TestAnswer } from './api.ts';
import { testParent } from './parent.ts';

const parent = await testParent({ shared: ['east'] });
const { call } = parent.api;
const east = parent.sims.east as NonNullable<typeof parent.sims.east>;
const COMPUTE = '/compute/v2.1';
const NETWORK = '/network/v2.0';
const VOLUME = `/volume/v3/${parent.tenants.admin.project_id}`;
const NO_QOS =
  'the availability zone east cannot take part in quality of service: the cloud below does not let QoS policies be made.';
const ADMINISTRATORS = 'the cloud below lets only its own administrators do that.';

afterAll(() => parent.stop());

async function ask(who: string, method: string, path: string, body?: unknown): Promise<TestAnswer['body']> {
  const answer = await call(who, method, path, body);
  expect(answer.status, `${method} ${path} as ${who}: ${answer.text}`).toBeLessThan(300);
  return answer.body;
}

/** The words of a request that must be refused with this status. */
async function refused(status: number, who: string, method: string, path: string, body?: unknown): Promise<string> {
  const answer = await call(who, method, path, body);
  expect(answer.status, `${method} ${path} as ${who}: ${answer.text}`).toBe(status);
  return answer.text;
}

let policy = '';
let flavor = '';
let image = '';

const network = async (name: string, more: object = {}): Promise<string> => {
  const { id } = (await ask('alice', 'POST', `${NETWORK}/networks`, { network: { name, ...more } })).network;
  const subnet = { network_id: id, ip_version: 4, cidr: '10.3.0.0/24' };
  await ask('alice', 'POST', `${NETWORK}/subnets`, { subnet });
  return id;
};
const hinted = (zone: string) => ({ availability_zone_hints: [zone] });
const server = (networkId: string, more: object = {}) => ({
  server: { name: 'vm', imageRef: image, flavorRef: flavor, networks: [{ uuid: networkId }], ...more },
});
const boot = async (networkId: string, more: object = {}): Promise<string> => {
  const { id } = (await ask('alice', 'POST', `${COMPUTE}/servers`, server(networkId, more))).server;
  await parent.eventually(async () => {
    const { status, fault } = (await ask('alice', 'GET', `${COMPUTE}/servers/${id}`)).server;
    if (status === 'ERROR') throw new Error(JSON.stringify(fault));
    return status === 'ACTIVE';
  }, 20_000);
  return id;
};

beforeAll(async () => {
  const operator = await login(east);
  await operator.ask('compute', 'POST', '/flavors', { flavor: { name: 'm1', ram: 512, vcpus: 1, disk: 1 } });
  const size = { name: 'one', ram: 512, vcpus: 1, disk: 1 };
  flavor = (await ask('admin', 'POST', `${COMPUTE}/flavors`, { flavor: size })).flavor.id;
  image = (await ask('alice', 'POST', '/image/v2/images', { name: 'i', disk_format: 'raw', container_format: 'bare' }))
    .id;
  const data = await parent.server.inject({
    method: 'PUT',
    url: `/image/v2/images/${image}/file`,
    headers: { 'x-auth-token': parent.tokens.alice ?? '', 'content-type': 'application/octet-stream' },
    payload: Buffer.from('data'),
  });
  expect(data.statusCode).toBe(204);
  const wanted = { policy: { name: 'slow', shared: true } };
  policy = (await ask('admin', 'POST', `${NETWORK}/qos/policies`, wanted)).policy.id;
  const rule = { bandwidth_limit_rule: { max_kbps: 1000 } };
  await ask('admin', 'POST', `${NETWORK}/qos/policies/${policy}/bandwidth_limit_rules`, rule);
  await parent.eventually(async () => {
    const known = await sql<{ n: number }>`select count(*)::int as n from child_abilities a join children c
      on c.name = a.child where c.is_admin is not null`.execute(parent.db.query);
    return known.rows[0]?.n === 2;
  });
});

describe('a QoS policy', () => {
  it('is refused on a network that is to be there, and on a port or network that is', async () => {
    const wanted = { network: { name: 'n', qos_policy_id: policy, ...hinted('east') } };
    expect(await refused(409, 'alice', 'POST', `${NETWORK}/networks`, wanted)).toContain(NO_QOS);
    const id = await network('east', hinted('east'));
    const port = { network_id: id, qos_policy_id: policy };
    expect(await refused(409, 'alice', 'POST', `${NETWORK}/ports`, { port })).toContain(NO_QOS);
    const plain = (await ask('alice', 'POST', `${NETWORK}/ports`, { port: { network_id: id } })).port.id;
    const change = { qos_policy_id: policy };
    expect(await refused(409, 'alice', 'PUT', `${NETWORK}/ports/${plain}`, { port: change })).toContain(NO_QOS);
    expect(await refused(409, 'alice', 'PUT', `${NETWORK}/networks/${id}`, { network: change })).toContain(NO_QOS);
    // What says nothing new of it is no wish for one.
    await ask('alice', 'PUT', `${NETWORK}/networks/${id}`, { network: { name: 'renamed', qos_policy_id: null } });
    await ask('alice', 'PUT', `${NETWORK}/ports/${plain}`, { port: { name: 'renamed', qos_policy_id: null } });
    await ask('alice', 'DELETE', `${NETWORK}/ports/${plain}`);
    await ask('alice', 'DELETE', `${NETWORK}/networks/${id}`);
  });

  it('leads a server to a child that can have it, and keeps it from one that cannot', async () => {
    const id = await network('anywhere', { qos_policy_id: policy });
    const there = { availability_zone: 'east' };
    expect(await refused(409, 'alice', 'POST', `${COMPUTE}/servers`, server(id, there))).toContain(NO_QOS);
    expect((await ask('alice', 'GET', `${COMPUTE}/servers`)).servers).toEqual([]);
    const made = await boot(id);
    const { server: shown } = await ask('alice', 'GET', `${COMPUTE}/servers/${made}`);
    expect(shown['OS-EXT-AZ:availability_zone']).toBe('west');
    await ask('alice', 'DELETE', `${COMPUTE}/servers/${made}`);
    await parent.eventually(async () => (await call('alice', 'GET', `${COMPUTE}/servers/${made}`)).status === 404);
    await ask('alice', 'DELETE', `${NETWORK}/networks/${id}`);
  });

  it('of a port keeps it from servers there as well', async () => {
    const id = await network('anywhere');
    const wanted = { network_id: id, qos_policy_id: policy };
    const port = (await ask('alice', 'POST', `${NETWORK}/ports`, { port: wanted })).port.id;
    const there = { availability_zone: 'east', networks: [{ port }] };
    expect(await refused(409, 'alice', 'POST', `${COMPUTE}/servers`, server(id, there))).toContain(NO_QOS);
    // The same port on a server that is there already.
    const other = await boot(await network('other', hinted('east')), { availability_zone: 'east' });
    const attach = { interfaceAttachment: { port_id: port } };
    const path = `${COMPUTE}/servers/${other}/os-interface`;
    expect(await refused(409, 'alice', 'POST', path, attach)).toContain(NO_QOS);
    expect((await ask('alice', 'GET', `${NETWORK}/ports/${port}`)).port.device_id).toBe('');
    // And on one that a trunk brings there.
    const near = { network_id: (await ask('alice', 'GET', `${NETWORK}/networks?name=other`)).networks[0].id };
    const parentPort = (await ask('alice', 'POST', `${NETWORK}/ports`, { port: near })).port.id;
    const sub = { port_id: port, segmentation_type: 'vlan', segmentation_id: 7 };
    const trunk = { port_id: parentPort, sub_ports: [sub] };
    expect(await refused(409, 'alice', 'POST', `${NETWORK}/trunks`, { trunk })).toContain(NO_QOS);
    for (const one of [port, parentPort]) await ask('alice', 'DELETE', `${NETWORK}/ports/${one}`);
    await ask('alice', 'DELETE', `${COMPUTE}/servers/${other}`);
  });
});

it('refuses a gateway without SNAT, or with a QoS policy, to a router that is there', async () => {
  const [external] = (await ask('admin', 'GET', `${NETWORK}/networks?router:external=true`)).networks;
  const id = await network('routed', hinted('east'));
  const [subnet] = (await ask('alice', 'GET', `${NETWORK}/subnets?network_id=${id}`)).subnets;
  const router = (await ask('alice', 'POST', `${NETWORK}/routers`, { router: { name: 'r' } })).router.id;
  const path = `${NETWORK}/routers/${router}`;
  await ask('alice', 'PUT', `${path}/add_router_interface`, { subnet_id: subnet.id });
  const gateway = (more: object) => ({ router: { external_gateway_info: { network_id: external.id, ...more } } });
  const NO_SNAT =
    'the availability zone east cannot take part in gateways without SNAT: the cloud below does not let SNAT be turned off.';
  expect(await refused(409, 'admin', 'PUT', path, gateway({ enable_snat: false }))).toContain(NO_SNAT);
  expect(await refused(409, 'admin', 'PUT', path, gateway({ qos_policy_id: policy }))).toContain(NO_QOS);
  await ask('alice', 'PUT', path, gateway({}));
  expect(await refused(409, 'admin', 'PUT', path, gateway({ enable_snat: false }))).toContain(NO_SNAT);
  await ask('alice', 'PUT', `${path}/remove_router_interface`, { subnet_id: subnet.id });
  // Nowhere, it may be without; and then it does not come to be there.
  await ask('admin', 'PUT', path, gateway({ enable_snat: false }));
  const there = await refused(409, 'alice', 'PUT', `${path}/add_router_interface`, { subnet_id: subnet.id });
  expect(there).toContain(NO_SNAT);
  await ask('alice', 'DELETE', path);
});

it('refuses external networks that are made here where they would be there, and leads them elsewhere', async () => {
  const NO_EXTERNAL =
    'the availability zone east cannot take part in external networks that are made here: the cloud below does not let external networks be made.';
  const outside = (more: object) => ({ network: { 'router:external': true, ...more } });
  expect(await refused(409, 'admin', 'POST', `${NETWORK}/networks`, outside(hinted('east')))).toContain(NO_EXTERNAL);
  const own = await network('inside', hinted('east'));
  expect(await refused(409, 'admin', 'PUT', `${NETWORK}/networks/${own}`, outside({}))).toContain(NO_EXTERNAL);
  // One that is nowhere yet does not come to be there for a router's sake.
  const { id } = (await ask('admin', 'POST', `${NETWORK}/networks`, outside({}))).network;
  const subnet = { network_id: id, cidr: '192.0.2.0/24', ip_version: 4, enable_dhcp: false };
  await ask('admin', 'POST', `${NETWORK}/subnets`, { subnet });
  const router = (await ask('alice', 'POST', `${NETWORK}/routers`, { router: { name: 'r' } })).router.id;
  const path = `${NETWORK}/routers/${router}`;
  const gateway = { router: { external_gateway_info: { network_id: id } } };
  const [near] = (await ask('alice', 'GET', `${NETWORK}/subnets?network_id=${own}`)).subnets;
  await ask('alice', 'PUT', `${path}/add_router_interface`, { subnet_id: near.id });
  expect(await refused(409, 'alice', 'PUT', path, gateway)).toContain(NO_EXTERNAL);
  await ask('alice', 'PUT', `${path}/remove_router_interface`, { subnet_id: near.id });
  await ask('alice', 'PUT', path, gateway);
  expect(await refused(409, 'alice', 'PUT', `${path}/add_router_interface`, { subnet_id: near.id })).toContain(
    NO_EXTERNAL,
  );
  // In the other child it is made, and led out by.
  const far = await network('elsewhere', hinted('west'));
  const [farSubnet] = (await ask('alice', 'GET', `${NETWORK}/subnets?network_id=${far}`)).subnets;
  await ask('alice', 'PUT', `${path}/add_router_interface`, { subnet_id: farSubnet.id });
  const west = parent.sims.west as NonNullable<typeof parent.sims.west>;
  const copy = () => [...west.state.networks.values()].find(({ name }) => name === id);
  await parent.eventually(async () =>
    [...west.state.routers.values()].some((one) => {
      const out = one['external_gateway_info'] as { network_id: string } | null;
      return one['name'] === router && out?.network_id === copy()?.id && out !== null;
    }),
  );
  expect([...east.state.networks.values()].some(({ name }) => name === id)).toBe(false);
  await ask('alice', 'PUT', `${path}/remove_router_interface`, { subnet_id: farSubnet.id });
  await ask('alice', 'DELETE', path);
});

describe('what only administrators of the child may do', () => {
  it('to a server is refused, and leaves it as it is', async () => {
    const id = await boot(await network('own', hinted('east')), { availability_zone: 'east' });
    const path = `${COMPUTE}/servers/${id}/action`;
    for (const action of [
      { migrate: null },
      { 'os-migrateLive': { host: null, block_migration: false, disk_over_commit: false } },
      { 'os-resetState': { state: 'error' } },
      { injectNetworkInfo: null },
    ]) {
      expect(await refused(409, 'admin', 'POST', path, action)).toContain(ADMINISTRATORS);
    }
    const shown = (await ask('admin', 'GET', `${COMPUTE}/servers/${id}`)).server;
    expect([shown.status, shown['OS-EXT-STS:task_state']]).toEqual(['ACTIVE', null]);
    const actions = (await ask('admin', 'GET', `${COMPUTE}/servers/${id}/os-instance-actions`)).instanceActions;
    expect(actions.map(({ action }: { action: string }) => action)).toEqual(['create']);
    const event = { events: [{ name: 'network-changed', server_uuid: id }] };
    const answer = await ask('admin', 'POST', `${COMPUTE}/os-server-external-events`, event);
    expect(answer.events).toEqual([{ ...event.events[0], status: 'failed', code: 422 }]);
    await ask('alice', 'DELETE', `${COMPUTE}/servers/${id}`);
  });

  it('to a volume is refused, and a forced delete is a plain one', async () => {
    const wanted = { volume: { size: 1, availability_zone: 'east' } };
    const { id } = (await ask('admin', 'POST', `${VOLUME}/volumes`, wanted)).volume;
    const status = async () => (await call('admin', 'GET', `${VOLUME}/volumes/${id}`)).body.volume?.status;
    await parent.eventually(async () => (await status()) === 'available');
    const path = `${VOLUME}/volumes/${id}/action`;
    const reset = { 'os-reset_status': { status: 'error' } };
    expect(await refused(400, 'admin', 'POST', path, reset)).toContain(ADMINISTRATORS);
    expect(await status()).toBe('available');
    await ask('admin', 'POST', path, { 'os-force_delete': null });
    await parent.eventually(async () => (await status()) === undefined);
    expect(east.state.volumes.size).toBe(0);
  });
});

it('refuses a floating IP with the reason where the child shows no subnet of its external network either', async () => {
  const alone = await testParent({ children: ['east'], shared: ['east'] });
  try {
    const id = await alone.eventually(async () => {
      const known = await sql`select 1 from child_abilities`.execute(alone.db.query);
      const { body } = await alone.api.call('alice', 'GET', `${NETWORK}/networks?router:external=true`);
      return known.rows.length > 0 && body.networks[0]?.id;
    });
    const floatingip = { floating_network_id: id };
    const answer = await alone.api.call('alice', 'POST', `${NETWORK}/floatingips`, { floatingip });
    expect(answer.status, answer.text).toBe(409);
    expect(answer.text).toContain('the cloud below does not let addresses be chosen');
  } finally {
    await alone.stop();
  }
});
