/** What may be done to a volume once it is there; each in the caller's transaction, for the proxy to carry out. */
import { sql } from 'kysely';
import { ADMINISTRATORS_ONLY, mayAdminister } from '../../cascade/rights.ts';
import type { Tx } from '../../db/database.ts';
import { conflict } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { invalidInput, invalidVolume } from '../faults.ts';
import { checkSize, count } from '../quota.ts';
import { type Snapshot, snapshots } from '../snapshot/snapshot.ts';
import { deleteSnapshot } from '../snapshot/change.ts';
import { typeName } from '../type/type.ts';
import { attachmentsOfVolumes } from './attachment.ts';
import { assign, finishVolume, type Volume, type VolumeCore, volumes } from './volume.ts';

const DELETABLE = new Set(['available', 'error', 'error_restoring', 'error_extending', 'error_managing']);

export interface DeleteOptions {
  /** Its snapshots go as well. */
  readonly cascade?: boolean;
  /** Whatever its status; attachments and snapshots stand against it all the same. */
  readonly force?: boolean;
  /** Its server went: the child may show it in use for a moment. */
  readonly released?: boolean;
  readonly requestId?: string;
}

/**
 * Asks for a volume's end. One that its child never heard of goes at once.
 * @throws Fault 400 where its status, attachments or snapshots stand against it
 */
export async function deleteVolume(core: VolumeCore, tx: Tx, row: Volume, options: DeleteOptions = {}): Promise<void> {
  if (row.task === 'delete' && options.force !== true) return;
  const own = await snapshots.select(tx, [sql<boolean>`volume_id = ${row.id}`]);
  // Nobody's snapshots go because a server does; nor would its Nova's delete of the volume have been taken.
  if (options.released === true && own.length > 0) return;
  if (options.released !== true) await refuseDelete(tx, row, own, options);
  for (const snapshot of own) await deleteSnapshot(core, tx, snapshot, { force: options.force === true });
  const unheard = row.child_id === null && row.create_sent_at === null;
  if (unheard || core.cascade.child(row.child) === undefined) {
    await finishVolume(core, tx, row.id);
    return;
  }
  const patch = {
    task: 'delete',
    status: 'deleting',
    delete_sent: false,
    force: options.force === true,
    released: options.released === true,
  };
  await assign(core, tx, row, patch, options.requestId);
}

async function refuseDelete(tx: Tx, row: Volume, own: readonly Snapshot[], options: DeleteOptions): Promise<void> {
  const attached = await attachmentsOfVolumes(tx, [row.id]);
  const busy = own.filter(({ status }) => !['available', 'error', 'deleting'].includes(status));
  const withSnapshots = options.cascade === true ? busy.length > 0 : own.length > 0;
  // One that is being made for nobody may be given up: its child may be down for long.
  const isWaiting = row.status === 'creating' && row.child_id === null;
  if ((DELETABLE.has(row.status) || isWaiting || options.force === true) && attached.length === 0 && !withSnapshots)
    return;
  throw invalidVolume(
    'Volume status must be available or error or error_restoring or error_extending or error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots after volume transfer.',
  );
}

/**
 * Asks for a larger volume; the difference is counted at once.
 * @throws Fault 400 for a size that is not larger or a status that does not allow it, 413 over the quota
 */
export async function extendVolume(core: VolumeCore, tx: Tx, context: RequestContext, row: Volume, size: number) {
  if (size <= row.size) {
    throw invalidInput(
      `New size for extend must be greater than current size. (current: ${row.size}, extended: ${size}).`,
    );
  }
  if (row.status !== 'available' && !(row.status === 'in-use' && context.version >= 42)) {
    throw invalidVolume(
      `Volume ${row.id} status must be '{'status': 'available'}' to extend, currently ${row.status}.`,
    );
  }
  refuseBusy(row);
  await checkSize(tx, row.project_id, size);
  const patch = { task: 'extend', status: 'extending', extend_to: size, counted_gb: size };
  await assign(core, tx, row, patch, context.requestId);
  await count(tx, row.project_id, await typeName(tx, row.volume_type_id), { gigabytes: size - row.counted_gb });
}

/** What an admin says a volume's state is, here and in the child. @throws Fault 400 where the account there is none */
export async function resetVolume(
  core: VolumeCore,
  tx: Tx,
  context: RequestContext,
  row: Volume,
  to: Readonly<Record<string, string>>,
): Promise<void> {
  if (row.child_id !== null && !(await mayAdminister(tx, row.child))) {
    throw invalidVolume(`The status of volume ${row.id} cannot be reset: ${ADMINISTRATORS_ONLY}.`);
  }
  const status = to.status === undefined ? {} : { status: to.status };
  if (to.attach_status === 'detached') {
    const ended = await tx
      .deleteFrom('volume_attachments')
      .where('volume_id', '=', row.id)
      .returning('server_id')
      .execute();
    if (ended.length > 0)
      await core.attachmentsChanged(
        tx,
        ended.map(({ server_id }) => server_id),
      );
    await volumes.update(tx, row.id, { attached: [] }, { revise: false });
  }
  if (row.child_id === null) {
    await volumes.update(tx, row.id, status, { revise: false });
    return;
  }
  await assign(core, tx, row, { ...status, task: 'reset', reset_to: { ...to } }, context.requestId);
}

/** Registers an image that the child will make of the volume; gives the image's id. */
export async function uploadVolume(
  core: VolumeCore,
  tx: Tx,
  context: RequestContext,
  row: Volume,
  wanted: { name: string; disk_format: string; container_format: string; force: boolean },
): Promise<string> {
  const statuses = wanted.force ? ['available', 'in-use'] : ['available'];
  if (!statuses.includes(row.status)) {
    throw invalidVolume(`Volume ${row.id} status must be ${statuses.join(' or ')}`);
  }
  refuseBusy(row);
  const { disk_format, container_format, force } = wanted;
  const image_id = await core.images.registerSnapshot(tx, context, {
    name: wanted.name,
    properties: {},
    child: row.child,
    server_id: '',
    disk_format,
    container_format,
    min_disk: row.size,
  });
  const upload = { image_id, disk_format, container_format, force };
  await assign(core, tx, row, { task: 'upload', status: 'uploading', upload }, context.requestId);
  return image_id;
}

/** Name, description, metadata and flags: the proxy brings them to the child. */
export async function reviseVolume(
  core: VolumeCore,
  tx: Tx,
  context: RequestContext,
  row: Volume,
  patch: Partial<Volume>,
): Promise<Volume> {
  const after = (await volumes.update(tx, row.id, patch)) ?? row;
  if (row.task === '' || row.child_id !== null) {
    await core.cascade.want(tx, row.child, 'volume', row.id, { requestId: context.requestId });
  }
  return after;
}

/** One thing at a time is under way in the child. */
function refuseBusy(row: Volume): void {
  if (row.task !== '' && row.task !== 'create') {
    throw conflict(`Volume ${row.id} is busy with an earlier request; try again in a moment.`);
  }
  if (row.child_id === null) throw invalidVolume(`Volume ${row.id} is not there yet.`);
}
