/** Making snapshots, changing them, and their end; each in the caller's transaction, for the proxy to carry out. */
import { randomUUID } from 'node:crypto';
import type { Tx } from '../../db/database.ts';
import type { RequestContext } from '../../http/service.ts';
import { invalidSnapshot, invalidVolume } from '../faults.ts';
import { markActed } from '../hosted.ts';
import { count } from '../quota.ts';
import { typeName } from '../type/type.ts';
import { lockVolume, type VolumeCore } from '../volume/volume.ts';
import { finishSnapshot, type Snapshot, snapshots } from './snapshot.ts';

export interface NewSnapshot {
  readonly volume_id: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly metadata: Readonly<Record<string, string>>;
  /** Of a volume in use, too. */
  readonly force: boolean;
  /** Of one that is still being attached, too: its child makes the snapshot when that is done. */
  readonly awaitsAttachment?: true;
}

/** Whether a volume is on its way to a server: taken for it, and not yet with it. */
export const isBeingAttached = (status: string): boolean => status === 'reserved' || status === 'attaching';

/**
 * Makes a snapshot row where its volume is.
 * @throws Fault 404 for an unknown volume, 400 for one whose status does not allow it, 413 over the quota
 */
export async function createSnapshotRow(
  core: VolumeCore,
  tx: Tx,
  context: RequestContext,
  wanted: NewSnapshot,
): Promise<Snapshot> {
  const volume = await lockVolume(tx, context, wanted.volume_id);
  const statuses = wanted.force ? ['available', 'in-use'] : ['available'];
  if (!statuses.includes(volume.status) && !(wanted.awaitsAttachment && isBeingAttached(volume.status))) {
    throw invalidVolume(
      `Volume ${volume.id} status must be ${statuses.join(', ')}, but current status is: ${volume.status}.`,
    );
  }
  const row = await snapshots.insert(tx, {
    id: randomUUID(),
    project_id: volume.project_id,
    user_id: context.identity.user.id,
    name: wanted.name ?? '',
    description: wanted.description,
    status: 'creating',
    size: volume.size,
    volume_id: volume.id,
    volume_type_id: volume.volume_type_id,
    availability_zone: volume.availability_zone,
    metadata: { ...wanted.metadata },
    child: volume.child,
    child_id: null,
    task: 'create',
    brought: 0,
    create_sent_at: null,
  } as Snapshot);
  await core.cascade.want(tx, row.child, 'snapshot', row.id, { requestId: context.requestId });
  const type = await typeName(tx, volume.volume_type_id);
  await count(tx, row.project_id, type, { snapshots: 1, gigabytes: volume.size });
  return row;
}

/**
 * Asks for a snapshot's end. One that its child never heard of goes at once.
 * @throws Fault 400 where its status does not allow it
 */
export async function deleteSnapshot(
  core: VolumeCore,
  tx: Tx,
  row: Snapshot,
  options: { readonly force?: boolean; readonly requestId?: string } = {},
): Promise<void> {
  if (row.task === 'delete' && options.force !== true) return;
  const isWaiting = row.status === 'creating' && row.child_id === null;
  if (options.force !== true && row.status !== 'available' && row.status !== 'error' && !isWaiting) {
    throw invalidSnapshot('Snapshot status must be available or error and must not be part of a group.');
  }
  const unheard = row.child_id === null && row.create_sent_at === null;
  if (unheard || core.cascade.child(row.child) === undefined) {
    await finishSnapshot(tx, row.id);
    return;
  }
  const patch = { task: 'delete', status: 'deleting', delete_sent: false, forced: options.force === true };
  await assignSnapshot(core, tx, row, patch, options.requestId);
}

/** Puts something to do in the child on the row. What the child showed until now is stale. */
export async function assignSnapshot(
  core: VolumeCore,
  tx: Tx,
  row: Snapshot,
  patch: Partial<Snapshot>,
  requestId?: string,
): Promise<void> {
  await markActed(tx, 'volume_snapshots', row.id);
  await snapshots.update(tx, row.id, patch, { revise: false });
  await core.cascade.want(tx, row.child, 'snapshot', row.id, requestId === undefined ? {} : { requestId });
}
