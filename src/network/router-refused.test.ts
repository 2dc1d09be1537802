/** A router that a child refuses to have as it is asked for: the router says so, and nobody goes on asking. */
import { afterEach, expect, it } from 'vitest';
import { sql } from 'kysely';
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
  west,
} from './edge-testing.ts';

afterEach(() => {
  for (const cloud of [east, west]) cloud.faults.clear();
});

const statusOf = async (id: string): Promise<string> =>
  (await call('alice', 'GET', `/routers/${id}`)).body.router.status;
const words = 'rule:update_router:external_gateway_info:enable_snat is disallowed by policy';
const forbidden = { status: 403, body: { NeutronError: { type: 'PolicyNotAuthorized', message: words, detail: '' } } };

async function routed(cidr: string, child: 'east' | 'west') {
  const tenant = await tenantSubnet(cidr);
  await bind(tenant.network_id, child);
  const router = await newRouter({});
  const added = await call('alice', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id: tenant.subnet_id });
  expect(added.status).toBe(200);
  const sim = child === 'east' ? east : west;
  await eventually(() => expect(routersIn(sim, router)).toHaveLength(1));
  return { router, tenant };
}

it('shows ERROR where a child forbids what its gateway is to be, once, until it is to be otherwise', async () => {
  const { router } = await routed('10.81.0.0/24', 'east');
  await eventually(async () => {
    const { rows } = await sql`select 1 from work where resource_id = ${router}`.execute(db.query);
    expect(rows).toEqual([]);
  });
  const refusals = east.faults.inject({
    match: { method: 'PUT', service: 'network', path: /^\/routers\/[^/]+$/ },
    respond: forbidden,
  });
  const network_id = (await external()).id;
  const asked = { router: { external_gateway_info: { network_id, enable_snat: false } } };
  expect((await call('admin', 'PUT', `/routers/${router}`, asked)).status).toBe(200);
  await eventually(async () => expect(await statusOf(router)).toBe('ERROR'));
  const { rows } = await sql<{ error: string }>`select error from replicas where resource_id = ${router}`.execute(
    db.query,
  );
  expect(rows[0]?.error).toBe(words);
  const times = refusals.hits();
  cascade.poke();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(refusals.hits()).toBe(times);
  east.faults.clear();
  const plain = { router: { external_gateway_info: { network_id, enable_snat: true } } };
  expect((await call('admin', 'PUT', `/routers/${router}`, plain)).status).toBe(200);
  await eventually(async () => expect(await statusOf(router)).toBe('ACTIVE'));
  expect(routersIn(east, router)[0]?.['external_gateway_info']).toMatchObject({ enable_snat: true });
});
