/** `/v2/images/{id}/file`, `/stage` and `/import`: an image's data in and out. */
import { Readable } from 'node:stream';
import { Type } from 'typebox';
import { badRequest, conflict, Fault, forbidden } from '../http/fault.ts';
import { type Call, type Operation, operation, Reply, type RequestContext } from '../http/service.ts';
import { enforce, findVisible, lockVisible } from './access.ts';
import { openData } from './download.ts';
import type { ByteRange } from './local-store.ts';
import { images, LOCAL_STORE, rules } from './resource.ts';
import { type ImageCore, IMPORT_METHODS } from './service.ts';
import { receive, wantStores } from './upload.ts';

interface ImportRequest {
  readonly method: { readonly name: string };
  readonly stores?: readonly string[];
  readonly all_stores?: boolean;
}

const idOf = (call: Call): string => call.params.image_id as string;

/** The operations on an image's data. */
export function fileOperations(core: ImageCore): Operation[] {
  return [
    operation({
      method: 'PUT',
      path: '/images/:image_id/file',
      policy: rules.upload,
      stream: true,
      status: 204,
      summary: 'Upload the data of an image',
      handle: async (call) => {
        const data = dataOf(call);
        const store = call.headers['x-image-meta-store'] ?? LOCAL_STORE;
        const child = store === LOCAL_STORE ? [] : await known(core, [store]);
        const row = await receive(core, call.context, idOf(call), data, 'upload');
        if (child.length === 0) return;
        await core.db.transaction((tx) => wantStores(core, tx, call.context, row.id, child));
        core.cascade.poke();
      },
    }),
    operation({
      method: 'PUT',
      path: '/images/:image_id/stage',
      policy: rules.modify,
      stream: true,
      status: 204,
      summary: 'Upload data for an import to come',
      handle: async (call) => void (await receive(core, call.context, idOf(call), dataOf(call), 'stage')),
    }),
    operation({
      method: 'GET',
      path: '/images/:image_id/file',
      policy: rules.download,
      status: 200,
      summary: 'Download the data of an image (asks a child where it alone holds the data)',
      handle: (call) => download(core, call),
    }),
    operation<ImportRequest>({
      method: 'POST',
      path: '/images/:image_id/import',
      // Which rule it takes is the method's affair; nobody below a member may import at all.
      policy: { name: rules.show.name, check: rules.show.check, description: rules.show.description ?? '' },
      body: Type.Object({
        method: Type.Object({ name: Type.String() }),
        stores: Type.Optional(Type.Array(Type.String(), { maxItems: 1000 })),
        all_stores: Type.Optional(Type.Boolean()),
        all_stores_must_succeed: Type.Optional(Type.Boolean()),
      }),
      status: 202,
      summary: 'Import an image: staged data, or copies in more stores',
      handle: (call) => importImage(core, call.context, idOf(call), call.body),
    }),
  ];
}

function dataOf(call: Call): Readable {
  const type = (call.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (type !== 'application/octet-stream') {
    throw new Fault(415, `The request media type ${type.slice(0, 80)} is not supported by this server.`);
  }
  // An empty body is no stream.
  return call.stream instanceof Readable ? call.stream : Readable.from([]);
}

async function download(core: ImageCore, { context, params, headers }: Call): Promise<Reply> {
  const row = await findVisible(core.db.query, context, params.image_id as string);
  enforce(context, rules.download.name, row);
  if (row.status === 'deactivated' && !context.identity.isAdmin) {
    throw forbidden('The requested image has been deactivated. Image data download is forbidden.');
  }
  if (row.status !== 'active' && row.status !== 'deactivated') return new Reply(204);
  const range = headers.range === undefined ? undefined : rangeOf(headers.range, row.size);
  const data = await openData(core, row, { range });
  if (data === undefined) return new Reply(204);
  const length = range === undefined ? row.size : range.end - range.start + 1;
  return new Reply(range === undefined ? 200 : 206, data, {
    'content-type': 'application/octet-stream',
    'content-length': String(length),
    ...(row.checksum === null ? {} : { 'content-md5': row.checksum }),
    ...(range === undefined ? {} : { 'content-range': `bytes ${range.start}-${range.end}/${row.size}` }),
  });
}

/** The one range asked for; several, or other units, are answered with everything, as the standard allows. */
function rangeOf(header: string, size: number): ByteRange | undefined {
  const match = /^bytes=(\d{0,18})-(\d{0,18})$/.exec(header.trim());
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  const last = size - 1;
  const range =
    match[1] === ''
      ? { start: Math.max(size - Number(match[2]), 0), end: last }
      : { start: Number(match[1]), end: match[2] === '' ? last : Math.min(Number(match[2]), last) };
  if (range.start > last || range.end < range.start) {
    throw new Fault(
      416,
      `The Range requested is not available. Invalid start position in Range header. Start position MUST be in the inclusive range [0, ${Math.max(last, 0)}].`,
      { headers: { 'content-range': `bytes */${size}` } },
    );
  }
  return range;
}

/** Names of children among the stores asked for. @throws Fault 400 for a store that there is not */
async function known(core: ImageCore, stores: readonly string[]): Promise<string[]> {
  const children = new Set((await core.cascade.children(core.db.query)).map(({ name }) => name));
  for (const store of stores) {
    if (store !== LOCAL_STORE && !children.has(store)) throw badRequest(`Store for identifier ${store} not found`);
  }
  return stores.filter((store) => store !== LOCAL_STORE);
}

async function importImage(
  core: ImageCore,
  context: RequestContext,
  id: string,
  request: ImportRequest,
): Promise<Reply> {
  const method = request.method.name;
  if (!(IMPORT_METHODS as readonly string[]).includes(method)) {
    throw badRequest(`Unknown import method name '${method.slice(0, 64)}'.`);
  }
  const isCopy = method === 'copy-image';
  const all = (await core.cascade.children(core.db.query)).map(({ name }) => name);
  const stores = request.all_stores === true ? all : await known(core, request.stores ?? []);
  await core.db.transaction(async (tx) => {
    const row = await lockVisible(tx, context, id);
    enforce(context, isCopy ? rules.copy.name : rules.modify.name, row);
    if (isCopy && row.status !== 'active') {
      throw conflict('Only images with status active can be targeted for copying');
    }
    if (!isCopy && row.status === 'active') throw conflict('Image with status active cannot be target for import');
    if (!isCopy && (row.status !== 'uploading' || row.upload_claim !== '')) {
      throw conflict("Image needs to be staged before 'glance-direct' method can be used");
    }
    if (row.container_format === '') throw conflict("'container_format' needs to be set before import");
    if (row.disk_format === '') throw conflict("'disk_format' needs to be set before import");
    if (isCopy && request.all_stores !== true) refuseCopies(row.stores, request.stores ?? []);
    const wanted = [...new Set(stores)].filter((store) => !row.stores.includes(store));
    await images.update(
      tx,
      id,
      {
        ...(isCopy ? {} : { status: 'active' as const, stores: [LOCAL_STORE] }),
        importing: [...new Set([...row.importing, ...wanted])],
        failed_import: row.failed_import.filter((store) => !wanted.includes(store)),
      },
      { revise: false },
    );
    await wantStores(core, tx, context, id, wanted);
  });
  core.cascade.poke();
  return new Reply(202);
}

function refuseCopies(present: readonly string[], asked: readonly string[]): void {
  if (asked.length === 0) throw badRequest('Name the stores to copy the image to, or all_stores.');
  for (const store of asked) {
    if (present.includes(store)) throw badRequest(`Image is already present at store '${store}'`);
    if (store === LOCAL_STORE) throw conflict(`Images cannot be copied to the store '${LOCAL_STORE}'.`);
  }
}
