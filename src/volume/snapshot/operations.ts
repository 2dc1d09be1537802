/** The snapshots API. */
import { Type } from 'typebox';
import { ADMINISTRATORS_ONLY, mayAdminister } from '../../cascade/rights.ts';
import { volume as convention } from '../../http/conventions.ts';
import { badRequest } from '../../http/fault.ts';
import { type Operation, operation, Reply, type RequestContext } from '../../http/service.ts';
import { renderer, type View } from '../../resource/render.ts';
import { nullable } from '../../resource/resource.ts';
import { bodySchema } from '../../resource/schema.ts';
import { snapshotMissing } from '../faults.ts';
import { listed, visible } from '../hosted.ts';
import { list } from '../lists.ts';
import { metadataOperations } from '../metadata.ts';
import { administers, reads, writes } from '../rules.ts';
import { isTrue, metadataOf, trimmed } from '../shapes.ts';
import type { VolumeCore } from '../volume/volume.ts';
import { assignSnapshot, createSnapshotRow, deleteSnapshot } from './change.ts';
import { lockSnapshot, type Snapshot, snapshot, snapshots } from './snapshot.ts';

interface SnapshotBody {
  volume_id?: string | null;
  name?: string | null;
  display_name?: string | null;
  description?: string | null;
  display_description?: string | null;
  metadata?: Record<string, string | null> | null;
  force?: unknown;
}

const STATUSES = '^(available|error|creating|deleting|error_deleting)$';
const Reset = Type.Object(
  { 'os-reset_status': Type.Object({ status: Type.String({ pattern: STATUSES }) }, { additionalProperties: false }) },
  { additionalProperties: false },
);
const ForceDelete = Type.Object({ 'os-force_delete': nullable(Type.Object({})) }, { additionalProperties: false });
/** From here on, snapshots of volumes in use need no force. */
const FORCE_IMPLIED = 66;

const view = (row: Snapshot, context: RequestContext, shown: View) => ({
  snapshot: renderer<Snapshot>(snapshot, convention, context, shown)(row),
});

/** List, create, show, update, delete, metadata and the two actions of admins. */
export function snapshotOperations(core: VolumeCore): Operation[] {
  const { db, cascade } = core;
  const seen = async (context: RequestContext, id: string): Promise<Snapshot> => {
    const row = await snapshots.find(db.query, id, visible(context));
    if (row === undefined) throw snapshotMissing(id);
    return row;
  };
  const listing = (path: string, shown: View) =>
    operation({
      method: 'GET',
      path,
      policy: reads('volume:get_all_snapshots'),
      status: 200,
      summary: shown === 'detail' ? 'List snapshots with details' : 'List snapshots',
      handle: (call) => {
        const conditions = listed(call.context, call.query);
        return list({ db, store: snapshots, path, view: shown, conditions, missing: snapshotMissing }, call);
      },
    });
  /** Locks, changes, wants the change brought to the child. */
  const revise = async (
    context: RequestContext,
    id: string,
    patchOf: (row: Snapshot) => Partial<Snapshot>,
  ): Promise<Snapshot> => {
    const row = await db.transaction(async (tx) => {
      const before = await lockSnapshot(tx, context, id);
      const after = (await snapshots.update(tx, id, patchOf(before))) ?? before;
      await cascade.want(tx, after.child, 'snapshot', id, { requestId: context.requestId });
      return after;
    });
    cascade.poke(row.child);
    return row;
  };
  const remove = async (context: RequestContext, id: string, force: boolean): Promise<Reply> => {
    const child = await db.transaction(async (tx) => {
      const row = await lockSnapshot(tx, context, id);
      await deleteSnapshot(core, tx, row, { force, requestId: context.requestId });
      return row.child;
    });
    cascade.poke(child);
    return new Reply(202);
  };

  return [
    listing('/snapshots', 'summary'),
    listing('/snapshots/detail', 'detail'),
    operation<{ snapshot: SnapshotBody }>({
      method: 'POST',
      path: '/snapshots',
      policy: writes('volume:create_snapshot'),
      body: (version) => bodySchema(snapshot, 'create', version),
      status: 202,
      summary: 'Create a snapshot',
      handle: async ({ context, body: { snapshot: asked } }) => {
        if (typeof asked.volume_id !== 'string') throw badRequest("'volume_id' must be specified");
        if (
          context.version >= FORCE_IMPLIED &&
          asked.force !== undefined &&
          asked.force !== null &&
          !isTrue(asked.force)
        ) {
          throw badRequest(
            `Since microversion 3.${FORCE_IMPLIED} of the Block Storage API, the 'force' option is invalid for this request. For backward compatibility, however, when the 'force' flag is passed with a value evaluating to True, it is silently ignored.`,
          );
        }
        const wanted = {
          volume_id: asked.volume_id,
          name: trimmed(asked.name ?? asked.display_name),
          description: trimmed(asked.description ?? asked.display_description),
          metadata: metadataOf(asked.metadata),
          force: context.version >= FORCE_IMPLIED || isTrue(asked.force ?? false),
        };
        const row = await db.transaction((tx) => createSnapshotRow(core, tx, context, wanted));
        cascade.poke(row.child);
        return view(row, context, 'summary');
      },
    }),
    operation({
      method: 'GET',
      path: '/snapshots/:snapshot_id',
      policy: reads('volume:get_snapshot'),
      status: 200,
      summary: 'Show a snapshot',
      handle: async ({ context, params }) => view(await seen(context, params.snapshot_id as string), context, 'detail'),
    }),
    operation<{ snapshot: SnapshotBody }>({
      method: 'PUT',
      path: '/snapshots/:snapshot_id',
      policy: writes('volume:update_snapshot'),
      body: (version) => bodySchema(snapshot, 'update', version),
      status: 200,
      summary: 'Change name or description of a snapshot',
      handle: async ({ context, params, body: { snapshot: asked } }) => {
        const patch: Partial<Snapshot> = {};
        const name = asked.name ?? asked.display_name;
        const description = asked.description ?? asked.display_description;
        if (name !== undefined) patch.name = trimmed(name) ?? '';
        if (description !== undefined) patch.description = trimmed(description);
        if (asked.metadata !== undefined) patch.metadata = metadataOf(asked.metadata);
        if (Object.keys(patch).length === 0) throw badRequest('Must specify at least one of name or description.');
        const row = await revise(context, params.snapshot_id as string, () => patch);
        return view(row, context, 'summary');
      },
    }),
    operation({
      method: 'DELETE',
      path: '/snapshots/:snapshot_id',
      policy: writes('volume:delete_snapshot'),
      status: 202,
      summary: 'Delete a snapshot',
      handle: ({ context, params }) => remove(context, params.snapshot_id as string, false),
    }),
    operation({
      method: 'POST',
      path: '/snapshots/:snapshot_id/action',
      action: 'os-force_delete',
      policy: administers('volume_extension:snapshot_admin_actions:force_delete'),
      body: ForceDelete,
      status: 202,
      summary: 'Delete a snapshot whatever its status',
      handle: ({ context, params }) => remove(context, params.snapshot_id as string, true),
    }),
    operation<{ status: string }>({
      method: 'POST',
      path: '/snapshots/:snapshot_id/action',
      action: 'os-reset_status',
      policy: administers('volume_extension:snapshot_admin_actions:reset_status'),
      body: Reset,
      status: 202,
      summary: 'Say what status a snapshot has',
      handle: async ({ context, params, body: { status } }) => {
        const child = await db.transaction(async (tx) => {
          const row = await lockSnapshot(tx, context, params.snapshot_id as string);
          if (row.child_id === null) await snapshots.update(tx, row.id, { status }, { revise: false });
          else if (!(await mayAdminister(tx, row.child))) {
            throw badRequest(`The status of snapshot ${row.id} cannot be reset: ${ADMINISTRATORS_ONLY}.`);
          } else await assignSnapshot(core, tx, row, { status, task: 'reset' }, context.requestId);
          return row.child;
        });
        cascade.poke(child);
        return new Reply(202);
      },
    }),
    ...metadataOperations<Snapshot>({
      path: '/snapshots',
      name: 'snapshot',
      policies: {
        read: reads('volume:get_snapshot_metadata'),
        write: writes('volume:update_snapshot_metadata'),
        remove: writes('volume:delete_snapshot_metadata'),
      },
      seen,
      change: async (context, id, change) => {
        const row = await db.transaction(async (tx) => {
          const before = await lockSnapshot(tx, context, id);
          const after = (await snapshots.update(tx, id, { metadata: change(before.metadata, before, tx) })) ?? before;
          await cascade.want(tx, after.child, 'snapshot', id, { requestId: context.requestId });
          return after;
        });
        cascade.poke(row.child);
        return row;
      },
    }),
  ];
}
