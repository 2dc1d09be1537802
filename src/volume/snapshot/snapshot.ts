/** Snapshots: a volume as it was at one moment, in the volume's child. */
import { Type } from 'typebox';
import type { Tx } from '../../db/database.ts';
import type { RequestContext } from '../../http/service.ts';
import { computed, field, nullable, resource, type Row, type TableOf, Timestamp } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { snapshotMissing } from '../faults.ts';
import { hiddenFields, type HostedRow, metadataFilter, nameLike, timeFilter, updatedAt, visible } from '../hosted.ts';
import { count } from '../quota.ts';
import { Boolish, Description, Metadata, Name, StoredMetadata } from '../shapes.ts';
import { typeName } from '../type/type.ts';

export const snapshot = resource({
  name: 'snapshot',
  table: 'volume_snapshots',
  fields: {
    ...hiddenFields,
    id: field(Type.String(), { show: 'always', filter: true }),
    created_at: field(Timestamp, { sort: true, show: 'always' }),
    updated: { ...updatedAt, show: 'always' },
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
    description: field(Description, { create: 'optional', update: true, show: 'always' }),
    display_name: field(Name, { create: 'optional', update: true, show: 'never' }),
    display_description: field(Description, { create: 'optional', update: true, show: 'never' }),
    volume_id: field(Type.String(), {
      create: 'required',
      input: nullable(Type.String({ format: 'uuid' })),
      filter: true,
      show: 'always',
    }),
    force: field(nullable(Boolish), { create: 'optional', show: 'never' }),
    status: field(Type.String(), { filter: true, sort: true, show: 'always' }),
    size: field(Type.Integer(), { filter: true, sort: true, show: 'always' }),
    metadata: field(StoredMetadata, {
      create: 'optional',
      update: true,
      input: nullable(Metadata),
      column: true,
      filter: metadataFilter,
      show: 'always',
    }),
    group_snapshot_id: computed(() => null, { since: 14, show: 'always' }),
    user_id: field(Type.String(), { column: true, since: 41, show: 'always' }),
    consumes_quota: computed(() => true, { since: 65, show: 'always' }),
    tenant: computed<HostedRow>((row) => row.project_id, { name: 'os-extended-snapshot-attributes:project_id' }),
    progress: field(Type.String(), { name: 'os-extended-snapshot-attributes:progress', default: '0%' }),
    volume_type_id: field(Type.String(), { column: true, show: 'never' }),
    availability_zone: field(Type.String(), { column: true, show: 'never', filter: true }),
    /** Deleted whatever its status. */
    forced: field(Type.Boolean(), { show: 'never' }),
  },
  filters: {
    'name~': nameLike,
    created_at: timeFilter('created_at'),
    updated_at: timeFilter('updated_at'),
  },
});

export type Snapshot = Row<typeof snapshot>;

declare module '../../db/tables.ts' {
  interface Tables {
    volume_snapshots: TableOf<typeof snapshot>;
  }
}

export const snapshots = createStore<typeof snapshot, Snapshot>(snapshot);

/**
 * The snapshot, locked, where the caller may see it.
 * @throws Fault 404
 */
export async function lockSnapshot(tx: Tx, context: RequestContext, id: string): Promise<Snapshot> {
  const row = await snapshots.lock(tx, id, visible(context));
  if (row === undefined) throw snapshotMissing(id);
  return row;
}

/** The snapshot is gone, and what it took of the quota. Twice: the second finds nothing. */
export async function finishSnapshot(tx: Tx, id: string): Promise<void> {
  const row = await snapshots.lock(tx, id);
  if (row === undefined) return;
  await snapshots.remove(tx, id);
  await count(tx, row.project_id, await typeName(tx, row.volume_type_id), { snapshots: -1, gigabytes: -row.size });
}
