/** The child side of volumes: what a create says, what else is done there, and what is read back. */
import { sql } from 'kysely';
import type { ChildContext } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { count } from '../quota.ts';
import { call, type ChildRecord, look, type ProxyKind } from '../proxy.ts';
import { DEFAULT_TYPE, typeName } from '../type/type.ts';
import { attachmentsOfVolumes, refreshAttached, shownStatus } from './attachment.ts';
import { finishVolume, type Volume, type VolumeCore, volumes } from './volume.ts';

/** A volume as a child shows it. */
export interface ChildVolume extends ChildRecord {
  readonly bootable?: string | boolean;
  readonly volume_image_metadata?: Readonly<Record<string, string>>;
  readonly attachments?: readonly {
    readonly attachment_id?: string;
    readonly device?: string | null;
    readonly attached_at?: string | null;
  }[];
}

const TYPES_KEPT_MS = 60_000;
/** How long a volume whose server went may take to be free for its delete. */
const FREEING_MS = 60_000;
/** In these the child is at something with the volume: a delete refused then is only early. */
const PASSING =
  /^(attaching|detaching|reserved|creating|downloading|extending|uploading|maintenance|retyping|backing-up)$/;

/** What a hosted kind and a feed are made from. */
export function volumeProxy(core: VolumeCore): ProxyKind<Volume, ChildVolume> {
  const typesOf = childTypes();
  const kind: ProxyKind<Volume, ChildVolume> = {
    kind: 'volume',
    collection: 'volumes',
    store: volumes,
    async createBody(context, row) {
      const { query } = context.db;
      const sources: Record<string, string> = {};
      if (row.snapshot_id !== null) {
        const source = await sourceOf(context, 'volume_snapshots', row.snapshot_id);
        if (source === 'gone') return { size: row.size, snapshot_id: row.snapshot_id };
        if (source === 'waiting') return undefined;
        sources.snapshot_id = source.child_id;
      }
      if (row.source_volid !== null) {
        const source = await sourceOf(context, 'volumes', row.source_volid);
        if (source === 'gone') return { size: row.size, source_volid: row.source_volid };
        if (source === 'waiting') return undefined;
        sources.source_volid = source.child_id;
      }
      if (row.image_id !== null) sources.imageRef = (await context.ensure('image', row.image_id)).child_id;
      const type = await typeName(query, row.volume_type_id);
      const hasType = type !== DEFAULT_TYPE && (await typesOf(context)).has(type);
      const zone = context.childZone(row.availability_zone);
      return {
        size: row.size,
        name: row.name,
        description: row.description,
        ...(zone === undefined ? {} : { availability_zone: zone }),
        ...(hasType ? { volume_type: type } : {}),
        ...sources,
      };
    },
    forcedDelete: (row) => row.force === true,
    async keeps(query, row) {
      const result = await sql<{ kept: boolean }>`
        select exists (select 1 from volume_snapshots where volume_id = ${row.id} and task = 'delete')
          or exists (select 1 from volumes where child = ${row.child} and task = 'create' and source_volid = ${row.id})
          as kept`.execute(query);
      return result.rows[0]?.kept === true;
    },
    // Refused while in use, and free a moment later when it was looked at: that is worth another try, for a while.
    retriesDelete: (row, status) =>
      PASSING.test(status) ||
      (row.released === true &&
        (status === 'in-use' || (status === 'available' && Date.now() - Date.parse(row.acted_at) < FREEING_MS))),
    wantsMore: (row) => typeof row.wanted_bootable === 'boolean',
    async bringMore(context, row) {
      const flags = { wanted_bootable: row.wanted_bootable, wanted_readonly: row.wanted_readonly };
      const path = `/volumes/${row.child_id}/action`;
      if (typeof row.wanted_bootable === 'boolean') {
        await call(context, row, {
          method: 'POST',
          path,
          body: { 'os-set_bootable': { bootable: row.wanted_bootable } },
        });
      }
      if (typeof row.wanted_readonly === 'boolean') {
        const body = { 'os-update_readonly_flag': { readonly: row.wanted_readonly } };
        await call(context, row, { method: 'POST', path, body });
      }
      if (flags.wanted_bootable === undefined && flags.wanted_readonly === undefined) return;
      // Said again meanwhile: then the flag stays, and is brought with the next revision.
      await sql`update volumes set body = body || '{"wanted_bootable": null, "wanted_readonly": null}'
        where id = ${row.id} and revision = ${row.revision}`.execute(context.db.query);
    },
    async perform(context, row) {
      const path = `/volumes/${row.child_id}/action`;
      switch (row.task) {
        case 'extend': {
          // Done by a call whose answer was lost: the child is at it, or has it behind itself.
          const now = await look(kind, context, row, row.child_id ?? '');
          if (now?.status === 'extending' || (now?.size ?? 0) >= (row.extend_to ?? 0)) return true;
          const body = { 'os-extend': { new_size: row.extend_to } };
          await call(context, row, { method: 'POST', path, body, microversion: '3.42', atMost: true });
          return true;
        }
        case 'reset':
          await call(context, row, { method: 'POST', path, body: { 'os-reset_status': row.reset_to } });
          return true;
        case 'upload':
          await upload(core, context, row);
          return true;
        default:
          return false;
      }
    },
    apply: (tx, row, record) => applyVolume(core, tx, row, record),
    finish: (tx, id) => finishVolume(core, tx, id),
  };
  return kind;
}

/** A source in the same child: its id there, or that it is being made, or that it is no more. */
async function sourceOf(context: ChildContext, table: 'volumes' | 'volume_snapshots', id: string) {
  const result = await sql<{ child_id: string | null; status: string }>`
    select child_id, status from ${sql.table(table)} where id = ${id}`.execute(context.db.query);
  const source = result.rows[0];
  if (source === undefined || (source.child_id === null && source.status === 'error')) return 'gone' as const;
  const isBeingMade = source.child_id === null || (table === 'volume_snapshots' && source.status === 'creating');
  return isBeingMade || source.child_id === null ? ('waiting' as const) : { child_id: source.child_id };
}

/** Names of a child's volume types, asked for once a minute. */
function childTypes(): (context: ChildContext) => Promise<ReadonlySet<string>> {
  const kept = new Map<string, { readonly until_ms: number; readonly names: ReadonlySet<string> }>();
  return async (context) => {
    const known = kept.get(context.child);
    if (known !== undefined && known.until_ms > Date.now()) return known.names;
    const { body } = await context.api.call<{ volume_types: { name: string }[] }>({
      service: 'volume',
      method: 'GET',
      path: '/types',
      query: { is_public: 'None' },
    });
    const names = new Set(body.volume_types.map(({ name }) => name));
    kept.set(context.child, { names, until_ms: Date.now() + TYPES_KEPT_MS });
    return names;
  };
}

/** Twice: the image there is named by the parent's id, and is looked for before another is made. */
async function upload(core: VolumeCore, context: ChildContext, row: Volume): Promise<void> {
  const { upload: wanted } = row;
  if (wanted === null || wanted === undefined) return;
  const scope = await context.scope(row.project_id);
  const there = await context.api.call<{ images: { id: string; name: string }[] }>({
    service: 'image',
    method: 'GET',
    path: '/images',
    query: { name: wanted.image_id },
    scope,
  });
  let child_id = there.body.images.find(({ name }) => name === wanted.image_id)?.id;
  if (child_id === undefined) {
    const { image_id, disk_format, container_format, force } = wanted;
    const body = { 'os-volume_upload_image': { image_name: image_id, disk_format, container_format, force } };
    try {
      const answer = await call<{ 'os-volume_upload_image': { image_id: string } }>(context, row, {
        method: 'POST',
        path: `/volumes/${row.child_id}/action`,
        body,
      });
      child_id = answer.body['os-volume_upload_image'].image_id;
    } catch (error) {
      await abandon(core, context, error, image_id);
      throw error;
    }
  }
  const made = { image_id: wanted.image_id, child: context.child, child_id };
  await context.db.transaction((tx) => core.images.adoptChildImage(tx, made));
}

async function abandon(core: VolumeCore, context: ChildContext, error: unknown, imageId: string): Promise<void> {
  const { failure, transient } = error as { failure?: unknown; transient?: unknown };
  if (failure !== 'refused' || transient === true) return;
  await context.db.transaction((tx) => core.images.abandonSnapshot(tx, imageId));
}

/** What a child shows of a volume, into its row; writes nothing where nothing changed. */
async function applyVolume(core: VolumeCore, tx: Tx, row: Volume, record: ChildVolume): Promise<void> {
  if (typeof record.status !== 'string') throw new Error('a volume without a status');
  await applyAttachments(core, tx, row, record);
  const status = shownStatus(record.status, await attachmentsOfVolumes(tx, [row.id]));
  const size = Number.isSafeInteger(record.size) ? (record.size as number) : row.size;
  const bootable = String(record.bootable) === 'true';
  const patch: Partial<Volume> = {};
  if (row.status !== status) patch.status = status;
  if (row.child_status !== record.status) patch.child_status = record.status;
  if (row.size !== size) patch.size = size;
  if (row.bootable !== bootable && typeof row.wanted_bootable !== 'boolean') patch.bootable = bootable;
  const image = record.volume_image_metadata;
  if (image !== undefined && JSON.stringify(image) !== JSON.stringify(row.image_metadata)) {
    patch.image_metadata = Object.fromEntries(Object.entries(image).map(([key, value]) => [key, String(value)]));
  }
  // Once an extension is over, in whichever way, the quota holds what is there.
  const isResting = record.status !== 'extending' && record.status !== 'creating';
  const difference = isResting ? size - row.counted_gb : 0;
  if (difference !== 0) patch.counted_gb = size;
  if (Object.keys(patch).length > 0) await volumes.update(tx, row.id, patch, { revise: false });
  if (difference !== 0) await recount(tx, row, difference);
}

/** Growth behind the parent's back is counted too, though nobody can be refused it any more. */
async function recount(tx: Tx, row: Volume, gigabytes: number): Promise<void> {
  const type = await typeName(tx, row.volume_type_id);
  if (gigabytes < 0) {
    await count(tx, row.project_id, type, { gigabytes });
    return;
  }
  await sql`insert into quotas as q (project_id, service, resource, in_use)
    select ${row.project_id}, 'volume', resource, ${gigabytes}::bigint
    from unnest(array['gigabytes', ${`gigabytes_${type}`}]::text[]) as r(resource) order by resource
    on conflict (project_id, service, resource) do update set in_use = q.in_use + excluded.in_use`.execute(tx);
}

async function applyAttachments(core: VolumeCore, tx: Tx, row: Volume, record: ChildVolume): Promise<void> {
  const ours = await attachmentsOfVolumes(tx, [row.id]);
  if (ours.length === 0) return;
  const [there] = record.attachments ?? [];
  const changed: string[] = [];
  for (const one of ours) {
    if (one.status === 'leaving') continue;
    if (there !== undefined) {
      const device = there.device ?? one.device;
      if (one.status !== 'attaching' && (one.device === device || one.status === 'detaching')) continue;
      await tx
        .updateTable('volume_attachments')
        .set({
          status: 'attached',
          device,
          child_attachment: there.attachment_id ?? null,
          attached_at: sql<string>`coalesce(attached_at, clock_timestamp())`,
        })
        .where('id', '=', one.id)
        .execute();
      changed.push(one.server_id);
    } else if (one.status !== 'attaching' && !PASSING.test(record.status)) {
      await tx.deleteFrom('volume_attachments').where('id', '=', one.id).execute();
      changed.push(one.server_id);
    }
  }
  if (changed.length === 0) return;
  await refreshAttached(tx, row);
  await core.attachmentsChanged(tx, changed);
}
