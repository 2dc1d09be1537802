import { sql } from 'kysely';
import { expect, it } from 'vitest';
import type { SimCloud } from '../sim/cloud.ts';
import {
  bind,
  call,
  cascade,
  db,
  east,
  eventually,
  external,
  newRouter,
  routersIn,
  tenantSubnet,
  type,
  west,
} from './edge-testing.ts';
import { externalNetworkFeed } from './external-network-feed.ts';

const copyIn = (sim: SimCloud, id: string) => [...sim.state.networks.values()].find(({ name }) => name === id);

/** An external network that the parent's administrator makes, with one subnet. */
async function made(cidr: string) {
  const { status, body } = await call('admin', 'POST', '/networks', { network: { 'router:external': true } });
  expect(status).toBe(201);
  const id: string = body.network.id;
  const subnet = { network_id: id, cidr, ip_version: 4, enable_dhcp: false };
  const { body: second } = await call('admin', 'POST', '/subnets', { subnet });
  return { id, subnet_id: second.subnet.id as string };
}

const floating = (floating_network_id: string, more: object = {}) =>
  call('alice', 'POST', '/floatingips', { floatingip: { floating_network_id, ...more } });
const childOf = async (id: string) =>
  (await sql<{ child: string | null }>`select child from networks where id = ${id}`.execute(db.query)).rows[0]?.child;

it('an external network made here comes to live in the child where it is first used', async () => {
  const { id, subnet_id } = await made('192.0.2.0/24');
  const answer = await floating(id);
  expect(answer.status).toBe(201);
  expect(answer.body.floatingip).toMatchObject({ floating_network_id: id, port_id: null });
  const child = await childOf(id);
  const [here, there] = child === 'east' ? [east, west] : [west, east];
  await eventually(async () => {
    const copies = [...here.state.floatingips.values()];
    const mark = `headwater:${answer.body.floatingip.id}`;
    expect(copies.find(({ description }) => description === mark)).toMatchObject({
      floating_network_id: copyIn(here, id)?.id,
      floating_ip_address: answer.body.floatingip.floating_ip_address,
    });
  });
  expect(copyIn(here, id)).toMatchObject({ 'router:external': true });
  expect(copyIn(there, id)).toBeUndefined();
  // The feed does not take the copy for one of the child's own.
  await externalNetworkFeed(db, cascade).round(cascade.context(child ?? ''), undefined);
  const listed = await call('admin', 'GET', '/networks?router:external=true');
  expect(listed.body.networks.map((one: { id: string }) => one.id).sort()).toEqual([id, await publicId()].sort());
  expect((await call('admin', 'DELETE', `/networks/${id}`)).status).toBe(204);
  expect((await call('alice', 'GET', `/floatingips/${answer.body.floatingip.id}`)).status).toBe(404);
  const left = await sql`select 1 from ip_allocations where subnet_id = ${subnet_id}`.execute(db.query);
  expect(left.rows).toEqual([]);
  await eventually(async () => expect(copyIn(here, id)).toBeUndefined());
  await external();
});

const publicId = async () => {
  const { body } = await call('admin', 'GET', '/networks?name=public');
  return body.networks[0].id as string;
};

it('a router leads out by it in the child that they are both in, and keeps it from going', async () => {
  const { id } = await made('198.51.100.0/24');
  const tenant = await tenantSubnet('10.71.0.0/24');
  const router = await newRouter({ external_gateway_info: { network_id: id } });
  await call('alice', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id: tenant.subnet_id });
  expect(await childOf(id)).toBeNull();
  await bind(tenant.network_id, 'west');
  cascade.poke();
  const { body } = await call('alice', 'GET', `/routers/${router}`);
  await eventually(async () => {
    expect(routersIn(west, router)[0]?.['external_gateway_info']).toMatchObject({
      network_id: copyIn(west, id)?.id,
      external_fixed_ips: [{ ip_address: body.router.external_gateway_info.external_fixed_ips[0].ip_address }],
    });
  });
  expect(await childOf(id)).toBe('west');
  const inside = await call('admin', 'PUT', `/networks/${id}`, { network: { 'router:external': false } });
  expect(type(inside)).toBe('ExternalNetworkInUse');
  const port = { network_id: tenant.network_id };
  const made_port = (await call('alice', 'POST', '/ports', { port })).body.port.id;
  const tied = await floating(id, { port_id: made_port });
  expect(tied.status).toBe(201);
  expect(type(await call('admin', 'DELETE', `/networks/${id}`))).toBe('NetworkInUse');
  for (const path of [`/floatingips/${tied.body.floatingip.id}`, `/ports/${made_port}`]) {
    expect((await call('alice', 'DELETE', path)).status).toBe(204);
  }
  await call('alice', 'PUT', `/routers/${router}`, { router: { external_gateway_info: null } });
  expect((await call('admin', 'DELETE', `/networks/${id}`)).status).toBe(204);
  await eventually(async () => expect(copyIn(west, id)).toBeUndefined());
});
