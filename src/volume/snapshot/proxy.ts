/** The child side of snapshots. */
import { sql } from 'kysely';
import type { ChildRecord, ProxyKind } from '../proxy.ts';
import { isBeingAttached } from './change.ts';
import { finishSnapshot, type Snapshot, snapshots } from './snapshot.ts';

/** A snapshot as a child shows it. */
export interface ChildSnapshot extends ChildRecord {
  readonly 'os-extended-snapshot-attributes:progress'?: string;
}

/** What a hosted kind and a feed are made from. */
export const snapshotProxy: ProxyKind<Snapshot, ChildSnapshot> = {
  kind: 'snapshot',
  collection: 'snapshots',
  store: snapshots,
  async createBody(context, row) {
    const result = await sql<{ child_id: string | null; status: string }>`
      select child_id, status from volumes where id = ${row.volume_id}`.execute(context.db.query);
    const volume = result.rows[0];
    if (volume !== undefined && (volume.child_id === null || isBeingAttached(volume.status))) return undefined;
    // In use or not was decided when the snapshot was asked for.
    const volume_id = volume?.child_id ?? row.volume_id;
    return { volume_id, name: row.name, description: row.description, force: true };
  },
  forcedDelete: (row) => row.forced === true,
  async keeps(query, row) {
    const result = await sql<{ kept: boolean }>`
      select exists (select 1 from volumes where child = ${row.child} and task = 'create' and snapshot_id = ${row.id})
        as kept`.execute(query);
    return result.rows[0]?.kept === true;
  },
  retriesDelete: (_row, status) => status === 'creating' || status === 'backing-up',
  async perform(context, row) {
    if (row.task !== 'reset') return false;
    await context.api.call({
      service: 'volume',
      method: 'POST',
      path: `/snapshots/${row.child_id}/action`,
      body: { 'os-reset_status': { status: row.status } },
      scope: await context.scopeOfExisting(row.project_id),
    });
    return true;
  },
  async apply(tx, row, record) {
    if (typeof record.status !== 'string') throw new Error('a snapshot without a status');
    const progress = record['os-extended-snapshot-attributes:progress'] ?? row.progress;
    if (row.status === record.status && row.child_status === record.status && row.progress === progress) return;
    const patch = { status: record.status, child_status: record.status, progress };
    await snapshots.update(tx, row.id, patch, { revise: false });
  },
  finish: (tx, id) => finishSnapshot(tx, id),
};
