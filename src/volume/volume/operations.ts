/** The volumes API. */
import { sql } from 'kysely';
import { type TObject, type TSchema, Type } from 'typebox';
import { volume as convention } from '../../http/conventions.ts';
import { badRequest } from '../../http/fault.ts';
import { type Operation, operation, Reply, type RequestContext } from '../../http/service.ts';
import { renderer } from '../../resource/render.ts';
import { bodySchema } from '../../resource/schema.ts';
import { all } from '../../resource/store.ts';
import { volumeMissing } from '../faults.ts';
import { listed } from '../hosted.ts';
import { list } from '../lists.ts';
import { metadataOperations } from '../metadata.ts';
import { reads, writes } from '../rules.ts';
import { isTrue, metadataOf, trimmed } from '../shapes.ts';
import { deleteVolume, reviseVolume } from './change.ts';
import { createVolumeRow, type NewVolume } from './create.ts';
import { lockVolume, seenVolume, type Volume, volume, type VolumeCore, volumes } from './volume.ts';

interface CreateBody {
  size?: number | string | null;
  name?: string | null;
  display_name?: string | null;
  description?: string | null;
  display_description?: string | null;
  metadata?: Record<string, string | null> | null;
  availability_zone?: string | null;
  volume_type?: string | null;
  imageRef?: string | null;
  image_id?: string | null;
  snapshot_id?: string | null;
  source_volid?: string | null;
  multiattach?: boolean | null;
  backup_id?: string | null;
  group_id?: string | null;
  consistencygroup_id?: string | null;
}

const schemas = new WeakMap<TSchema, TSchema>();

/** As the description says it, with scheduler hints beside, which are taken and not heeded. */
function createSchema(version: number): TSchema {
  const described = bodySchema(volume, 'create', version) as TObject;
  let schema = schemas.get(described);
  if (schema === undefined) {
    const hints = { 'OS-SCH-HNT:scheduler_hints': Type.Optional(Type.Unknown()) };
    schema = Type.Object({ ...described.properties, ...hints }, { additionalProperties: false });
    schemas.set(described, schema);
  }
  return schema;
}

const given = (text: string | null | undefined): string | undefined =>
  text === null || text === '' ? undefined : text;

function wantedOf(body: CreateBody): NewVolume {
  if (isTrue(body.multiattach ?? false)) {
    throw badRequest(
      'multiattach parameter has been removed. The default behavior is to use multiattach enabled volume types. Contact your administrator to create a multiattach enabled volume type and use it to create multiattach volumes.',
    );
  }
  if (given(body.backup_id) !== undefined) throw badRequest('Volumes cannot be made from backups here.');
  if (given(body.group_id) !== undefined || given(body.consistencygroup_id) !== undefined) {
    throw badRequest('Groups of volumes are not served here.');
  }
  return {
    size: body.size === null || body.size === undefined ? undefined : Number(body.size),
    name: trimmed(body.name ?? body.display_name),
    description: trimmed(body.description ?? body.display_description),
    metadata: metadataOf(body.metadata),
    availability_zone: given(body.availability_zone),
    volume_type: given(body.volume_type),
    image_id: given(body.imageRef) ?? given(body.image_id),
    snapshot_id: given(body.snapshot_id),
    source_volid: given(body.source_volid),
  };
}

/** A volume as create and update answer it: without what only show and the detailed list add. */
function plainView(row: Volume, context: RequestContext): Record<string, unknown> {
  const full = renderer<Volume>(volume, convention, context, 'detail')(row);
  return Object.fromEntries(Object.entries(full).filter(([name]) => !name.startsWith('os-vol-')));
}

/** List, summary, create, show, update, delete, metadata. */
export function volumeOperations(core: VolumeCore): Operation[] {
  const { db, cascade } = core;
  const listing = (path: string, view: 'summary' | 'detail') =>
    operation({
      method: 'GET',
      path,
      policy: reads('volume:get_all'),
      status: 200,
      summary: view === 'detail' ? 'List volumes with details' : 'List volumes',
      handle: (call) => {
        const conditions = listed(call.context, call.query);
        return list({ db, store: volumes, path, view, conditions, missing: volumeMissing }, call);
      },
    });

  return [
    listing('/volumes', 'summary'),
    listing('/volumes/detail', 'detail'),
    operation({
      method: 'GET',
      path: '/volumes/summary',
      policy: reads('volume:get_all'),
      status: 200,
      since: 12,
      summary: 'Sum up the volumes of a project',
      handle: async ({ context, query }) => {
        const where = all(listed(context, query));
        const total = await sql<{ count: number; size: number }>`
          select count(*)::int as count, coalesce(sum(size), 0)::float8 as size from volumes where ${where}`.execute(
          db.query,
        );
        const { count = 0, size = 0 } = total.rows[0] ?? {};
        const summary: Record<string, unknown> = { total_count: count, total_size: size };
        if (context.version >= 36) {
          const items = await sql<{ key: string; values: string[] }>`
            select m.key, array_agg(distinct m.value) as values from volumes, jsonb_each_text(metadata) m
            where ${where} group by m.key`.execute(db.query);
          summary.metadata = Object.fromEntries(items.rows.map(({ key, values }) => [key, values]));
        }
        return { 'volume-summary': summary };
      },
    }),
    operation<{ volume: CreateBody }>({
      method: 'POST',
      path: '/volumes',
      policy: writes('volume:create'),
      body: createSchema,
      status: 202,
      summary: 'Create a volume',
      handle: async ({ context, body }) => {
        const wanted = wantedOf(body.volume);
        const row = await db.transaction((tx) => createVolumeRow(core, tx, context, wanted));
        cascade.poke(row.child);
        return { volume: plainView(row, context) };
      },
    }),
    operation({
      method: 'GET',
      path: '/volumes/:volume_id',
      policy: reads('volume:get'),
      status: 200,
      summary: 'Show a volume',
      handle: async ({ context, params }) => {
        const row = await seenVolume(db.query, context, params.volume_id as string);
        return { volume: renderer<Volume>(volume, convention, context, 'detail')(row) };
      },
    }),
    operation<{ volume: CreateBody }>({
      method: 'PUT',
      path: '/volumes/:volume_id',
      policy: writes('volume:update'),
      body: (version) => bodySchema(volume, 'update', version),
      status: 200,
      summary: 'Change name, description or metadata of a volume',
      handle: async ({ context, params, body: { volume: asked } }) => {
        const patch: Partial<Volume> = {};
        const name = asked.name ?? asked.display_name;
        const description = asked.description ?? asked.display_description;
        if (name !== undefined) patch.name = trimmed(name) ?? '';
        if (description !== undefined) patch.description = trimmed(description);
        if (asked.metadata !== undefined) patch.metadata = metadataOf(asked.metadata);
        if (Object.keys(patch).length === 0)
          throw badRequest('Must specify at least one of name, description or metadata.');
        const row = await db.transaction(async (tx) => {
          const before = await lockVolume(tx, context, params.volume_id as string);
          return reviseVolume(core, tx, context, before, patch);
        });
        cascade.poke(row.child);
        return { volume: plainView(row, context) };
      },
    }),
    operation({
      method: 'DELETE',
      path: '/volumes/:volume_id',
      policy: writes('volume:delete'),
      status: 202,
      summary: 'Delete a volume',
      handle: async ({ context, params, query }) => {
        const flag = (value: unknown): boolean => isTrue([value ?? ''].flat()[0]);
        const force = context.version >= 23 && flag(query.force);
        if (force) context.enforce('volume_extension:volume_admin_actions:force_delete');
        const child = await db.transaction(async (tx) => {
          const row = await lockVolume(tx, context, params.volume_id as string);
          await deleteVolume(core, tx, row, { cascade: flag(query.cascade), force, requestId: context.requestId });
          return row.child;
        });
        cascade.poke(child);
        return new Reply(202);
      },
    }),
    ...metadataOperations<Volume>({
      path: '/volumes',
      name: 'volume',
      policies: {
        read: reads('volume:get_volume_metadata'),
        write: writes('volume:update_volume_metadata'),
        remove: writes('volume:delete_volume_metadata'),
      },
      seen: (context, id) => seenVolume(db.query, context, id),
      change: async (context, id, change) => {
        const row = await db.transaction(async (tx) => {
          const before = await lockVolume(tx, context, id);
          return reviseVolume(core, tx, context, before, { metadata: change(before.metadata, before, tx) });
        });
        cascade.poke(row.child);
        return row;
      },
    }),
  ];
}
