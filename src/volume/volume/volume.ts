/** Volumes: blocks of storage, each in one child. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Db, Queryable, Tx } from '../../db/database.ts';
import type { Cascade } from '../../cascade/contract.ts';
import type { RequestContext } from '../../http/service.ts';
import type { ServerImages } from '../../image/server-images.ts';
import { computed, field, nullable, resource, type Row, type TableOf, Timestamp } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { volumeMissing } from '../faults.ts';
import {
  hiddenFields,
  type HostedRow,
  markActed,
  metadataFilter,
  nameLike,
  projectIn,
  timeFilter,
  updatedAt,
  visible,
} from '../hosted.ts';
import { count } from '../quota.ts';
import { Description, isTrue, Metadata, Name, Size, StoredMetadata } from '../shapes.ts';
import { typeName } from '../type/type.ts';

/** An attachment as it is shown beside its volume. */
const Attached = Type.Object({
  attachment_id: Type.String(),
  server_id: Type.String(),
  device: Type.String(),
  attached_at: nullable(Type.String()),
});

/** What an upload to an image waits for. */
export const Upload = Type.Object({
  image_id: Type.String(),
  disk_format: Type.String(),
  container_format: Type.String(),
  force: Type.Boolean(),
});

const OptionalId = nullable(Type.String({ maxLength: 255 }));

export const volume = resource({
  name: 'volume',
  table: 'volumes',
  unknownAttributes: 'ignore',
  fields: {
    ...hiddenFields,
    id: field(Type.String(), { show: 'always', filter: true }),
    status: field(Type.String(), { filter: true, sort: true }),
    size: field(Type.Integer(), { create: 'optional', input: nullable(Size), filter: true, sort: true }),
    availability_zone: field(Type.String(), { create: 'optional', input: OptionalId, filter: true, sort: true }),
    created_at: field(Timestamp, { sort: true }),
    updated: updatedAt,
    name: field(Type.String(), {
      create: 'optional',
      update: true,
      input: Name,
      filter: true,
      sort: true,
      show: 'never',
    }),
    shown_name: computed<{ name: string }>((row) => (row.name === '' ? null : row.name), {
      name: 'name',
      show: 'always',
    }),
    description: field(Description, { create: 'optional', update: true }),
    display_name: field(Name, { create: 'optional', update: true, show: 'never' }),
    display_description: field(Description, { create: 'optional', update: true, show: 'never' }),
    volume_type_id: field(Type.String(), { column: true, since: 63 }),
    volume_type: field(OptionalId, { create: 'optional' }),
    snapshot_id: field(OptionalId, { create: 'optional', column: true }),
    source_volid: field(OptionalId, { create: 'optional', column: true }),
    imageRef: field(OptionalId, { create: 'optional', show: 'never' }),
    image_id: field(OptionalId, { create: 'optional', show: 'never' }),
    metadata: field(StoredMetadata, {
      create: 'optional',
      update: true,
      input: nullable(Metadata),
      column: true,
      filter: metadataFilter,
    }),
    links: computed<{ id: string }>(
      ({ id }, context) => {
        const bookmark = context.baseUrl.replace(/\/v3$/, '');
        return [
          { rel: 'self', href: `${context.baseUrl}/${projectIn(context)}/volumes/${id}` },
          { rel: 'bookmark', href: `${bookmark}/${projectIn(context)}/volumes/${id}` },
        ];
      },
      { show: 'always' },
    ),
    user_id: field(Type.String(), { column: true }),
    bootable: field(Type.Boolean(), {
      column: true,
      show: 'never',
      filter: (values) => sql<SqlBool>`bootable = ${isTrue(values[0] ?? '')}`,
    }),
    shown_bootable: computed<{ bootable: boolean }>((row) => String(row.bootable), { name: 'bootable' }),
    encrypted: computed(() => false),
    replication_status: computed(() => null),
    consistencygroup_id: computed(() => null),
    multiattach: field(nullable(Type.Boolean()), { create: 'optional', default: false }),
    attached: field(Type.Array(Attached), { default: [], show: 'never' }),
    attachments: computed<{ id: string; child: string; attached: Attachment[] }>((row, { identity }) =>
      row.attached.map((one) => ({
        id: row.id,
        attachment_id: one.attachment_id,
        volume_id: row.id,
        server_id: one.server_id,
        host_name: identity.isAdmin ? row.child : null,
        device: one.device,
        attached_at: one.attached_at?.slice(0, 26) ?? null,
      })),
    ),
    migration_status: computed((_row, { identity }) => (identity.isAdmin ? null : undefined)),
    group_id: computed(() => null, { since: 13 }),
    provider_id: computed((_row, { identity }) => (identity.isAdmin ? null : undefined), { since: 21 }),
    shared_targets: computed(() => false, { since: 48 }),
    service_uuid: computed(() => null, { since: 48 }),
    cluster_name: computed((_row, { identity }) => (identity.isAdmin ? null : undefined), { since: 61 }),
    consumes_quota: computed(() => true, { since: 65 }),
    image_metadata: field(nullable(Type.Record(Type.String(), Type.String())), { show: 'never' }),
    volume_image_metadata: computed<{ image_metadata?: unknown }>((row) => row.image_metadata ?? undefined),
    tenant: computed<HostedRow>((row) => row.project_id, { name: 'os-vol-tenant-attr:tenant_id' }),
    migstat: admins('os-vol-mig-status-attr:migstat', () => null),
    migration_name: admins('os-vol-mig-status-attr:name_id', () => null),
    host: admins('os-vol-host-attr:host', (row) => hostOf(row.child)),
    counted_gb: field(Type.Integer(), { column: true, show: 'never' }),
    /** Wanted of the child beside name, description and metadata; absent where nothing was said. */
    wanted_bootable: field(nullable(Type.Boolean()), { show: 'never' }),
    wanted_readonly: field(nullable(Type.Boolean()), { show: 'never' }),
    extend_to: field(nullable(Type.Integer()), { show: 'never' }),
    reset_to: field(nullable(Type.Record(Type.String(), Type.String())), { show: 'never' }),
    upload: field(nullable(Upload), { show: 'never' }),
    force: field(Type.Boolean(), { show: 'never' }),
    /** Made by a boot: it may be attached before it is there. */
    for_server: field(Type.Boolean(), { show: 'never' }),
    /** Its server went a moment ago: the child may still show it in use, and yet it is to be deleted. */
    released: field(Type.Boolean(), { show: 'never' }),
  },
  filters: {
    'name~': nameLike,
    created_at: timeFilter('created_at'),
    updated_at: timeFilter('updated_at'),
  },
});

interface Attachment {
  attachment_id: string;
  server_id: string;
  device: string;
  attached_at: string | null;
}

function admins(name: string, compute: (row: HostedRow) => unknown) {
  return computed<HostedRow>((row, { identity }) => (identity.isAdmin ? compute(row) : undefined), { name });
}

/** The host of a child's volumes as admins see it, in Cinder's form `host@backend#pool`. */
export const hostOf = (child: string): string => `${child}@headwater#headwater`;

export type Volume = Row<typeof volume>;

declare module '../../db/tables.ts' {
  interface Tables {
    volumes: TableOf<typeof volume>;
  }
}

export const volumes = createStore<typeof volume, Volume>(volume);

/** Statuses in which nothing is under way in the child. */
export const RESTING = [
  'available',
  'in-use',
  'error',
  'error_deleting',
  'error_extending',
  'error_restoring',
  'error_backing-up',
  'maintenance',
  'awaiting-transfer',
];

/** What the volume service is made from. */
export interface VolumeCore {
  readonly db: Db;
  readonly cascade: Cascade;
  readonly images: ServerImages;
  /** Told in the same transaction that attachments of servers changed. */
  readonly attachmentsChanged: (tx: Tx, serverIds: readonly string[]) => Promise<void>;
}

/**
 * The volume, locked, where the caller may see it.
 * @throws Fault 404
 */
export async function lockVolume(tx: Tx, context: RequestContext, id: string): Promise<Volume> {
  const row = await volumes.lock(tx, id, visible(context));
  if (row === undefined) throw volumeMissing(id);
  return row;
}

/** The same without a lock. */
export async function seenVolume(query: Queryable, context: RequestContext, id: string): Promise<Volume> {
  const row = await volumes.find(query, id, visible(context));
  if (row === undefined) throw volumeMissing(id);
  return row;
}

/** The volume is gone: its attachments and what it took of the quota go too. Twice: the second finds nothing. */
export async function finishVolume(core: VolumeCore, tx: Tx, id: string): Promise<void> {
  const row = await volumes.lock(tx, id);
  if (row === undefined) return;
  const ended = await tx.deleteFrom('volume_attachments').where('volume_id', '=', id).returning('server_id').execute();
  await volumes.remove(tx, id);
  if (ended.length > 0)
    await core.attachmentsChanged(
      tx,
      ended.map(({ server_id }) => server_id),
    );
  const type = await typeName(tx, row.volume_type_id);
  await count(tx, row.project_id, type, { volumes: -1, gigabytes: -row.counted_gb });
}

/** Puts something to do in the child on the row. What the child showed until now is stale. */
export async function assign(
  core: VolumeCore,
  tx: Tx,
  row: Volume,
  patch: Partial<Volume>,
  requestId?: string,
): Promise<Volume> {
  await markActed(tx, 'volumes', row.id);
  const after = await volumes.update(tx, row.id, patch, { revise: false });
  await core.cascade.want(tx, row.child, 'volume', row.id, requestId === undefined ? {} : { requestId });
  return after ?? row;
}
