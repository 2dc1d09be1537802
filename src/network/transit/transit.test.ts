import { afterEach, describe, expect, it } from 'vitest';
import { context, eventually, transitTest } from './testing.ts';

const { call, make, db, cascade, serverNetworks, sim, network, boot, add, remove, shown, joined, clear } =
  await transitTest();

afterEach(async () => {
  for (const name of ['east', 'west']) {
    sim(name).faults.clear();
    await sim(name).start();
  }
});

describe('a router over two children', () => {
  it('has a copy in each, joined by a transit that tenants do not see', async () => {
    const router = (await make('alice', 'router', { name: 'both' })).id;
    const one = await network('10.1.0.0/24', 'east');
    const two = await network('10.2.0.0/24', 'west');
    expect((await add(router, one.subnet)).status).toBe(200);
    expect((await add(router, two.subnet)).status).toBe(200);
    await joined(router, { east: one.cidr, west: two.cidr });
    const mirrored = [...sim('east').state.projects.values()].find(({ name }) => name === 'p1');
    expect(shown('east', router)).toMatchObject({ interfaces: 2, project_id: mirrored?.id });
    const seen = async (who: string, path: string) =>
      Object.values((await call(who, 'GET', path)).body as Record<string, { name: string }[]>)[0]?.filter(({ name }) =>
        name.startsWith('transit'),
      ).length;
    for (const path of ['/networks', '/subnets', '/ports']) {
      expect([path, await seen('alice', path), await seen('admin', path)]).toEqual([path, 0, 1]);
    }
    const used = (await call('alice', 'GET', '/quotas/p1/details.json')).body.quota;
    expect([used.network.used, used.subnet.used]).toEqual([2, 2]);
    await clear(router, one, two);
  });

  it('follows its networks as they come to be in children, and goes from those it has left', async () => {
    const router = (await make('alice', 'router', {})).id;
    const [one, two] = [await network('10.1.0.0/24'), await network('10.2.0.0/24')];
    await add(router, one.subnet);
    await add(router, two.subnet);
    expect(shown('east', router)).toBeUndefined();
    const first = await boot('east', one.id);
    await eventually(() => expect(shown('east', router)?.interfaces).toBe(1));
    const second = await boot('west', two.id);
    await joined(router, { east: one.cidr, west: two.cidr });
    expect((await remove(router, two.subnet)).status).toBe(200);
    await eventually(() => {
      expect(shown('west', router)).toBeUndefined();
      expect(shown('east', router)).toMatchObject({ routes: [], interfaces: 1 });
    });
    expect((await add(router, two.subnet)).status).toBe(200);
    await joined(router, { east: one.cidr, west: two.cidr });
    await clear(router, { ...one, server: first }, { ...two, server: second });
  });

  it('leads tenants’ own routes to where their next hop is, and IPv6 too', async () => {
    const router = (await make('alice', 'router', {})).id;
    const one = await network('10.1.0.0/24', 'east');
    const two = await network('10.2.0.0/24', 'west');
    const six = await network('2001:db8:6::/64', 'west');
    for (const { subnet } of [one, two, six]) expect((await add(router, subnet)).status).toBe(200);
    const routes = [{ destination: '192.168.0.0/16', nexthop: '10.2.0.77' }];
    expect((await call('alice', 'PUT', `/routers/${router}/add_extraroutes`, { router: { routes } })).status).toBe(200);
    await eventually(() => {
      const [east, west] = [shown('east', router), shown('west', router)];
      expect(west?.routes).toContainEqual(routes[0]);
      const by = Object.fromEntries((east?.routes ?? []).map(({ destination, nexthop }) => [destination, nexthop]));
      expect(Object.keys(by).sort()).toEqual(['10.2.0.0/24', '192.168.0.0/16', '2001:db8:6::/64']);
      expect(by['192.168.0.0/16']).toBe(by['10.2.0.0/24']);
      expect(by['2001:db8:6::/64']).toMatch(/^fd/);
    });
    const none = { router: { routes } };
    expect((await call('alice', 'PUT', `/routers/${router}/remove_extraroutes`, none)).status).toBe(200);
    await clear(router, one, two, six);
  });

  it('is refused where nothing joins the children, before anything is made', async () => {
    const router = (await make('alice', 'router', {})).id;
    const one = await network('10.1.0.0/24', 'east');
    const far = await network('10.3.0.0/24', 'alone');
    const free = await network('10.4.0.0/24');
    expect((await add(router, one.subnet)).status).toBe(200);
    const refused = await add(router, far.subnet);
    expect([refused.status, refused.body.NeutronError.type]).toEqual([409, 'RouterAvailabilityZonesNotJoined']);
    expect(refused.body.NeutronError.message).toContain('alone, east');
    expect((await add(router, free.subnet)).status).toBe(200);
    const resolved = await serverNetworks.resolve(db.query, context, [{ network_id: free.id }]);
    expect([...(resolved.children ?? [])].sort()).toEqual(['east', 'west']);
    await expect(boot('alone', free.id)).rejects.toMatchObject({ status: 409 });
    expect((await call('alice', 'GET', `/networks/${free.id}`)).body.network.availability_zones).toEqual([]);
    await clear(router, one, far, free);
  });

  it('is refused more routes than a child can hold, before anything is made', async () => {
    const router = (await make('alice', 'router', {})).id;
    const one = await network('10.1.0.0/24', 'east');
    const many = await network('10.2.0.0/24', 'west');
    await add(router, one.subnet);
    for (let at = 0; at < 30; at += 1) {
      const { id } = await make('alice', 'subnet', { network_id: many.id, ip_version: 4, cidr: `10.9.${at}.0/24` });
      expect((await add(router, id)).status).toBe(200);
    }
    const refused = await add(router, many.subnet);
    expect([refused.status, refused.body.NeutronError.type]).toEqual([400, 'RoutesExhausted']);
    const { body } = await call('alice', 'GET', `/subnets?network_id=${many.id}`);
    for (const { id } of body.subnets) await remove(router, id);
    await clear(router, one, many);
  });

  it('takes another VLAN where a child has something else on it, and moves all copies', async () => {
    const used = (id: number) => ({
      name: `other-${id}`,
      'provider:network_type': 'vlan',
      'provider:physical_network': 'physnet1',
      'provider:segmentation_id': id,
    });
    const { api } = cascade.context('west');
    const others: string[] = [];
    for (const id of [150, 151, 152]) {
      const body = { network: used(id) };
      const made = await api.call<{ network: { id: string } }>({
        service: 'network',
        method: 'POST',
        path: '/networks',
        body,
      });
      others.push(made.body.network.id);
    }
    const router = (await make('alice', 'router', {})).id;
    const one = await network('10.1.0.0/24', 'east');
    const two = await network('10.2.0.0/24', 'west');
    await add(router, one.subnet);
    await add(router, two.subnet);
    expect(await joined(router, { east: one.cidr, west: two.cidr })).toBe(153);
    for (const id of others) sim('west').state.networks.delete(id);
    await clear(router, one, two);
  });

  it('comes to be whole when a child is back that was away, and keeps clear of it until then', async () => {
    const router = (await make('alice', 'router', {})).id;
    const one = await network('10.1.0.0/24', 'east');
    const two = await network('10.2.0.0/24', 'west');
    await add(router, one.subnet);
    await eventually(() => expect(shown('east', router)?.interfaces).toBe(1));
    await sim('west').stop();
    expect((await add(router, two.subnet)).status).toBe(200);
    await eventually(() =>
      expect(shown('east', router)?.routes.map(({ destination }) => destination)).toEqual([two.cidr]),
    );
    await sim('west').start();
    await joined(router, { east: one.cidr, west: two.cidr });
    await clear(router, one, two);
  });
});
