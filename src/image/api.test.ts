import { createHash, randomUUID } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { createBench, OCTETS, PATCH } from './testing.ts';

const db = await testDatabase();
const { call, uploaded, close } = await createBench(db);
afterAll(close);

const names = (answer: { body: { images: { name: string }[] } }) => answer.body.images.map(({ name }) => name);
const shared = async (name: string, more: object = {}) =>
  (await call('alice', 'POST', '/images', { name, ...more })).body.id as string;

describe('an image', () => {
  it('is registered, uploaded, shown and downloaded as in Glance', async () => {
    const made = await call('alice', 'POST', '/images', {
      name: 'one',
      disk_format: 'raw',
      container_format: 'bare',
      hw_disk_bus: 'virtio',
      tags: ['a', 'a'],
    });
    expect(made.status).toBe(201);
    expect(made.headers.location).toBe(`http://parent/image/v2/images/${made.body.id}`);
    expect(made.headers['openstack-image-store-ids']).toBe('local');
    expect(made.body).toMatchObject({
      hw_disk_bus: 'virtio',
      status: 'queued',
      visibility: 'shared',
      size: null,
      checksum: null,
      owner: 'p1',
      tags: ['a'],
      schema: '/v2/schemas/image',
    });
    expect(made.body).not.toHaveProperty('stores');
    expect((await call('alice', 'GET', `/images/${made.body.id}/file`)).status).toBe(204);
    expect((await call('alice', 'PUT', `/images/${made.body.id}/file`, '{}')).status).toBe(415);
    expect((await call('alice', 'PUT', `/images/${made.body.id}/file`, 'hello', OCTETS)).status).toBe(204);
    const shown = (await call('rita', 'GET', `/images/${made.body.id}`)).body;
    expect(shown).toMatchObject({
      status: 'active',
      size: 5,
      virtual_size: 5,
      checksum: '5d41402abc4b2a76b9719d911017c592',
      os_hash_algo: 'sha512',
      os_hash_value: createHash('sha512').update('hello').digest('hex'),
      stores: 'local',
    });
    expect(shown.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    const file = await call('alice', 'GET', `/images/${made.body.id}/file`);
    expect(file.text).toBe('hello');
    expect(file.headers).toMatchObject({ 'content-length': '5', 'content-md5': '5d41402abc4b2a76b9719d911017c592' });
    const part = await call('alice', 'GET', `/images/${made.body.id}/file`, undefined, { range: 'bytes=1-2' });
    expect([part.status, part.text, part.headers['content-range']]).toEqual([206, 'el', 'bytes 1-2/5']);
    const tail = await call('alice', 'GET', `/images/${made.body.id}/file`, undefined, { range: 'bytes=-2' });
    expect(tail.text).toBe('lo');
    const beyond = await call('alice', 'GET', `/images/${made.body.id}/file`, undefined, { range: 'bytes=10-20' });
    expect(beyond.status).toBe(416);
    const again = await call('alice', 'PUT', `/images/${made.body.id}/file`, 'x', OCTETS);
    expect([again.status, again.text]).toEqual([
      409,
      expect.stringContaining('Image status transition from active to saving is not allowed'),
    ]);
  });

  it('takes an id, and refuses the same one again', async () => {
    const id = randomUUID();
    expect((await call('alice', 'POST', '/images', { id })).body.id).toBe(id);
    const again = await call('bob', 'POST', '/images', { id });
    expect([again.status, again.text]).toEqual([409, expect.stringContaining(`Image ID ${id} already exists!`)]);
    expect((await call('alice', 'POST', '/images', { id: 'zz' })).status).toBe(400);
  });

  it('refuses attributes as Glance does', async () => {
    const post = async (body: object) => (await call('alice', 'POST', '/images', body)).status;
    expect(await post({ foo: 3 })).toBe(400);
    expect(await post({ status: 'active' })).toBe(403);
    expect(await post({ self: 'x' })).toBe(403);
    expect(await post({ os_glance_x: 'x' })).toBe(403);
    expect(await post({ owner: 'p2' })).toBe(403);
    expect(await post({ visibility: 'public' })).toBe(403);
    expect(await post({ min_disk: -1 })).toBe(400);
    expect(await post({ disk_format: 'floppy' })).toBe(400);
    expect(await post(Object.fromEntries(Array.from({ length: 129 }, (_, at) => [`p${at}`, 'x'])))).toBe(413);
    expect((await call('admin', 'POST', '/images', { owner: 'p2', visibility: 'public' })).body.owner).toBe('p2');
  });

  it('answers faults as HTML to who does not want JSON', async () => {
    const answer = await call('alice', 'GET', '/images/nope', undefined, { accept: '*/*' });
    expect(answer.status).toBe(404);
    expect(answer.headers['content-type']).toContain('text/html');
    expect(answer.text).toContain('No image found with ID nope');
  });

  it('is patched', async () => {
    const id = await uploaded('x', { foo: 'bar', 'a/b': 'c' });
    const patch = (changes: unknown, who = 'alice', headers: Record<string, string> = PATCH) =>
      call(who, 'PATCH', `/images/${id}`, JSON.stringify(changes), headers);
    const changed = await patch([
      { op: 'replace', path: '/name', value: 'two' },
      { op: 'add', path: '/hw_vif_model', value: 'e1000' },
      { op: 'remove', path: '/foo' },
      { op: 'replace', path: '/a~1b', value: 'd' },
      { op: 'replace', path: '/tags', value: ['x', 'y'] },
    ]);
    expect(changed.status).toBe(200);
    expect(changed.body).toMatchObject({ name: 'two', hw_vif_model: 'e1000', 'a/b': 'd', tags: ['x', 'y'] });
    expect(changed.body).not.toHaveProperty('foo');
    const statuses = async (change: object) => (await patch([change])).status;
    expect(await statuses({ op: 'replace', path: '/nope', value: 'x' })).toBe(409);
    expect(await statuses({ op: 'remove', path: '/name' })).toBe(403);
    expect(await statuses({ op: 'replace', path: '/size', value: 3 })).toBe(403);
    expect(await statuses({ op: 'replace', path: '/disk_format', value: 'qcow2' })).toBe(403);
    expect(await statuses({ op: 'replace', path: '/min_ram', value: -1 })).toBe(400);
    expect(await statuses({ op: 'replace', path: '/owner', value: 'p2' })).toBe(403);
    expect(await statuses({ op: 'replace', path: '/visibility', value: 'public' })).toBe(403);
    expect(await statuses({ op: 'move', path: '/name' })).toBe(400);
    expect(await statuses({ op: 'add', path: 'name', value: 'x' })).toBe(400);
    expect(await statuses({ op: 'add', path: '/locations/-', value: {} })).toBe(403);
    expect((await patch([], 'alice', { 'content-type': 'application/json' })).status).toBe(415);
    expect((await patch({}, 'alice')).status).toBe(400);
    const old = { 'content-type': 'application/openstack-images-v2.0-json-patch' };
    expect((await patch([{ replace: '/name', value: 'three' }], 'alice', old)).body.name).toBe('three');
    expect((await patch([{ add: '/a~1b', value: 'z' }], 'alice', old)).status).toBe(409);
    expect((await patch([{ op: 'replace', path: '/owner', value: 'p2' }], 'admin')).body.owner).toBe('p2');
  });

  it('is deleted, unless it is protected', async () => {
    const id = await uploaded('x', { protected: true });
    const refused = await call('alice', 'DELETE', `/images/${id}`);
    expect([refused.status, refused.text]).toEqual([
      403,
      expect.stringContaining('is protected and cannot be deleted'),
    ]);
    await call(
      'alice',
      'PATCH',
      `/images/${id}`,
      JSON.stringify([{ op: 'replace', path: '/protected', value: false }]),
      PATCH,
    );
    expect((await call('alice', 'DELETE', `/images/${id}`)).status).toBe(204);
    expect((await call('alice', 'DELETE', `/images/${id}`)).status).toBe(404);
  });

  it('is deactivated and reactivated, tagged and untagged', async () => {
    const id = await uploaded('x');
    expect((await call('alice', 'POST', `/images/${id}/actions/deactivate`)).status).toBe(204);
    expect((await call('alice', 'GET', `/images/${id}/file`)).status).toBe(403);
    expect((await call('admin', 'GET', `/images/${id}/file`)).text).toBe('x');
    expect((await call('alice', 'POST', `/images/${id}/actions/reactivate`)).status).toBe(204);
    expect((await call('alice', 'PUT', `/images/${id}/tags/blue`)).status).toBe(204);
    expect((await call('alice', 'GET', `/images/${id}`)).body.tags).toEqual(['blue']);
    expect((await call('alice', 'DELETE', `/images/${id}/tags/blue`)).status).toBe(204);
    expect((await call('alice', 'DELETE', `/images/${id}/tags/blue`)).status).toBe(404);
  });
});

describe('who may', () => {
  it('keeps a private image from other projects, as if it were not there', async () => {
    const id = await uploaded('secret', { visibility: 'private' });
    for (const [method, path] of [
      ['GET', ''],
      ['DELETE', ''],
      ['GET', '/file'],
      ['GET', '/members'],
      ['POST', '/actions/deactivate'],
      ['PUT', '/tags/x'],
    ] as const) {
      expect([method, path, (await call('bob', method, `/images/${id}${path}`)).status]).toEqual([method, path, 404]);
    }
    expect((await call('bob', 'PUT', `/images/${id}/file`, 'x', OCTETS)).status).toBe(404);
    expect((await call('admin', 'GET', `/images/${id}`)).status).toBe(200);
  });

  it('lets others see a public image, and change none of it', async () => {
    const id = await uploaded('x', { visibility: 'public' }, 'admin');
    expect((await call('bob', 'GET', `/images/${id}/file`)).text).toBe('x');
    const body = JSON.stringify([{ op: 'replace', path: '/name', value: 'mine' }]);
    expect((await call('bob', 'PATCH', `/images/${id}`, body, PATCH)).status).toBe(403);
    expect((await call('bob', 'DELETE', `/images/${id}`)).status).toBe(403);
  });

  it('lets a reader only read', async () => {
    const id = await uploaded('x');
    expect((await call('rita', 'GET', '/images')).status).toBe(200);
    expect((await call('rita', 'POST', '/images', { name: 'x' })).status).toBe(403);
    expect((await call('rita', 'DELETE', `/images/${id}`)).status).toBe(403);
    expect((await call('rita', 'GET', `/images/${id}/file`)).status).toBe(403);
    expect((await call('', 'GET', '/images')).status).toBe(401);
  });

  it('shares an image with a project, which accepts it', async () => {
    const id = await shared('for bob');
    expect((await call('bob', 'GET', `/images/${id}`)).status).toBe(404);
    const added = await call('alice', 'POST', `/images/${id}/members`, { member: 'p2' });
    expect(added).toMatchObject({ status: 200, body: { member_id: 'p2', image_id: id, status: 'pending' } });
    expect((await call('alice', 'POST', `/images/${id}/members`, { member: 'p2' })).status).toBe(409);
    expect((await call('alice', 'POST', `/images/${id}/members`, {})).status).toBe(400);
    expect((await call('bob', 'GET', `/images/${id}`)).status).toBe(200);
    expect(names(await call('bob', 'GET', '/images?visibility=shared'))).not.toContain('for bob');
    expect(names(await call('bob', 'GET', '/images?member_status=pending'))).toContain('for bob');
    const answer = (who: string, status: string) => call(who, 'PUT', `/images/${id}/members/p2`, { status });
    expect((await answer('alice', 'accepted')).status).toBe(403);
    expect((await answer('bob', 'perhaps')).status).toBe(400);
    expect((await answer('bob', 'accepted')).body.status).toBe('accepted');
    expect(names(await call('bob', 'GET', '/images?visibility=shared'))).toContain('for bob');
    await call('alice', 'POST', `/images/${id}/members`, { member: 'p3' });
    const seen = async (who: string) => (await call(who, 'GET', `/images/${id}/members`)).body.members;
    expect(await seen('alice')).toHaveLength(2);
    expect(await seen('bob')).toMatchObject([{ member_id: 'p2' }]);
    expect((await call('bob', 'GET', `/images/${id}/members/p3`)).status).toBe(404);
    expect((await call('bob', 'POST', `/images/${id}/members`, { member: 'p4' })).status).toBe(403);
    expect((await call('bob', 'DELETE', `/images/${id}/members/p2`)).status).toBe(403);
    expect((await call('alice', 'DELETE', `/images/${id}/members/p2`)).status).toBe(204);
    expect((await call('bob', 'GET', `/images/${id}`)).status).toBe(404);
  });
});

describe('the list', () => {
  it('reaches community images of others only where they are asked for', async () => {
    await shared('common', { visibility: 'community' });
    expect(names(await call('bob', 'GET', '/images'))).not.toContain('common');
    expect(names(await call('alice', 'GET', '/images'))).toContain('common');
    expect(names(await call('bob', 'GET', '/images?visibility=community'))).toContain('common');
    expect(names(await call('bob', 'GET', '/images?visibility=all'))).toContain('common');
  });

  it('filters', async () => {
    await uploaded('12345678', { name: 'big, one', distro: 'debian', tags: ['t1', 't2'], min_ram: 64 });
    await shared('hidden one', { os_hidden: true });
    const list = async (query: string) => names(await call('alice', 'GET', `/images?${query}`));
    expect(await list('distro=debian')).toEqual(['big, one']);
    expect(await list('distro=arch')).toEqual([]);
    expect(await list('tag=t1&tag=t2')).toEqual(['big, one']);
    expect(await list('size_min=8&size_max=8')).toEqual(['big, one']);
    expect(await list(`name=in:${encodeURIComponent('"big, one",other')}`)).toEqual(['big, one']);
    expect(await list('min_ram=64')).toEqual(['big, one']);
    expect(await list('os_hidden=true')).toEqual(['hidden one']);
    expect(await list('created_at=gt:2100-01-01T00:00:00Z')).toEqual([]);
    expect(await list('created_at=lt:2100-01-01&limit=1')).toHaveLength(1);
    expect(await list('status=in:saving,uploading')).toEqual([]);
    expect(await list('owner=p9')).toEqual([]);
    expect(await list('protected=true')).toEqual([]);
    for (const bad of [
      'size_min=x',
      'visibility=x',
      'created_at=gt:foo',
      'protected=foo',
      'os_hidden=foo',
      'sort=foo:asc',
      'sort_key=name&sort=name',
      'sort=name:up',
      'marker=nope',
      'limit=-1',
      'member_status=x',
      'name=gt:x',
    ]) {
      expect([bad, (await call('alice', 'GET', `/images?${bad}`)).status]).toEqual([bad, 400]);
    }
  });

  it('sorts, and pages by marker with relative links', async () => {
    for (const name of ['b', 'a', 'c']) await shared(name, { paged: 'yes' });
    const first = await call('alice', 'GET', '/images?paged=yes&sort=name:asc&limit=2');
    expect(names(first)).toEqual(['a', 'b']);
    expect(first.body.first).toBe('/v2/images?paged=yes&sort=name%3Aasc&limit=2');
    expect(first.body.schema).toBe('/v2/schemas/images');
    const next = await call('alice', 'GET', first.body.next.slice('/v2'.length));
    expect(names(next)).toEqual(['c']);
    expect(next.body).not.toHaveProperty('next');
    expect(names(await call('alice', 'GET', '/images?paged=yes&sort_key=name&sort_dir=desc'))).toEqual(['c', 'b', 'a']);
    expect((await call('alice', 'GET', '/images?limit=0')).body.images).toEqual([]);
  });
});

it('says what it is', async () => {
  expect((await call('rita', 'GET', '/schemas/image')).body.properties.container_format.enum).toContain('bare');
  expect((await call('rita', 'GET', '/schemas/members')).body.properties.members.items.name).toBe('member');
  expect((await call('rita', 'GET', '/info/import')).body['import-methods'].value).toEqual([
    'glance-direct',
    'copy-image',
  ]);
  expect((await call('rita', 'GET', '/info/stores')).body.stores).toMatchObject([{ id: 'local', default: 'true' }]);
  expect((await call('admin', 'GET', '/tasks')).body.tasks).toEqual([]);
  expect((await call('alice', 'GET', '/tasks')).status).toBe(403);
});
