/**
 * Receiving an image's data. Whoever receives it holds a lock of the image's own while the row says `saving`, and the
 * row carries the name of the file that is being written. So a row that says `saving` with nobody holding the lock is
 * what a killed process left, and is put back to `queued`; its file is nobody's, and goes.
 */
import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { sql } from 'kysely';
import { badRequest, conflict, Fault, unread } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { enforce, lockVisible } from './access.ts';
import { TooLarge, type Written } from './local-store.ts';
import { type ImageRow, images, LOCAL_STORE, rules } from './resource.ts';
import { IMAGE, type ImageCore } from './service.ts';

/** `upload` makes the image active; `stage` keeps the data for an import to come. */
export type Purpose = 'upload' | 'stage';

const UNDER_WAY = { upload: 'saving', stage: 'uploading' } as const;
const lockName = (id: string): string => `image-upload:${id}`;

/**
 * Receives the data of a queued image.
 * @throws Fault 404, 403, 409 unless it is queued and nobody else is at it, 413 beyond the size limit or a full disk, 410
 *   where the image was deleted meanwhile, 400 where the client broke off; then the image is queued again
 */
export async function receive(
  core: ImageCore,
  context: RequestContext,
  id: string,
  data: Readable,
  purpose: Purpose,
): Promise<ImageRow> {
  const lock = await core.db.tryLock(lockName(id));
  const name = `${id}.${randomBytes(8).toString('hex')}`;
  try {
    await begin(core, context, id, purpose, lock === undefined ? undefined : name);
    const written = await core.store
      .write(name, data, core.size_max)
      .catch((error: unknown) => giveUp(core, id, name, error));
    if (lock?.lost.aborted === true) return await giveUp(core, id, name, new Error('the lock of the upload was lost'));
    const row = await finish(core, id, name, written, purpose);
    if (row !== undefined) return row;
    await core.store.remove(name);
    throw deletedMeanwhile(id);
  } finally {
    await lock?.release();
  }
}

/** @param claim undefined where another process receives the image's data right now */
async function begin(
  core: ImageCore,
  context: RequestContext,
  id: string,
  purpose: Purpose,
  claim: string | undefined,
): Promise<void> {
  const rule = purpose === 'upload' ? rules.upload : rules.modify;
  const abandoned = await core.db.transaction(async (tx) => {
    const row = await lockVisible(tx, context, id);
    enforce(context, rule.name, row);
    // We hold its lock, so whoever claimed it is dead.
    const left = claim !== undefined && row.upload_claim !== '' ? row.upload_claim : '';
    if (claim === undefined || (row.status !== 'queued' && left === '')) {
      const status = claim === undefined ? UNDER_WAY[purpose] : row.status;
      throw conflict(`Image status transition from ${status} to ${UNDER_WAY[purpose]} is not allowed`);
    }
    await images.update(tx, id, { status: UNDER_WAY[purpose], upload_claim: claim }, { revise: false });
    return left;
  });
  if (abandoned !== '') await core.store.remove(abandoned);
}

async function finish(
  core: ImageCore,
  id: string,
  name: string,
  written: Written,
  purpose: Purpose,
): Promise<ImageRow | undefined> {
  return core.db.transaction(async (tx) => {
    const row = await images.lock(tx, id, [sql<boolean>`upload_claim = ${name}`]);
    if (row === undefined) return undefined;
    const { size, virtual_size, checksum, os_hash_value } = written;
    return images.update(tx, id, {
      upload_claim: '',
      local_file: name,
      size,
      virtual_size,
      checksum,
      os_hash_algo: 'sha512',
      os_hash_value,
      ...(purpose === 'upload' ? { status: 'active' as const, stores: [LOCAL_STORE] } : {}),
    });
  });
}

/** Back to `queued`, in words for the client of what went wrong. */
async function giveUp(core: ImageCore, id: string, name: string, error: unknown): Promise<never> {
  await core.store.remove(name);
  // A deletion takes the file away under the upload, which then fails in its own way.
  if (!(await requeue(core, id, name))) throw deletedMeanwhile(id);
  const { code } = error as { code?: unknown };
  if (error instanceof TooLarge) {
    throw unread(413, `The incoming image is too large: an image may have at most ${core.size_max} bytes.`);
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') throw unread(413, 'Image storage media is full.');
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM') {
    core.log.error({ err: error }, 'the image store cannot be written');
    throw unread(503, 'Insufficient permissions on image storage media.');
  }
  core.log.info({ err: error, image_id: id }, 'an upload was broken off');
  throw badRequest('Client disconnected before sending all data to backend');
}

const deletedMeanwhile = (id: string): Fault =>
  new Fault(
    410,
    `Image ${id} could not be found after upload. The image may have been deleted during the upload, cleaning up the chunks uploaded.`,
  );

/** @returns whether the image was still this upload's */
async function requeue(core: ImageCore, id: string, name: string): Promise<boolean> {
  const result = await sql`update images set status = 'queued', upload_claim = '', updated_at = clock_timestamp()
    where id = ${id} and upload_claim = ${name}`.execute(core.db.query);
  return (result.numAffectedRows ?? 0n) > 0n;
}

/**
 * Ends what killed processes left: uploads nobody is at any more go back to `queued`, files that no image has are
 * removed. For the start and every few minutes; twice, or in two processes at once: the same.
 */
export async function healUploads(core: ImageCore): Promise<void> {
  const claimed = await sql<{ id: string }>`select id from images where upload_claim <> ''`.execute(core.db.query);
  for (const { id } of claimed.rows) {
    const lock = await core.db.tryLock(lockName(id));
    if (lock === undefined) continue;
    try {
      const row = await images.find(core.db.query, id);
      if (row === undefined || row.upload_claim === '') continue;
      await core.store.remove(row.upload_claim);
      await requeue(core, id, row.upload_claim);
      core.log.info({ image_id: id }, 'an upload that a killed process left was ended');
    } finally {
      await lock.release();
    }
  }
  // Names first, rows after: a file that comes up in between has a row by the time the rows are read.
  const names = await core.store.names();
  for (let at = 0; at < names.length; at += 1000) {
    const some = names.slice(at, at + 1000);
    const known = await sql<{ name: string }>`
      select unnest(array[local_file, upload_claim]) as name from images
      where id = any(${[...new Set(some.map((name) => name.split('.')[0] ?? ''))]}::text[])`.execute(core.db.query);
    const kept = new Set(known.rows.map((row) => row.name));
    for (const name of some) if (!kept.has(name)) await core.store.remove(name);
  }
}

/** What a deleted image leaves in the parent's own store. */
export async function dropData(core: ImageCore, row: ImageRow): Promise<void> {
  for (const name of [row.local_file, row.upload_claim]) {
    if (name === '') continue;
    await core.store.remove(name).catch((error: unknown) => {
      core.log.warn({ err: error, image_id: row.id }, 'the data of a deleted image is left for the next healing');
    });
  }
}

/** Wants copies of an image in children, within the caller's transaction. */
export async function wantStores(
  core: ImageCore,
  tx: Parameters<ImageCore['cascade']['wantReplica']>[0],
  context: RequestContext,
  id: string,
  children: readonly string[],
): Promise<void> {
  for (const child of children) {
    await core.cascade.wantReplica(tx, child, IMAGE, id, { requestId: context.requestId });
  }
}
