/** `/v2/images`: create, list, show, change, delete. */
import { randomUUID } from 'node:crypto';
import { badRequest, conflict, forbidden, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, Reply, type RequestContext } from '../http/service.ts';
import { image as convention } from '../http/conventions.ts';
import { listBody } from '../resource/listing.ts';
import { enforce, findVisible, lockVisible, missing, projectOf, targetOf } from './access.ts';
import { imageListing } from './listing.ts';
import { blank, count } from './made.ts';
import { apply, type Change, changesOf, checkNew, fieldsOf } from './patch.ts';
import { image, type ImageRow, images, LOCAL_STORE, rules } from './resource.ts';
import { imageBody } from './schemas.ts';
import { IMAGE, type ImageCore, IMPORT_METHODS, view } from './service.ts';
import { dropData } from './upload.ts';

type Attributes = Readonly<Record<string, unknown>>;

/** What a copy in a child differs by; a change of anything else concerns the parent alone. */
const COPIED = ['name', 'visibility', 'min_disk', 'min_ram', 'extra', 'project_id'] as const;

const idOf = (call: Call): string => call.params.image_id as string;

/** The operations on images themselves. */
export function imageOperations(core: ImageCore): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/images',
      policy: rules.list,
      status: 200,
      summary: 'List images',
      handle: (call) => list(core, call),
    }),
    operation<Attributes>({
      method: 'POST',
      path: '/images',
      policy: rules.add,
      // A body with another owner is refused in words of its own.
      target: async ({ context }) => ({ project_id: projectOf(context), owner: projectOf(context) }),
      body: imageBody,
      status: 201,
      summary: 'Register an image',
      handle: (call) => create(core, call),
    }),
    operation({
      method: 'GET',
      path: '/images/:image_id',
      policy: rules.show,
      status: 200,
      summary: 'Show an image',
      handle: async (call) => {
        const row = await findVisible(core.db.query, call.context, idOf(call));
        if (!call.context.allowed(rules.show.name, targetOf(call.context, row))) throw missing(row.id);
        return view(call.context)(row);
      },
    }),
    operation<unknown>({
      method: 'PATCH',
      path: '/images/:image_id',
      policy: rules.modify,
      status: 200,
      summary: 'Change an image',
      handle: async (call) => {
        const changes = changesOf(call.headers['content-type'], call.body);
        return view(call.context)(await update(core, call.context, idOf(call), changes));
      },
    }),
    operation({
      method: 'DELETE',
      path: '/images/:image_id',
      policy: rules.remove,
      status: 204,
      summary: 'Delete an image',
      handle: (call) => remove(core, call.context, idOf(call)),
    }),
  ];
}

async function list(core: ImageCore, { context, query }: Call): Promise<unknown> {
  const listing = imageListing(context, query);
  const rows = await images.page(core.db.query, listing);
  if (rows === undefined) throw badRequest(`No image found with ID ${listing.marker}`);
  const ids = rows.map((row) => row.id);
  return listBody(image, convention, context, listing, query, '/images', rows.map(view(context)), ids);
}

async function create(core: ImageCore, { context, body }: Call<Attributes>): Promise<Reply> {
  checkNew(body);
  const row = await register(core, context, body);
  const children = (await core.cascade.children(core.db.query)).map(({ name }) => name);
  return new Reply(201, view(context)(row), {
    location: `${context.baseUrl}/images/${row.id}`,
    'openstack-image-import-methods': IMPORT_METHODS.join(','),
    'openstack-image-store-ids': [LOCAL_STORE, ...children].join(','),
  });
}

async function register(core: ImageCore, context: RequestContext, attributes: Attributes): Promise<ImageRow> {
  const { fields, extra } = fieldsOf(attributes);
  const own = projectOf(context);
  const project_id = fields.project_id === undefined || fields.project_id === '' ? own : fields.project_id;
  const target = { project_id, owner: project_id, visibility: fields.visibility ?? 'shared' };
  if (!context.allowed(rules.add.name, target)) {
    throw forbidden(`You are not permitted to create images owned by '${project_id}'.`);
  }
  enforceVisibility(context, fields.visibility, target);
  const id = typeof attributes.id === 'string' ? attributes.id.toLowerCase() : randomUUID();
  return core.db
    .transaction(async (tx) => {
      await count(core, tx, project_id, 1);
      return images.insert(tx, { ...blank, ...fields, extra, id, project_id });
    })
    .catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== '23505') throw error;
      throw conflict(`Image ID ${id} already exists!`);
    });
}

function enforceVisibility(context: RequestContext, visibility: unknown, target: Attributes): void {
  if (visibility === 'public') context.enforce(rules.publicize.name, target);
  if (visibility === 'community') context.enforce(rules.communitize.name, target);
}

/**
 * Applies a patch in one transaction, and tells the children's copies where it concerns them.
 * @throws Fault 404, 403, 409 in Glance's words
 */
export async function update(
  core: ImageCore,
  context: RequestContext,
  id: string,
  changes: readonly Change[],
): Promise<ImageRow> {
  const result = await core.db.transaction(async (tx) => {
    const row = await lockVisible(tx, context, id);
    enforce(context, rules.modify.name, row);
    if (changes.length === 0) return { row, isCopied: false };
    const patch = apply(row, changes, ({ name, value }) => {
      if (name === 'owner' && !context.identity.isAdmin) throw forbidden("Owner can't be updated by non admin.");
      if (name === 'visibility') enforceVisibility(context, value, targetOf(context, row));
    });
    const isCopied = COPIED.some((key) => patch[key] !== undefined && !same(patch[key], row[key]));
    if (patch.project_id !== undefined && patch.project_id !== row.project_id) {
      await count(core, tx, row.project_id, -1);
      await count(core, tx, patch.project_id, 1);
    }
    const changed = await images.update(tx, id, patch, { revise: isCopied });
    if (isCopied) await core.cascade.revise(tx, IMAGE, id, { requestId: context.requestId });
    return { row: changed ?? row, isCopied };
  });
  if (result.isCopied) core.cascade.poke();
  return result.row;
}

function same(one: unknown, other: unknown): boolean {
  if (typeof one !== 'object' || typeof other !== 'object') return one === other;
  const sorted = (value: unknown) => JSON.stringify(Object.entries(value ?? {}).sort());
  return sorted(one) === sorted(other);
}

async function remove(core: ImageCore, context: RequestContext, id: string): Promise<void> {
  const row = await core.db.transaction(async (tx) => {
    const found = await lockVisible(tx, context, id, () => notFound(`Failed to find image ${id} to delete`));
    enforce(context, rules.remove.name, found);
    if (found.protected) throw forbidden(`Image ${id} is protected and cannot be deleted.`);
    await core.cascade.retire(tx, IMAGE, id, { requestId: context.requestId });
    await images.remove(tx, id);
    await count(core, tx, found.project_id, -1);
    return found;
  });
  core.cascade.poke();
  await dropData(core, row);
}
