/** Giving an image's data: from the parent's own store, else from a child that holds it. */
import { Readable } from 'node:stream';
import type { ChildContext, Replica } from '../cascade/contract.ts';
import { unavailable } from '../http/fault.ts';
import type { ByteRange } from './local-store.ts';
import { type ImageRow, LOCAL_STORE } from './resource.ts';
import { scopeOfCopy } from './scope.ts';
import { IMAGE, type ImageCore } from './service.ts';

/**
 * The data as a stream, which the caller must consume or destroy. Undefined where the image has none anywhere.
 * @param without a child not to ask: the one that wants the data
 * @throws Fault 503 where what holds it cannot be reached
 */
export async function openData(
  core: ImageCore,
  row: ImageRow,
  options: { readonly range?: ByteRange | undefined; readonly without?: string } = {},
): Promise<Readable | undefined> {
  if (row.size === 0) return Readable.from([]);
  if (row.local_file !== '' && row.stores.includes(LOCAL_STORE)) {
    try {
      return await core.store.read(row.local_file, options.range);
    } catch (error) {
      core.log.error({ err: error, image_id: row.id }, 'the data of an image is not in the store');
    }
  }
  const children = row.stores.filter((store) => store !== LOCAL_STORE && store !== options.without);
  if (children.length === 0 && row.local_file === '') return undefined;
  const copies = await core.cascade.replicasOf(core.db.query, IMAGE, row.id);
  for (const child of children) {
    const copy = copies.find((one) => one.child === child && one.child_id !== null);
    if (copy === undefined) continue;
    try {
      return await fromChild(core.cascade.context(child), copy, options.range);
    } catch (error) {
      core.log.info({ err: error, image_id: row.id, child }, 'a child does not give the data of an image');
    }
  }
  throw unavailable('The data of this image is held where it cannot be reached now.');
}

async function fromChild(context: ChildContext, copy: Replica, range: ByteRange | undefined): Promise<Readable> {
  const answer = await context.api.download({
    service: 'image',
    method: 'GET',
    path: `/images/${copy.child_id}/file`,
    scope: await scopeOfCopy(context, copy.detail),
    ...(range === undefined ? {} : { headers: { range: `bytes=${range.start}-${range.end}` } }),
  });
  // A child that knows no ranges sends all.
  if (range !== undefined && answer.status === 200) return cut(answer.body, range);
  return answer.body;
}

function cut(data: Readable, range: ByteRange): Readable {
  async function* part(): AsyncGenerator<Buffer> {
    let at = 0;
    for await (const piece of data) {
      const chunk = piece as Buffer;
      const from = Math.max(range.start - at, 0);
      const to = Math.min(range.end + 1 - at, chunk.length);
      if (from < to) yield chunk.subarray(from, to);
      at += chunk.length;
      if (at > range.end) return;
    }
  }
  return Readable.from(part(), { objectMode: false });
}
