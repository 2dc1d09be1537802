import { afterAll, describe, expect, it } from 'vitest';
import { computeTest } from '../testing.ts';

const test = await computeTest({ east: { 'east-1': 'nova' } }, { projectExists: async (_query, id) => id !== 'ghost' });
const { call, cascade, sims } = test;
afterAll(() => test.close());

const small = { name: 'small', ram: 512, vcpus: 1, disk: 1 };
const make = (flavor: object, minor?: number) => call('admin', 'POST', '/flavors', { flavor }, minor);

describe('flavors', () => {
  it('are made by admins alone, with the id that is given or one of their own', async () => {
    expect((await call('alice', 'POST', '/flavors', { flavor: small })).status).toBe(403);
    const made = await make({ ...small, id: 'one', description: 'first' });
    expect(made.status).toBe(200);
    expect(made.body.flavor).toEqual({
      id: 'one',
      name: 'small',
      ram: 512,
      vcpus: 1,
      disk: 1,
      swap: 0,
      rxtx_factor: 1,
      description: 'first',
      extra_specs: {},
      'OS-FLV-EXT-DATA:ephemeral': 0,
      'OS-FLV-DISABLED:disabled': false,
      'os-flavor-access:is_public': true,
      links: [
        { rel: 'self', href: 'http://parent/compute/v2.1/flavors/one' },
        { rel: 'bookmark', href: 'http://parent/compute/flavors/one' },
      ],
    });
    const other = await make({ ...small, name: 'other', ram: '1024' }, 1);
    expect(other.body.flavor).toMatchObject({ ram: 1024, swap: '', id: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    expect(other.body.flavor).not.toHaveProperty('description');
    expect(other.body.flavor).not.toHaveProperty('extra_specs');
  });

  it('refuse ids and names that are taken, and sizes that make no sense', async () => {
    expect((await make({ ...small, id: 'one', name: 'new' })).body.conflictingRequest.message).toBe(
      'Flavor with ID one already exists.',
    );
    const named = await make(small);
    expect([named.status, named.body.conflictingRequest.message]).toEqual([
      409,
      'Flavor with name small already exists.',
    ]);
    for (const wrong of [
      { ram: 0 },
      { vcpus: -1 },
      { disk: 'x' },
      { name: ' pad' },
      { id: ' x' },
      { rxtx_factor: 0 },
    ]) {
      expect((await make({ ...small, name: 'wrong', ...wrong })).status, JSON.stringify(wrong)).toBe(400);
    }
    expect((await make({ ...small, name: 'n', description: 'x' }, 54)).status).toBe(400);
  });

  it('are listed by id, filtered by size, in pages', async () => {
    await make({ ...small, id: 'two', name: 'large', ram: 4096, disk: 40 });
    const { body } = await call('alice', 'GET', '/flavors?limit=1&minRam=512');
    expect(body.flavors).toHaveLength(1);
    expect(Object.keys(body.flavors[0]).sort()).toEqual(['description', 'id', 'links', 'name']);
    const next = new URL(body.flavors_links[0].href);
    const page = await call('alice', 'GET', `/flavors/detail?${next.searchParams.toString()}`);
    expect(page.body.flavors).toHaveLength(1);
    expect(page.body.flavors[0].id).not.toBe(body.flavors[0].id);
    const big = await call('alice', 'GET', '/flavors/detail?minDisk=10&sort_key=memory_mb&sort_dir=desc');
    expect(big.body.flavors.map(({ id }: { id: string }) => id)).toEqual(['two']);
    const sorted = await call('alice', 'GET', '/flavors/detail?sort_key=memory_mb');
    expect(sorted.body.flavors.map(({ ram }: { ram: number }) => ram)).toEqual([512, 1024, 4096]);
    expect((await call('alice', 'GET', '/flavors?sort_key=description')).body.flavors).toHaveLength(3);
    expect((await call('alice', 'GET', '/flavors?sort_key=nonsense')).status).toBe(400);
    expect((await call('alice', 'GET', '/flavors?minRam=x')).body.badRequest.message).toBe('Invalid minRam filter [x]');
    expect((await call('alice', 'GET', '/flavors?marker=none')).body.badRequest.message).toBe(
      'marker [none] not found',
    );
    expect((await call('alice', 'GET', '/flavors?bogus=1', undefined, 75)).status).toBe(400);
    expect((await call('alice', 'GET', '/flavors?bogus=1', undefined, 74)).status).toBe(200);
  });

  it('that are private are seen by the projects they were given to', async () => {
    await make({ ...small, id: 'secret', name: 'secret', 'os-flavor-access:is_public': false });
    const missing = await call('alice', 'GET', '/flavors/secret');
    expect([missing.status, missing.body.itemNotFound.message]).toEqual([404, 'Flavor secret could not be found.']);
    const ids = async (who: string, query = '') =>
      (await call(who, 'GET', `/flavors${query}`)).body.flavors.map(({ id }: { id: string }) => id);
    expect(await ids('admin')).not.toContain('secret');
    expect(await ids('admin', '?is_public=None')).toContain('secret');
    expect(await ids('admin', '?is_public=false')).toEqual(['secret']);
    const give = (tenant: string, action = 'addTenantAccess', id = 'secret') =>
      call('admin', 'POST', `/flavors/${id}/action`, { [action]: { tenant } });
    expect((await give('p1')).body).toEqual({ flavor_access: [{ flavor_id: 'secret', tenant_id: 'p1' }] });
    expect((await give('p1')).status).toBe(409);
    expect((await give('ghost')).body.badRequest.message).toBe('Project ID ghost is not a valid project.');
    expect((await give('p1', 'addTenantAccess', 'one')).status).toBe(409);
    expect(await ids('alice')).toContain('secret');
    expect(await ids('bob')).not.toContain('secret');
    expect((await call('alice', 'POST', '/flavors/secret/action', { addTenantAccess: { tenant: 'p2' } })).status).toBe(
      403,
    );
    expect((await give('p1', 'removeTenantAccess')).body).toEqual({ flavor_access: [] });
    expect((await give('p1', 'removeTenantAccess')).status).toBe(404);
    expect((await call('admin', 'GET', '/flavors/one/os-flavor-access')).status).toBe(404);
  });

  it('carry extra specs, and descriptions from 2.55', async () => {
    const path = '/flavors/one/os-extra_specs';
    const given = { extra_specs: { 'hw:cpu_policy': 'dedicated', weight: 3 } };
    expect((await call('admin', 'POST', path, given)).body).toEqual(given);
    expect((await call('rita', 'GET', path)).body).toEqual({
      extra_specs: { 'hw:cpu_policy': 'dedicated', weight: '3' },
    });
    expect((await call('admin', 'PUT', `${path}/weight`, { other: '1' })).status).toBe(400);
    expect((await call('admin', 'PUT', `${path}/weight`, { weight: '4' })).body).toEqual({ weight: '4' });
    expect((await call('admin', 'DELETE', `${path}/weight`)).status).toBe(200);
    expect((await call('admin', 'DELETE', `${path}/weight`)).body.itemNotFound.message).toBe(
      'Flavor one has no extra specs with key weight.',
    );
    expect((await call('alice', 'POST', path, given)).status).toBe(403);
    expect((await call('admin', 'PUT', '/flavors/one', { flavor: { description: 'x' } }, 54)).status).toBe(404);
    const { body } = await call('admin', 'PUT', '/flavors/one', { flavor: { description: null } });
    expect(body.flavor).toMatchObject({ description: null, extra_specs: { 'hw:cpu_policy': 'dedicated' } });
  });
});

describe('flavors in children', () => {
  const context = () => cascade.context('east');
  const ramThere = (id: string) => sims.east?.state.flavors.get(id)?.ram;

  it('have the parent id and extra specs, and follow their changes', async () => {
    expect((await context().ensure('flavor', 'one')).child_id).toBe('one');
    const specs = async () => {
      const { body } = await context().api.call<{ extra_specs: object }>({
        service: 'compute',
        method: 'GET',
        path: '/flavors/one/os-extra_specs',
      });
      return body.extra_specs;
    };
    expect(await specs()).toEqual({ 'hw:cpu_policy': 'dedicated' });
    await call('admin', 'POST', '/flavors/one/os-extra_specs', { extra_specs: { a: 'b' } });
    await call('admin', 'DELETE', '/flavors/one/os-extra_specs/hw:cpu_policy');
    await context().ensure('flavor', 'one');
    expect(await specs()).toEqual({ a: 'b' });
  });

  it('leave foreign ones of the same id alone: used where the sizes fit, else passed by', async () => {
    const foreign = (id: string, name: string, ram: number) =>
      context().api.call({
        service: 'compute',
        method: 'POST',
        path: '/flavors',
        body: { flavor: { id, name, ram, vcpus: 1, disk: 1 } },
      });
    await foreign('f1', 'theirs', 512);
    await foreign('f2', 'theirs2', 64);
    await make({ ...small, id: 'f1', name: 'f1' });
    await make({ ...small, id: 'f2', name: 'f2' });
    // Only the name is taken there.
    await make({ ...small, id: 'f3', name: 'theirs' });
    expect((await context().ensure('flavor', 'f1')).child_id).toBe('f1');
    expect((await context().ensure('flavor', 'f2')).child_id).toBe('f2-headwater');
    expect((await context().ensure('flavor', 'f3')).child_id).toBe('f3');
    expect(ramThere('f2')).toBe(64);
    const found = await Promise.all(['f1', 'f2'].map((id) => cascade.replicasOf(test.db.query, 'flavor', id)));
    expect(found.map(([replica]) => replica?.detail.foreign)).toEqual([true, false]);
  });

  it('take the place of a foreign one that was used, when that was taken away', async () => {
    await context().api.call({ service: 'compute', method: 'DELETE', path: '/flavors/f1' });
    expect((await context().ensure('flavor', 'f1')).child_id).toBe('f1');
    const [replica] = await cascade.replicasOf(test.db.query, 'flavor', 'f1');
    expect(replica?.detail.foreign).toBe(false);
  });

  it('are made anew where the parent made one of the same id after deleting it', async () => {
    expect((await call('admin', 'DELETE', '/flavors/one')).status).toBe(202);
    expect((await call('admin', 'DELETE', '/flavors/one')).status).toBe(404);
    await make({ ...small, id: 'one', name: 'one again', ram: 2048 });
    expect((await context().ensure('flavor', 'one')).child_id).toBe('one');
    expect(ramThere('one')).toBe(2048);
  });
});
