import { createHash } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { type AddressInfo } from 'node:net';
import { request } from 'node:http';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { sql } from 'kysely';
import { afterAll, expect, it } from 'vitest';
import { openDatabase } from '../db/database.ts';
import { createMetrics } from '../http/metrics.ts';
import { createPolicy } from '../http/policy.ts';
import { createServer } from '../http/server.ts';
import { rulesOf } from '../http/service.ts';
import { identities, silent } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { createBench, OCTETS } from './testing.ts';

const MEBIBYTE = 1024 * 1024;
const db = await testDatabase();
const bench = await createBench(db, [], { size_max: 96 * MEBIBYTE });
const { call, data_dir, images } = bench;
const server = createServer({
  services: [images.service],
  authenticate: async (token) => identities[token],
  policy: createPolicy({ defaults: rulesOf([images.service]) }),
  publicUrl: 'http://parent',
  log: silent,
  metrics: createMetrics({ process: false }),
  healthy: async () => undefined,
});
await server.listen({ port: 0, host: '127.0.0.1' });
const { port } = server.server.address() as AddressInfo;
afterAll(async () => {
  await server.close();
  await bench.close();
});

const queued = async () =>
  (await call('alice', 'POST', '/images', { disk_format: 'raw', container_format: 'bare' })).body.id as string;
const statusOf = async (id: string) => (await call('alice', 'GET', `/images/${id}`)).body.status as string;
const files = () => readdir(join(data_dir, 'images')).catch(() => []);

/** Sends over a real socket; the test holds the body's other end. */
function put(id: string, body: Readable): { readonly status: Promise<number>; readonly abort: () => void } {
  const outgoing = request({
    port,
    method: 'PUT',
    path: `/image/v2/images/${id}/file`,
    headers: { 'x-auth-token': 'alice', ...OCTETS },
  });
  const status = new Promise<number>((resolve, reject) => {
    outgoing.on('error', reject);
    outgoing.on('response', (incoming) => {
      incoming.resume();
      resolve(incoming.statusCode ?? 0);
    });
  });
  void pipeline(body, outgoing).catch(() => undefined);
  return { status, abort: () => outgoing.destroy() };
}

function* zeros(bytes: number): Generator<Buffer> {
  const chunk = Buffer.alloc(MEBIBYTE);
  for (let sent = 0; sent < bytes; sent += chunk.length) yield chunk;
}

async function until(look: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it did not come to be');
}

it('takes and gives data without ever holding much of it', async () => {
  const id = await queued();
  const before = process.memoryUsage();
  let most = 0;
  const watch = setInterval(() => {
    // Buffers are external memory.
    const { external, heapUsed } = process.memoryUsage();
    most = Math.max(most, external + heapUsed);
  }, 5);
  expect(await put(id, Readable.from(zeros(64 * MEBIBYTE))).status).toBe(204);
  const hash = createHash('md5');
  let size = 0;
  await new Promise<void>((resolve, reject) => {
    request({ port, path: `/image/v2/images/${id}/file`, headers: { 'x-auth-token': 'alice' } }, (incoming) => {
      incoming.on('data', (chunk: Buffer) => {
        hash.update(chunk);
        size += chunk.length;
      });
      incoming.on('end', resolve);
    })
      .on('error', reject)
      .end();
  });
  clearInterval(watch);
  const shown = (await call('alice', 'GET', `/images/${id}`)).body;
  expect([size, hash.digest('hex')]).toEqual([64 * MEBIBYTE, shown.checksum]);
  expect(most - (before.external + before.heapUsed)).toBeLessThan(48 * MEBIBYTE);
});

it('refuses more than an image may have, and the image can be uploaded again', async () => {
  const id = await queued();
  expect(await put(id, Readable.from(zeros(97 * MEBIBYTE))).status.catch(() => 413)).toBe(413);
  await until(async () => (await statusOf(id)) === 'queued');
  expect((await files()).filter((name) => name.startsWith(id))).toEqual([]);
  expect(await put(id, Readable.from(['small'])).status).toBe(204);
});

it('queues the image again where the client goes away', async () => {
  const id = await queued();
  const body = new PassThrough();
  body.write('half');
  const upload = put(id, body);
  await until(async () => (await statusOf(id)) === 'saving');
  upload.abort();
  await expect(upload.status).rejects.toThrow();
  await until(async () => (await statusOf(id)) === 'queued');
  expect((await files()).filter((name) => name.startsWith(id))).toEqual([]);
});

it('lets one of two uploads win', async () => {
  const id = await queued();
  const body = new PassThrough();
  body.write('the ');
  const first = put(id, body);
  await until(async () => (await statusOf(id)) === 'saving');
  expect(await put(id, Readable.from(['other'])).status).toBe(409);
  await images.heal();
  body.end('first');
  expect(await first.status).toBe(204);
  expect((await call('alice', 'GET', `/images/${id}/file`)).text).toBe('the first');
});

it('answers 410 where the image is deleted meanwhile, and keeps nothing', async () => {
  const id = await queued();
  const body = new PassThrough();
  body.write('data');
  const upload = put(id, body);
  await until(async () => (await statusOf(id)) === 'saving');
  expect((await call('alice', 'DELETE', `/images/${id}`)).status).toBe(204);
  body.end();
  expect(await upload.status).toBe(410);
  expect((await files()).filter((name) => name.startsWith(id))).toEqual([]);
});

it('heals what a killed process left', async () => {
  const id = await queued();
  const name = `${id}.0123456789abcdef`;
  await bench.uploaded('the folder is there');
  // As after a kill: the row claims an upload that nobody is at, its file is half there, and one file is nobody's.
  await sql`update images set status = 'saving', upload_claim = ${name} where id = ${id}`.execute(db.query);
  await writeFile(join(data_dir, 'images', `${name}.part`), 'half');
  await writeFile(join(data_dir, 'images', '5f0c3a52-0000-4000-8000-000000000000.ff'), 'orphan');
  await images.heal();
  expect(await statusOf(id)).toBe('queued');
  expect((await files()).filter((file) => file.startsWith(id) || file.startsWith('5f0c3a52'))).toEqual([]);
  expect(await put(id, Readable.from(['again'])).status).toBe(204);
});

it('takes over at once from a killed process, and not from a living one', async () => {
  const id = await queued();
  const claim = () =>
    sql`update images set status = 'saving', upload_claim = ${`${id}.aa`} where id = ${id}`.execute(db.query);
  await claim();
  const other = await openDatabase({ url: db.url });
  const lock = await other.tryLock(`image-upload:${id}`);
  expect(lock).toBeDefined();
  expect(await put(id, Readable.from(['x'])).status).toBe(409);
  await images.heal();
  expect(await statusOf(id)).toBe('saving');
  await other.close();
  expect(await put(id, Readable.from(['x'])).status).toBe(204);
});

it('imports what was staged', async () => {
  const id = await queued();
  expect((await call('alice', 'POST', `/images/${id}/import`, { method: { name: 'glance-direct' } })).status).toBe(409);
  expect((await call('alice', 'PUT', `/images/${id}/stage`, 'staged', OCTETS)).status).toBe(204);
  expect(await statusOf(id)).toBe('uploading');
  await images.heal();
  expect((await call('alice', 'GET', `/images/${id}/file`)).status).toBe(204);
  expect((await call('alice', 'POST', `/images/${id}/import`, { method: { name: 'web-download' } })).status).toBe(400);
  expect((await call('alice', 'POST', `/images/${id}/import`, { method: { name: 'glance-direct' } })).status).toBe(202);
  expect((await call('alice', 'GET', `/images/${id}/file`)).text).toBe('staged');
});
