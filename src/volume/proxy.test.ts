import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RequestContext } from '../http/service.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { attachVolume, detachVolume } from '../sim/volume.ts';
import { identities, silent } from '../testing/api.ts';
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
beforeEach(() => east.faults.clear());
afterAll(async () => {
  await bench.close();
  await Promise.all([east.close(), west.close()]);
});

const EAST = { size: 1, availability_zone: 'east-1' };
const inEast = (id: string) => [...east.state.volumes.values()].filter(({ metadata }) => metadata.headwater_id === id);
const inUse = async (project: string) =>
  (await bench.call('admin', 'GET', `/os-quota-sets/${project}?usage=true`)).body.quota_set.gigabytes.in_use as number;

/** What compute hands over: a request of alice's. */
const context = {
  requestId: `req-${randomUUID()}`,
  identity: identities.alice,
  version: 0,
  baseUrl: '',
  publicUrl: '',
  log: silent,
  allowed: () => true,
  enforce: () => undefined,
} as unknown as RequestContext;

describe('cinder-proxy', () => {
  it('makes no second volume where the answer to the first was lost', async () => {
    const fault = east.faults.inject({
      match: { method: 'POST', service: 'volume', path: /\/volumes$/ },
      times: 1,
      drop: 'after',
    });
    const id = await bench.created(EAST);
    await bench.becomes(`/volumes/${id}`, 'available');
    expect(fault.hits()).toBe(1);
    expect(inEast(id)).toHaveLength(1);
  });

  it('makes no volume at all whose end was asked for before its child came back', async () => {
    await east.stop();
    const [kept, dropped] = [await bench.created(EAST), await bench.created(EAST)];
    const before = await inUse('p1');
    expect((await bench.call('alice', 'DELETE', `/volumes/${dropped}`)).status).toBe(202);
    expect((await bench.call('alice', 'GET', `/volumes/${kept}`)).body.volume.status).toBe('creating');
    const elsewhere = await bench.created({ size: 1, availability_zone: 'west-1' });
    await bench.becomes(`/volumes/${elsewhere}`, 'available');
    await east.start();
    await bench.becomes(`/volumes/${kept}`, 'available');
    await bench.becomes(`/volumes/${dropped}`, 'gone');
    expect(inEast(dropped)).toEqual([]);
    expect(await inUse('p1')).toBe(before);
  });

  it('puts what a child refuses on the volume', async () => {
    const body = { badRequest: { code: 400, message: 'No room.' } };
    east.faults.inject({
      match: { method: 'POST', service: 'volume', path: /\/volumes$/ },
      times: 1,
      respond: { status: 400, body },
    });
    const id = await bench.created(EAST);
    await bench.becomes(`/volumes/${id}`, 'error');
    expect((await bench.call('alice', 'DELETE', `/volumes/${id}`)).status).toBe(202);
    await bench.becomes(`/volumes/${id}`, 'gone');
  });

  it('shows error_deleting as the child does, and deletes again when asked again', async () => {
    const id = await bench.created(EAST);
    await bench.becomes(`/volumes/${id}`, 'available');
    const child = inEast(id)[0]?.id ?? '';
    east.timing.volume_ms = 1000;
    expect((await bench.call('alice', 'DELETE', `/volumes/${id}`)).status).toBe(202);
    await expect.poll(() => east.state.volumes.get(child)?.status, { timeout: 3000 }).toBe('deleting');
    east.setVolumeStatus(child, 'error_deleting');
    await bench.becomes(`/volumes/${id}`, 'error_deleting');
    expect((await bench.call('alice', 'DELETE', `/volumes/${id}`)).status).toBe(400);
    expect((await bench.call('admin', 'POST', `/volumes/${id}/action`, { 'os-force_delete': {} })).status).toBe(202);
    east.timing.volume_ms = 20;
    await bench.becomes(`/volumes/${id}`, 'gone');
  });

  it('gives back the quota of an extension that the child refuses', async () => {
    const id = await bench.created(EAST);
    await bench.becomes(`/volumes/${id}`, 'available');
    const before = await inUse('p1');
    const body = { badRequest: { code: 400, message: 'No.' } };
    east.faults.inject({
      match: { method: 'POST', service: 'volume', path: /\/action$/ },
      times: 1,
      respond: { status: 400, body },
    });
    await bench.call('alice', 'POST', `/volumes/${id}/action`, { 'os-extend': { new_size: 5 } });
    expect(await inUse('p1')).toBe(before + 4);
    const shown = await bench.becomes(`/volumes/${id}`, 'available');
    expect(shown.body.volume.size).toBe(1);
    expect(await inUse('p1')).toBe(before);
  });
});

describe('the feed', () => {
  it('shows what happened behind the parent’s back', async () => {
    const id = await bench.created(EAST);
    await bench.becomes(`/volumes/${id}`, 'available');
    const child = inEast(id)[0]?.id ?? '';
    east.setVolumeStatus(child, 'maintenance');
    await bench.becomes(`/volumes/${id}`, 'maintenance');
    const before = await inUse('p1');
    east.state.volumes.delete(child);
    // The audit runs seldom; a cursor lost makes it run at once, unless a round under way stores its own behind that.
    await vi.waitFor(
      async () => {
        await sql`delete from cursors`.execute(db.query);
        expect((await bench.call('alice', 'GET', `/volumes/${id}`)).status).toBe(404);
      },
      { timeout: 20_000, interval: 200 },
    );
    expect(await inUse('p1')).toBe(before - 1);
  });
});

describe('volumes of servers', () => {
  it('are attached and detached as the child shows it', async () => {
    const server = randomUUID();
    const volumes = bench.serverVolumes;
    const id = await bench.created(EAST);
    await bench.becomes(`/volumes/${id}`, 'available');
    expect(await volumes.resolve(db.query, context, id)).toMatchObject({
      child: 'east',
      zone: 'east-1',
      status: 'available',
    });
    const bob = { ...context, identity: identities.bob } as RequestContext;
    await expect(volumes.resolve(db.query, bob, id)).rejects.toMatchObject({ status: 404 });

    const to = { server_id: server, delete_on_termination: false };
    const { device } = await db.transaction((tx) => volumes.attach(tx, id, to));
    expect(device).toBe('/dev/vdb');
    expect((await bench.call('alice', 'GET', `/volumes/${id}`)).body.volume.status).toBe('attaching');
    await expect(db.transaction((tx) => volumes.attach(tx, id, to))).rejects.toMatchObject({ status: 400 });
    expect((await bench.call('alice', 'DELETE', `/volumes/${id}`)).status).toBe(400);

    const childId = await volumes.childVolume(bench.cascade.context('east'), id);
    const inChild = east.state.volumes.get(childId ?? '');
    if (inChild === undefined) throw new Error('the volume is not in the child');
    attachVolume(inChild, randomUUID(), '/dev/vdc', 'host');
    const shown = await bench.becomes(`/volumes/${id}`, 'in-use');
    expect(shown.body.volume.attachments).toMatchObject([{ server_id: server, device: '/dev/vdc', host_name: null }]);
    expect((await volumes.attachmentsOf(db.query, [server])).get(server)).toMatchObject([
      { volume_id: id, device: '/dev/vdc' },
    ]);
    const listed = await bench.call('alice', 'GET', `/attachments?volume_id=${id}`, undefined, '3.27');
    expect(listed.body.attachments).toMatchObject([{ instance: server, status: 'attached' }]);

    await db.transaction((tx) => volumes.detach(tx, id, server));
    expect((await bench.call('alice', 'GET', `/volumes/${id}`)).body.volume.status).toBe('detaching');
    await db.transaction((tx) => volumes.unwind(tx, id, server));
    expect((await bench.call('alice', 'GET', `/volumes/${id}`)).body.volume.status).toBe('in-use');
    await db.transaction((tx) => volumes.detach(tx, id, server));
    for (const one of inChild.attachments) detachVolume(inChild, one.server_id);
    const free = await bench.becomes(`/volumes/${id}`, 'available');
    expect(free.body.volume.attachments).toEqual([]);
    expect((await volumes.attachmentsOf(db.query, [server])).size).toBe(0);
  });

  it('outlive their server where somebody has a snapshot of them', async () => {
    const server = randomUUID();
    const id = await bench.created(EAST);
    await bench.becomes(`/volumes/${id}`, 'available');
    const taken = await bench.call('alice', 'POST', '/snapshots', { snapshot: { volume_id: id } });
    await db.transaction((tx) =>
      bench.serverVolumes.attach(tx, id, { server_id: server, delete_on_termination: true }),
    );
    await db.transaction((tx) => bench.serverVolumes.release(tx, server));
    expect((await bench.call('alice', 'GET', `/volumes/${id}`)).body.volume.status).toBe('available');
    expect((await bench.call('alice', 'GET', `/snapshots/${taken.body.snapshot.id}`)).status).toBe(200);
  });

  it('are made by a boot, and go with it where they are to', async () => {
    const server = randomUUID();
    const volumes = bench.serverVolumes;
    const id = await db.transaction(async (tx) => {
      const made = await volumes.create(tx, context, { size: 1, child: 'east', zone: 'east-1', name: 'root' });
      const attached = await volumes.attach(tx, made, { server_id: server, delete_on_termination: true });
      expect(attached.device).toBe('/dev/vda');
      return made;
    });
    const proxy = bench.cascade.context('east');
    expect(await volumes.childVolume(proxy, id)).toBeUndefined();
    bench.cascade.poke('east');
    await expect.poll(() => volumes.childVolume(proxy, id), { timeout: 5000 }).toBeTypeOf('string');
    await bench.becomes(`/volumes/${id}`, 'attaching');
    const childId = (await volumes.childVolume(proxy, id)) as string;
    const inChild = east.state.volumes.get(childId);
    if (inChild === undefined) throw new Error('the volume is not in the child');
    attachVolume(inChild, randomUUID(), '/dev/vda', 'host');
    await bench.becomes(`/volumes/${id}`, 'in-use');
    await db.transaction((tx) => volumes.release(tx, server));
    bench.cascade.poke('east');
    // The child's server lets go a moment after the parent's was called gone.
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const one of inChild.attachments) detachVolume(inChild, one.server_id);
    await bench.becomes(`/volumes/${id}`, 'gone');
    expect(inEast(id)).toEqual([]);
  });
});
