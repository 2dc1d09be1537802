import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { testDatabase } from '../testing/database.ts';
import { createBench, type VolumeBench } from './testing.ts';

const db = await testDatabase();
let east: SimCloud;
let west: SimCloud;
let bench: VolumeBench;

beforeAll(async () => {
  [east, west] = await Promise.all([createSimCloud({ name: 'east' }), createSimCloud({ name: 'west' })]);
  bench = await createBench(db, [east, west]);
  await bench.cascade.start();
});
afterAll(async () => {
  await bench.close();
  await Promise.all([east.close(), west.close()]);
});

const inChild = (cloud: SimCloud, id: string) =>
  [...cloud.state.volumes.values()].filter(({ metadata }) => metadata.headwater_id === id);

describe('volumes', () => {
  it('are made in the child of their zone, marked there and not here', async () => {
    for (const [zone, cloud] of [
      ['east-1', east],
      ['west-1', west],
    ] as const) {
      const made = await bench.call('alice', 'POST', '/p1/volumes', {
        volume: {
          size: 1,
          name: 'data',
          availability_zone: zone,
          metadata: { colour: 'blue' },
          consistencygroup_id: null,
        },
      });
      expect(made.status).toBe(202);
      expect(made.body.volume).toMatchObject({
        status: 'creating',
        updated_at: null,
        volume_type: '__DEFAULT__',
        bootable: 'false',
      });
      const { id } = made.body.volume;
      const shown = await bench.becomes(`/volumes/${id}`, 'available');
      expect(shown.body.volume).toMatchObject({
        name: 'data',
        availability_zone: zone,
        metadata: { colour: 'blue' },
        'os-vol-tenant-attr:tenant_id': 'p1',
        attachments: [],
      });
      expect(shown.body.volume).not.toHaveProperty('os-vol-host-attr:host');
      expect(inChild(cloud, id)).toMatchObject([{ name: 'data', size: 1, metadata: { colour: 'blue' } }]);
    }
  });

  it('are made from an image, a snapshot and another volume, where the source is', async () => {
    const image = await bench.uploaded();
    const first = await bench.created({ size: 2, imageRef: image, availability_zone: 'west-1' });
    const shown = await bench.becomes(`/volumes/${first}`, 'available');
    expect(shown.body.volume.bootable).toBe('true');
    expect(shown.body.volume.volume_image_metadata.image_id).toBe(image);

    const taken = await bench.call('alice', 'POST', '/snapshots', { snapshot: { volume_id: first, name: 'then' } });
    expect(taken.status).toBe(202);
    const snapshot = taken.body.snapshot.id as string;
    await bench.becomes(`/snapshots/${snapshot}`, 'available');
    const refused = await bench.call('alice', 'DELETE', `/volumes/${first}`);
    expect(refused.status).toBe(400);
    expect(refused.body.badRequest.message).toMatch(/^Invalid volume: Volume status must be available or error/);

    const second = await bench.created({ snapshot_id: snapshot });
    const third = await bench.created({ source_volid: first, size: 3 });
    for (const id of [second, third]) {
      const copy = await bench.becomes(`/volumes/${id}`, 'available');
      expect(copy.body.volume.availability_zone).toBe('west-1');
      expect(inChild(west, id)).toHaveLength(1);
    }
    const elsewhere = await bench.call('alice', 'POST', '/volumes', {
      volume: { snapshot_id: snapshot, availability_zone: 'east-1' },
    });
    expect(elsewhere.status).toBe(400);
    const small = await bench.call('alice', 'POST', '/volumes', { volume: { snapshot_id: snapshot, size: 1 } });
    expect(small.body.badRequest.message).toContain('cannot be smaller than the snapshot size 2GB');

    const forced = await bench.call('admin', 'POST', `/volumes/${first}/action`, { 'os-force_delete': {} });
    expect(forced.status).toBe(400);

    // Everything of it goes, the snapshot first.
    const no = await bench.call('alice', 'DELETE', `/volumes/${first}?cascade=true`);
    expect([no.status, no.text]).toEqual([202, expect.any(String)]);
    await bench.becomes(`/volumes/${first}`, 'gone');
    expect((await bench.call('alice', 'GET', `/snapshots/${snapshot}`)).status).toBe(404);
    expect([...west.state.snapshots.values()]).toEqual([]);
  });

  it('are refused in Cinder’s words', async () => {
    const say = async (volume: unknown) => {
      const answer = await bench.call('alice', 'POST', '/volumes', { volume });
      return [answer.status, (Object.values(answer.body)[0] as { message: string }).message];
    };
    expect(await say({ size: 1, availability_zone: 'mars' })).toEqual([400, "Availability zone 'mars' is invalid."]);
    expect(await say({ size: 1, imageRef: 'none' })).toEqual([
      400,
      'Invalid image identifier or unable to access requested image.',
    ]);
    expect(await say({ size: 1, volume_type: 'none' })).toEqual([
      404,
      'Volume type with name none could not be found.',
    ]);
    expect((await say({ size: 0 }))[0]).toBe(400);
    expect((await say({}))[0]).toBe(400);
    expect((await bench.call('', 'GET', '/volumes')).status).toBe(401);
    expect((await bench.call('rita', 'POST', '/volumes', { volume: { size: 1 } })).status).toBe(403);
    expect((await bench.call('alice', 'GET', '/volumes?marker=none')).body.itemNotFound.message).toBe(
      'Volume none could not be found.',
    );
  });

  it('go past no quota, and a refusal leaves nothing', async () => {
    await bench.call('admin', 'PUT', '/os-quota-sets/p2', { quota_set: { gigabytes: 2, volumes: 5 } });
    const made = await bench.created({ size: 1 }, 'bob');
    const over = await bench.call('bob', 'POST', '/volumes', { volume: { size: 2 } });
    expect(over.status).toBe(413);
    expect(over.body.overLimit.message).toBe(
      'VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota. Requested 2G, quota is 2G and 1G has been consumed.',
    );
    expect((await bench.call('bob', 'GET', '/volumes')).body.volumes).toHaveLength(1);
    await bench.becomes(`/volumes/${made}`, 'available', 'bob');
    const extend = (new_size: number) =>
      bench.call('bob', 'POST', `/volumes/${made}/action`, { 'os-extend': { new_size } });
    const no = await extend(3);
    expect([no.status, no.text]).toEqual([413, expect.any(String)]);
    expect((await extend(1)).status).toBe(400);
    expect((await extend(2)).status).toBe(202);
    const usage = async () =>
      (await bench.call('admin', 'GET', '/os-quota-sets/p2?usage=True')).body.quota_set as Record<
        string,
        { in_use: number }
      >;
    const larger = await bench.becomes(`/volumes/${made}`, 'available', 'bob');
    expect(larger.body.volume.size).toBe(2);
    expect(await usage()).toMatchObject({
      gigabytes: { in_use: 2 },
      volumes: { in_use: 1 },
      gigabytes___DEFAULT__: { in_use: 2 },
    });
    expect((await bench.call('bob', 'DELETE', `/volumes/${made}`)).status).toBe(202);
    await bench.becomes(`/volumes/${made}`, 'gone', 'bob');
    expect(await usage()).toMatchObject({
      gigabytes: { in_use: 0 },
      volumes: { in_use: 0 },
      gigabytes___DEFAULT__: { in_use: 0 },
    });
  });

  it('belong to their project', async () => {
    const id = await bench.created({ size: 1, name: 'mine' });
    for (const [method, path, body] of [
      ['GET', `/volumes/${id}`, undefined],
      ['DELETE', `/volumes/${id}`, undefined],
      ['PUT', `/volumes/${id}`, { volume: { name: 'his' } }],
      ['GET', `/volumes/${id}/metadata`, undefined],
      ['POST', `/volumes/${id}/action`, { 'os-extend': { new_size: 9 } }],
      ['POST', '/snapshots', { snapshot: { volume_id: id } }],
      ['POST', '/volumes', { volume: { source_volid: id } }],
    ] as const) {
      const answer = await bench.call('bob', method, path, body);
      expect([path, answer.status, answer.body?.itemNotFound?.message]).toEqual([
        path,
        404,
        `Volume ${id} could not be found.`,
      ]);
    }
    const seen = (await bench.call('bob', 'GET', '/volumes/detail?all_tenants=1')).body.volumes as {
      user_id: string;
    }[];
    expect(seen.filter(({ user_id }) => user_id !== 'bob')).toEqual([]);
    expect((await bench.call('rita', 'GET', `/volumes/${id}`)).status).toBe(200);
    expect((await bench.call('rita', 'DELETE', `/volumes/${id}`)).status).toBe(403);
    expect((await bench.call('alice', 'POST', `/volumes/${id}/action`, { 'os-force_delete': {} })).status).toBe(403);
    expect((await bench.call('admin', 'GET', `/volumes/detail?all_tenants=1&name=mine`)).body.volumes).toHaveLength(1);
    const asAdmin = (await bench.call('admin', 'GET', `/volumes/${id}`)).body.volume;
    expect(asAdmin['os-vol-host-attr:host']).toMatch(/^(east|west)@headwater#headwater$/);
  });

  it('bring name and metadata to the child', async () => {
    const id = await bench.created({ size: 1, availability_zone: 'east-1' });
    await bench.becomes(`/volumes/${id}`, 'available');
    expect((await bench.call('alice', 'PUT', `/volumes/${id}`, { volume: { name: 'new' } })).body.volume.name).toBe(
      'new',
    );
    expect(
      (await bench.call('alice', 'POST', `/volumes/${id}/metadata`, { metadata: { a: '1', b: '2' } })).body,
    ).toEqual({
      metadata: { a: '1', b: '2' },
    });
    expect((await bench.call('alice', 'DELETE', `/volumes/${id}/metadata/a`)).status).toBe(200);
    expect((await bench.call('alice', 'DELETE', `/volumes/${id}/metadata/a`)).body.itemNotFound.message).toBe(
      `Volume ${id} has no metadata with key a.`,
    );
    expect((await bench.call('alice', 'DELETE', `/volumes/${id}/metadata/constructor`)).status).toBe(404);
    expect(
      (await bench.call('alice', 'POST', `/volumes/${id}/action`, { 'os-set_bootable': { bootable: true } })).status,
    ).toBe(200);
    await expect
      .poll(() => inChild(east, id)[0], { timeout: 5000 })
      .toMatchObject({ name: 'new', bootable: true, metadata: { b: '2', headwater_id: id } });
    expect((await bench.call('alice', 'GET', `/volumes/${id}`)).body.volume).toMatchObject({
      bootable: 'true',
      metadata: { b: '2' },
    });
    const found = await bench.call('alice', 'GET', `/volumes?metadata=${encodeURIComponent("{'b': '2'}")}`);
    expect(found.body.volumes.map((one: { id: string }) => one.id)).toEqual([id]);
  });

  it('are listed in pages', async () => {
    for (const name of ['page-a', 'page-b', 'page-c']) await bench.created({ size: 1, name }, 'admin');
    const first = await bench.call(
      'admin',
      'GET',
      '/p0/volumes/detail?limit=2&sort=name:asc&with_count=true',
      undefined,
      '3.70',
    );
    expect(first.body.volumes.map((one: { name: string }) => one.name)).toEqual(['page-a', 'page-b']);
    expect(first.body.count).toBe(3);
    const next = first.body.volumes_links[0].href as string;
    expect(next.startsWith('http://parent/volume/v3/p0/volumes/detail?')).toBe(true);
    const second = await bench.call('admin', 'GET', next.replace('http://parent/volume/v3', ''));
    expect(second.body.volumes.map((one: { name: string }) => one.name)).toEqual(['page-c']);
    const summary = await bench.call('admin', 'GET', '/volumes/summary', undefined, '3.36');
    expect(summary.body['volume-summary']).toEqual({ total_count: 3, total_size: 3, metadata: {} });
  });
});
