import { randomUUID } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RequestContext } from '../http/service.ts';
import { createSimCloud } from '../sim/cloud.ts';
import { identities } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { copyId } from './replica.ts';
import { createBench, PATCH } from './testing.ts';

const db = await testDatabase();
const east = await createSimCloud({ name: 'east' });
const west = await createSimCloud({ name: 'west' });
const bench = await createBench(db, [east, west]);
const { call, cascade, uploaded, images } = bench;
const alice = { identity: identities.alice, requestId: `req-${randomUUID()}` } as RequestContext;

beforeAll(() => cascade.start());
afterAll(async () => {
  await bench.close();
  await Promise.all([east.close(), west.close()]);
});

const ensure = (child: string, id: string) => cascade.context(child).ensure('image', id);
const shown = async (id: string) => (await call('alice', 'GET', `/images/${id}`)).body;
async function until(look: () => boolean | Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it did not come to be');
}

describe('a copy in a child', () => {
  it('has the id, the data and the properties of the image', async () => {
    const id = await uploaded('data of it', { hw_disk_bus: 'virtio', min_disk: 3, block_device_mapping: '[]' });
    expect((await ensure('east', id)).child_id).toBe(id);
    const copy = east.state.images.get(id);
    expect(copy?.data?.toString()).toBe('data of it');
    expect(copy?.fields).toMatchObject({
      name: 'cirros',
      hw_disk_bus: 'virtio',
      min_disk: 3,
      visibility: 'shared',
      status: 'active',
      tags: [`headwater:${id}`],
    });
    expect(copy?.fields).not.toHaveProperty('block_device_mapping');
    expect((await shown(id)).stores).toBe('local,east');
    east.requests.reset();
    await ensure('east', id);
    expect(east.requests.list.filter(({ path }) => path.includes(id))).toEqual([]);
  });

  it('is for everybody there where the image is', async () => {
    const id = await uploaded('x', { visibility: 'public' }, 'admin');
    await ensure('east', id);
    expect(east.state.images.get(id)?.fields.visibility).toBe('community');
  });

  it('follows changes, and goes with the image', async () => {
    const id = await uploaded('x', { foo: 'bar', gone: 'soon' });
    await ensure('east', id);
    const { revision } = (await cascade.replicasOf(db.query, 'image', id))[0] ?? { revision: 0 };
    await call('alice', 'PUT', `/images/${id}/tags/blue`);
    const changes = [
      { op: 'replace', path: '/name', value: 'renamed' },
      { op: 'replace', path: '/foo', value: 'baz' },
      { op: 'remove', path: '/gone' },
    ];
    await call('alice', 'PATCH', `/images/${id}`, JSON.stringify(changes), PATCH);
    await until(() => east.state.images.get(id)?.fields.name === 'renamed');
    expect(east.state.images.get(id)?.fields).toMatchObject({ foo: 'baz', tags: [`headwater:${id}`] });
    expect(east.state.images.get(id)?.fields).not.toHaveProperty('gone');
    await until(async () => (await cascade.replicasOf(db.query, 'image', id))[0]?.revision === revision + 1);
    await call('alice', 'DELETE', `/images/${id}`);
    await until(() => !east.state.images.has(id));
    await until(async () => (await readdir(join(bench.data_dir, 'images'))).every((name) => !name.startsWith(id)));
  });

  it('is uploaded again where the upload was cut off', async () => {
    const id = await uploaded('whole');
    east.faults.inject({ match: { service: 'image', method: 'PUT', path: /\/file$/ }, times: 1, drop: 'before' });
    await expect(ensure('east', id)).rejects.toMatchObject({ failure: 'down' });
    expect(east.state.images.get(id)?.fields.status).toBe('queued');
    await ensure('east', id);
    expect(east.state.images.get(id)?.data?.toString()).toBe('whole');
    expect(east.state.images.size).toBe(new Set([...east.state.images.values()].map((copy) => copy.id)).size);
  });

  it('is found where its upload succeeded but the answer was lost', async () => {
    const id = await uploaded('whole');
    east.faults.inject({ match: { service: 'image', method: 'PUT', path: /\/file$/ }, times: 1, drop: 'after' });
    await expect(ensure('east', id)).rejects.toMatchObject({ failure: 'down' });
    await until(() => east.state.images.get(id)?.fields.status === 'active');
    await ensure('east', id);
    expect((await shown(id)).stores).toBe('local,east');
  });

  it('is made anew where it is stuck, under another id where the child gives none twice', async () => {
    const id = await uploaded('whole');
    east.faults.inject({ match: { service: 'image', method: 'PUT', path: /\/file$/ }, times: 1, drop: 'before' });
    await expect(ensure('east', id)).rejects.toThrow();
    const stuck = east.state.images.get(id);
    if (stuck !== undefined) stuck.fields.status = 'saving';
    // As a real child does with the id of an image that was deleted.
    east.faults.inject({
      match: { service: 'image', method: 'POST', path: /^\/images$/ },
      times: 1,
      respond: { status: 409, body: { message: `Image ID ${id} already exists!` } },
    });
    const made = await ensure('east', id);
    expect(made.child_id).toBe(copyId(id, 1));
    expect(made.child_id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(east.state.images.get(made.child_id)?.data?.toString()).toBe('whole');
    expect(east.state.images.has(id)).toBe(false);
    await sql`delete from replicas where resource_id = ${id}`.execute(db.query);
    expect((await ensure('east', id)).child_id).toBe(made.child_id);
  });

  it('does not stay where its checksum is wrong', async () => {
    const id = await uploaded('right');
    await sql`update images set checksum = 'wrong', body = body || '{"os_hash_algo": null}', os_hash_value = null
      where id = ${id}`.execute(db.query);
    await expect(ensure('east', id)).rejects.toMatchObject({
      failure: 'refused',
      tenantMessage: expect.stringContaining('does not match its checksum'),
    });
    expect(east.state.images.has(id)).toBe(false);
    expect((await shown(id)).stores).toBe('local');
  });

  it('is not made of an image without data', async () => {
    const { body } = await call('alice', 'POST', '/images', { name: 'empty' });
    await expect(ensure('east', body.id)).rejects.toMatchObject({ tenantMessage: `Image ${body.id} is not active.` });
    expect(east.state.images.has(body.id)).toBe(false);
  });

  it('comes ahead of need by copy-image', async () => {
    const id = await uploaded('x');
    const copy = (who: string, stores: string[]) =>
      call(who, 'POST', `/images/${id}/import`, { method: { name: 'copy-image' }, stores });
    expect((await copy('alice', ['west'])).status).toBe(403);
    expect((await copy('admin', ['nowhere'])).status).toBe(400);
    expect((await copy('admin', ['east', 'west'])).status).toBe(202);
    await until(async () => (await shown(id)).stores.split(',').length === 3);
    expect(await shown(id)).not.toHaveProperty('os_glance_importing_to_stores');
    expect((await copy('admin', ['west'])).status).toBe(400);
  });
});

describe('an image that a child made', () => {
  const snapshot = async (data?: string) => {
    const image_id = await db.transaction((tx) =>
      images.serverImages.registerSnapshot(tx, alice, {
        name: 'snap',
        properties: { image_type: 'snapshot' },
        child: 'east',
        server_id: 's1',
      }),
    );
    const child_id = randomUUID();
    const api = cascade.context('east').api;
    const body = { id: child_id, name: 'snap', disk_format: 'raw', container_format: 'bare', min_disk: 5 };
    await api.call({ service: 'image', method: 'POST', path: '/images', body });
    const finish = (text: string) =>
      api.call({
        service: 'image',
        method: 'PUT',
        path: `/images/${child_id}/file`,
        body: Buffer.from(text),
        contentType: 'application/octet-stream',
      });
    await db.transaction((tx) => images.serverImages.adoptChildImage(tx, { image_id, child: 'east', child_id }));
    cascade.expect('east');
    if (data !== undefined) {
      await finish(data);
      await until(async () => (await shown(image_id)).status === 'active');
    }
    return { image_id, child_id, finish };
  };

  it('becomes active with the child, which alone holds the data', async () => {
    const { image_id, finish } = await snapshot();
    expect(await shown(image_id)).toMatchObject({ status: 'queued', visibility: 'private', image_type: 'snapshot' });
    await finish('disk');
    await until(async () => (await shown(image_id)).status === 'active');
    expect(await shown(image_id)).toMatchObject({ size: 4, min_disk: 5, disk_format: 'raw', stores: 'east' });
    expect((await call('alice', 'GET', `/images/${image_id}/file`)).text).toBe('disk');
    const part = await call('alice', 'GET', `/images/${image_id}/file`, undefined, { range: 'bytes=1-2' });
    expect([part.status, part.text]).toEqual([206, 'is']);
    expect((await images.serverImages.resolve(db.query, alice, image_id)).children).toEqual(['east']);
  });

  it('travels to another child through the parent', async () => {
    const { image_id } = await snapshot('disk that travels');
    await ensure('west', image_id);
    expect(west.state.images.get(image_id)?.data?.toString()).toBe('disk that travels');
    expect((await shown(image_id)).stores).toBe('east,west');
  });

  it('fails alone where the child is down', async () => {
    const { image_id } = await snapshot('far away');
    await east.stop();
    const refused = await call('alice', 'GET', `/images/${image_id}/file`);
    expect([refused.status, refused.text]).toEqual([503, expect.stringContaining('cannot be reached now')]);
    expect(refused.text).not.toContain('127.0.0.1');
    expect((await shown(image_id)).status).toBe('active');
    await expect(ensure('west', image_id)).rejects.toMatchObject({ failure: 'down', transient: true });
    await east.start();
    await until(async () => (await call('alice', 'GET', `/images/${image_id}/file`)).status === 200);
  });

  it('is deleted there with the image, also where it was deleted first', async () => {
    const { image_id, child_id } = await snapshot('x');
    await call('alice', 'DELETE', `/images/${image_id}`);
    await until(() => !east.state.images.has(child_id));
    const late = await snapshot();
    await call('alice', 'DELETE', `/images/${late.image_id}`);
    await until(() => !east.state.images.has(late.child_id));
    const before = randomUUID();
    await cascade.context('east').api.call({ service: 'image', method: 'POST', path: '/images', body: { id: before } });
    await db.transaction((tx) =>
      images.serverImages.adoptChildImage(tx, { image_id: randomUUID(), child: 'east', child_id: before }),
    );
    cascade.poke();
    await until(() => !east.state.images.has(before));
  });

  it('is killed where it vanishes while it is made', async () => {
    const { image_id, child_id } = await snapshot();
    east.state.images.delete(child_id);
    await until(async () => (await shown(image_id)).status === 'killed');
    expect(
      (await call('alice', 'GET', '/images?name=snap')).body.images.map((one: { id: string }) => one.id),
    ).not.toContain(image_id);
  });
});

it('gives a clear 503 where the file of an image was lost', async () => {
  const id = await uploaded('lost');
  const name = (await readdir(join(bench.data_dir, 'images'))).find((one) => one.startsWith(id));
  await rm(join(bench.data_dir, 'images', name as string));
  expect((await call('alice', 'GET', `/images/${id}/file`)).status).toBe(503);
});
