/** What servers do with volumes (see the contract in server-volumes.ts). */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { CloudError } from '../../openstack/error.ts';
import { invalidVolume, snapshotMissing, volumeMissing } from '../faults.ts';
import { visible } from '../hosted.ts';
import type { ServerVolumeAttachment, ServerVolumes } from '../server-volumes.ts';
import { createSnapshotRow } from '../snapshot/change.ts';
import { snapshots } from '../snapshot/snapshot.ts';
import { refreshAttached, shownStatus } from './attachment.ts';
import { deleteVolume } from './change.ts';
import { createVolumeRow } from './create.ts';
import { lockVolume, seenVolume, type Volume, type VolumeCore, volumes } from './volume.ts';

const NOT_YET = new Set(['', 'creating', 'downloading']);

/** Without `onChange`, which the service holds. */
export function forServers(core: VolumeCore): Omit<ServerVolumes, 'onChange'> {
  const locked = async (tx: Tx, id: string): Promise<Volume> => {
    const row = await volumes.lock(tx, id);
    if (row === undefined) throw volumeMissing(id);
    return row;
  };

  return {
    async resolve(query, context, volumeId) {
      const row = await seenVolume(query, context, volumeId);
      return {
        id: row.id,
        child: row.child,
        zone: row.availability_zone,
        size: row.size,
        bootable: row.bootable,
        image_id: row.image_metadata?.image_id ?? row.image_id ?? null,
        image_metadata: row.image_metadata ?? {},
        status: row.status,
        multiattach: row.multiattach === true,
      };
    },
    async resolveSnapshot(query, context, snapshotId) {
      const row = await snapshots.find(query, snapshotId, visible(context));
      if (row === undefined) throw snapshotMissing(snapshotId);
      const volume = await volumes.find(query, row.volume_id);
      return {
        id: row.id,
        child: row.child,
        zone: row.availability_zone,
        size: row.size,
        status: row.status,
        image_metadata: volume?.image_metadata ?? {},
      };
    },
    async create(tx, context, wanted) {
      const row = await createVolumeRow(core, tx, context, {
        size: wanted.size,
        name: wanted.name ?? null,
        description: null,
        metadata: {},
        availability_zone: wanted.zone,
        volume_type: wanted.volume_type,
        image_id: wanted.image_id,
        snapshot_id: wanted.snapshot_id,
        source_volid: wanted.source_volume_id,
        place: { child: wanted.child, zone: wanted.zone },
      });
      if (wanted.bootable === true) await volumes.update(tx, row.id, { wanted_bootable: true });
      return row.id;
    },
    async attach(tx, volumeId, to) {
      const row = await locked(tx, volumeId);
      const isBeingMade = row.for_server === true && row.status === 'creating';
      const mine = await tx
        .selectFrom('volume_attachments')
        .select('server_id')
        .where('volume_id', '=', volumeId)
        .execute();
      if ((row.status !== 'available' && !isBeingMade) || mine.length > 0) {
        throw invalidVolume(
          `Volume ${volumeId} status must be available or downloading to reserve, but the current status is ${row.status}.`,
        );
      }
      const device = to.device ?? (await freeDevice(tx, to.server_id, to.device_prefix, isBeingMade));
      const attachment_id = randomUUID();
      await tx
        .insertInto('volume_attachments')
        .values({
          id: attachment_id,
          volume_id: volumeId,
          server_id: to.server_id,
          project_id: row.project_id,
          device,
          delete_on_termination: to.delete_on_termination,
          tag: to.tag ?? null,
          status: 'attaching',
        } as never)
        .execute();
      await refreshAttached(tx, row, isBeingMade ? undefined : 'attaching');
      return { attachment_id, device };
    },
    async detach(tx, volumeId, serverId) {
      const row = await locked(tx, volumeId);
      const ended = await tx
        .updateTable('volume_attachments')
        .set({ status: 'detaching' })
        .where('volume_id', '=', volumeId)
        .where('server_id', '=', serverId)
        .where('status', '=', 'attached')
        .returning('id')
        .execute();
      if (ended.length === 0 || row.status !== 'in-use') {
        throw invalidVolume(
          `Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach.`,
        );
      }
      await refreshAttached(tx, row, 'detaching');
    },
    async unwind(tx, volumeId, serverId) {
      const row = await volumes.lock(tx, volumeId);
      if (row === undefined) return;
      const given = await tx
        .deleteFrom('volume_attachments')
        .where('volume_id', '=', volumeId)
        .where('server_id', '=', serverId)
        .where('status', '=', 'attaching')
        .returning('id')
        .execute();
      const kept = await tx
        .updateTable('volume_attachments')
        .set({ status: 'attached' })
        .where('volume_id', '=', volumeId)
        .where('server_id', '=', serverId)
        .where('status', '=', 'detaching')
        .returning('id')
        .execute();
      if (given.length === 0 && kept.length === 0) return;
      await refreshAttached(
        tx,
        row,
        row.task === '' && row.child_status !== '' ? shownStatus(row.child_status, []) : undefined,
      );
    },
    async setDeleteOnTermination(tx, volumeId, serverId, value) {
      await tx
        .updateTable('volume_attachments')
        .set({ delete_on_termination: value })
        .where('volume_id', '=', volumeId)
        .where('server_id', '=', serverId)
        .execute();
    },
    async snapshot(tx, context, volumeIds, name) {
      const rows = new Map<string, Volume>();
      // Locked before anything is counted, and in one order, so that no two requests ever wait for each other.
      for (const id of volumeIds.toSorted()) rows.set(id, await lockVolume(tx, context, id));
      const made = new Map<string, { id: string; size: number }>();
      for (const volume_id of volumeIds) {
        const description = rows.get(volume_id)?.description ?? null;
        const { id, size } = await createSnapshotRow(core, tx, context, {
          volume_id,
          name,
          description,
          metadata: {},
          force: true,
          // A server that runs has its volumes, whether or not their own feed has said so yet.
          awaitsAttachment: true,
        });
        made.set(volume_id, { id, size });
      }
      return made;
    },
    async attachmentsOf(query, serverIds) {
      const found = new Map<string, ServerVolumeAttachment[]>();
      if (serverIds.length === 0) return found;
      const rows = await query
        .selectFrom('volume_attachments')
        .select(['id', 'server_id', 'volume_id', 'device', 'delete_on_termination', 'tag'])
        .where('server_id', 'in', [...serverIds])
        .orderBy('created_at')
        .orderBy('id')
        .execute();
      for (const { server_id, ...attachment } of rows) {
        found.set(server_id, [...(found.get(server_id) ?? []), attachment]);
      }
      return found;
    },
    async childVolume(context, volumeId) {
      const row = await volumes.find(context.db.query, volumeId);
      const unusable = (tenantMessage: string) =>
        new CloudError(`volume ${volumeId}: ${tenantMessage}`, {
          failure: 'refused',
          stage: 'not-tried',
          status: 404,
          tenantMessage,
        });
      if (row === undefined || row.task === 'delete') throw unusable(`Volume ${volumeId} could not be found.`);
      if (row.child !== context.child) throw unusable(`Volume ${volumeId} is in another availability zone.`);
      if (row.status === 'error') throw unusable(`Volume ${volumeId} could not be made.`);
      // No server boots there from what is not bootable yet; where the child refused that, it says so once more.
      if (row.wanted_bootable === true && row.brought < row.revision) return undefined;
      // Its own work makes it, and its own feed says when it is there.
      return row.child_id === null || NOT_YET.has(row.child_status) ? undefined : row.child_id;
    },
    async leaving(tx, serverId) {
      await tx.updateTable('volume_attachments').set({ status: 'leaving' }).where('server_id', '=', serverId).execute();
    },
    async release(tx, serverId) {
      const ended = await tx
        .deleteFrom('volume_attachments')
        .where('server_id', '=', serverId)
        .returning(['volume_id', 'delete_on_termination'])
        .execute();
      for (const { volume_id, delete_on_termination } of ended.toSorted((one, other) =>
        one.volume_id < other.volume_id ? -1 : 1,
      )) {
        const row = await volumes.lock(tx, volume_id);
        if (row === undefined) continue;
        const isOver = ['attaching', 'in-use', 'detaching', 'reserved'].includes(row.status);
        await refreshAttached(tx, row, isOver ? 'available' : undefined);
        if (delete_on_termination) await deleteVolume(core, tx, row, { released: true });
      }
    },
  };
}

/** The first letter that none of the server's volumes has. */
async function freeDevice(tx: Tx, serverId: string, prefix = '/dev/vd', isBoot = false): Promise<string> {
  const result = await sql<{ device: string }>`
    select device from volume_attachments where server_id = ${serverId}`.execute(tx);
  const taken = new Set(result.rows.map(({ device }) => device));
  const letters = 'abcdefghijklmnopqrstuvwxyz'.slice(isBoot ? 0 : 1);
  const letter = [...letters].find((candidate) => !taken.has(`${prefix}${candidate}`)) ?? 'z';
  return `${prefix}${letter}`;
}
