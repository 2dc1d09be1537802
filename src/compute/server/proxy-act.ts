/**
 * Carrying out in the child what was asked of a server, one thing after the other. An entry of the queue is noted as
 * sent before it is sent: where the note is found later, the answer may have been lost, and a refusal that only says
 * "it is so already" counts as done.
 */
import type { ChildContext, Progress } from '../../cascade/contract.ts';
import { Later } from '../../cascade/later.ts';
import { Gone } from '../../cascade/replicas.ts';
import type { Tx } from '../../db/database.ts';
import { minorAt, readServer } from './child.ts';
import { clock } from './clock.ts';
import type { ServerDependencies } from './dependencies.ts';
import { changeQuietly, closeAction, settleResize, states, wantsAttention } from './records.ts';
import { vanish } from './move.ts';
import { type PendingAction, type ServerRow, serverStore } from './resource.ts';
import { PLAIN_ACTIONS } from './state.ts';
import { attachInterface, attachVolume, swapVolume } from './proxy-attach.ts';
import { type EventBody, tellEvent } from './proxy-event.ts';
import { createImage, rotateBackups, type Rotation, shelve } from './proxy-images.ts';
import { ACTION_MINOR, act, type Afterwards, call, type Step } from './proxy-step.ts';
import { applyServer } from './sync.ts';
import { isRefusal, refusalWords } from './words.ts';

const VOLUME_POLL_MS = 400;
/** From which of the child's microversions on it decides by itself how to move a disk, and where to. */
const AUTO_BLOCK_MIGRATION = 25;
/** From here on it makes the volume that a server boots from anew, of another image. */
const REBUILD_MINOR = 93;
/** The last that takes files to inject. */
const PERSONALITY_MINOR = 56;
const EVACUATE_ANYWHERE = 14;
const UNSHELVE_TO_ZONE = 77;

const GOALS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(PLAIN_ACTIONS.map(({ action, goal }) => [action, goal])),
  resize: ['resized'],
  migrate: ['resized'],
  confirmResize: ['active', 'stopped'],
  revertResize: ['active', 'stopped'],
  rescue: ['rescued'],
  unshelve: ['active'],
};

/** Does the first thing in the row's queue. */
export async function performNext(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
): Promise<Progress> {
  const entry = row.pending[0] as PendingAction;
  try {
    if (!(await noteSent(dependencies, row.id, entry))) return { again_ms: 0 };
    const step = await perform(dependencies, context, row, entry);
    if (step === 'later') return { again_ms: VOLUME_POLL_MS };
    dependencies.cascade.expect(context.child);
    return await finish(dependencies, row.id, entry, step);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return refused(dependencies, context, row, entry, error.status, refusalWords(row, error));
  }
}

async function noteSent({ db }: ServerDependencies, id: string, entry: PendingAction): Promise<boolean> {
  return db.transaction(async (tx) => {
    const row = await serverStore.lock(tx, id);
    const first = row?.pending[0];
    if (row === undefined || row.deleted_at !== null || row.task_state === 'deleting') return false;
    if (first === undefined || first.key !== entry.key) return false;
    const pending = [{ ...first, sent_at: await clock(tx) }, ...row.pending.slice(1)];
    await changeQuietly(tx, row, { pending });
    return true;
  });
}

async function finish(
  { db }: ServerDependencies,
  id: string,
  entry: PendingAction,
  afterwards: Afterwards,
): Promise<Progress> {
  return db.transaction(async (tx) => {
    const row = await serverStore.lock(tx, id);
    if (row === undefined || row.deleted_at !== null) return 'done';
    const patch = (await afterwards?.(tx, row)) ?? {};
    // An action on the server's states is over when the child's task is, which the feed tells.
    if (!entry.stateful || entry.action === 'os-resetState') await closeAction(tx, entry.record_id);
    const after = await changeQuietly(tx, row, {
      ...patch,
      pending: row.pending.filter(({ key }) => key !== entry.key),
      acted_at: await clock(tx),
    });
    return wantsAttention(after) ? { again_ms: 0 } : 'done';
  });
}

/** The child said no. What it shows now tells whether that is because it was done already. */
async function refused(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  status: number,
  words: string,
): Promise<Progress> {
  const { db } = dependencies;
  const server = await readServer(context, row, row.child_id as string);
  if (server === undefined || server.status === 'DELETED') {
    await db.transaction((tx) => vanish(tx, dependencies, row.id));
    return 'done';
  }
  const goal = GOALS[entry.action] ?? [];
  const reached =
    (status === 409 || entry.sent_at !== null) &&
    goal.includes(server['OS-EXT-STS:vm_state'] ?? '') &&
    server['OS-EXT-STS:task_state'] == null;
  await db.transaction(async (tx) => {
    const current = await serverStore.lock(tx, row.id);
    if (current === undefined || current.deleted_at !== null) return;
    const undone = reached ? {} : await undo(tx, dependencies, current, entry);
    await closeAction(tx, entry.record_id, reached ? undefined : words);
    await changeQuietly(tx, current, {
      ...undone,
      ...(entry.stateful && current.task_state !== 'deleting' ? states(current.vm_state, null) : {}),
      pending: current.pending.filter(({ key }) => key !== entry.key),
      acted_at: await clock(tx),
    });
  });
  await applyServer(dependencies, row.id, server);
  return { again_ms: 0 };
}

/** Takes back what the request had already changed here. */
async function undo(
  tx: Tx,
  dependencies: ServerDependencies,
  row: ServerRow,
  entry: PendingAction,
): Promise<Partial<ServerRow>> {
  const body = (entry.body ?? {}) as Readonly<Record<string, unknown>>;
  switch (entry.action) {
    case 'resize':
    case 'migrate':
      return row.resize === null ? {} : settleResize(tx, dependencies, row, row.resize.from);
    case 'createImage':
      await dependencies.images.abandonSnapshot(tx, String(body.image_id));
      return {};
    case 'shelve':
      if (row.shelved_image !== null) await dependencies.images.remove(tx, row.shelved_image);
      return { shelved_image: null };
    case 'attach_volume':
      await dependencies.volumes.unwind(tx, String(body.volume_id), row.id);
      return { volumes: row.volumes.filter(({ id }) => id !== body.volume_id) };
    case 'detach_volume':
      await dependencies.volumes.unwind(tx, String(body.volume_id), row.id);
      return {};
    case 'swap_volume':
      for (const id of [String(body.volume_id), String(body.new_volume_id)].sort()) {
        await dependencies.volumes.unwind(tx, id, row.id);
      }
      return {
        volumes: row.volumes.filter(({ id }) => id !== body.new_volume_id),
        ...(row.root_volume === body.new_volume_id ? { root_volume: String(body.volume_id) } : {}),
      };
    case 'attach_interface':
      await dependencies.network.detach(tx, row.id, [String(body.port_id)]);
      return {};
    default:
      return {};
  }
}

async function perform(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
): Promise<Step> {
  const body = (entry.body ?? {}) as Readonly<Record<string, unknown>>;
  switch (entry.action) {
    case 'resize': {
      const flavor = await context.ensure('flavor', String(body.flavorRef));
      const { disk_config } = body;
      const size = {
        flavorRef: flavor.child_id,
        ...(disk_config === undefined ? {} : { 'OS-DCF:diskConfig': disk_config }),
      };
      return act(context, row, entry, size).catch(async (error: unknown) => {
        const isStale = isRefusal(error) && (await context.recheck('flavor', String(body.flavorRef)));
        throw isStale ? new Later(0, 'the flavor that was matched in the child serves no more') : error;
      });
    }
    case 'rebuild':
      await call(
        context,
        row,
        entry,
        'POST',
        '/action',
        { rebuild: await rebuildBody(context, row, body) },
        undefined,
        Array.isArray(body.personality) ? PERSONALITY_MINOR : REBUILD_MINOR,
      );
      return undefined;
    case 'rescue': {
      if (typeof body.rescue_image_ref !== 'string') {
        await bringOriginal(context, row);
        return act(context, row, entry, body);
      }
      const image = await context.ensure('image', body.rescue_image_ref);
      return act(context, row, entry, { ...body, rescue_image_ref: image.child_id });
    }
    case 'migrate':
      // Before 2.56 it says nothing; whither, the child knows best.
      return act(context, row, entry, null);
    case 'os-migrateLive':
      return act(context, row, entry, await liveBody(context, body));
    case 'evacuate':
      return act(context, row, entry, {
        ...body,
        ...((await minorAt(context, ACTION_MINOR)) < EVACUATE_ANYWHERE ? { onSharedStorage: false } : {}),
      });
    case 'end_migration':
      return endMigrations(context, row, entry, body.way === 'complete');
    case 'rotate_backups':
      return rotateBackups(dependencies, body as unknown as Rotation);
    case 'external_event':
      return tellEvent(dependencies, context, row, entry, body as unknown as EventBody);
    case 'unshelve':
      return act(context, row, entry, await unshelveBody(context, body));
    case 'shelve':
      return shelve(dependencies, context, row, entry, body);
    case 'createImage':
      return createImage(dependencies, context, row, entry, body);
    case 'attach_volume':
      return attachVolume(dependencies, context, row, entry, body);
    case 'detach_volume': {
      const volume = await dependencies.volumes.childVolume(context, String(body.volume_id));
      if (volume !== undefined) {
        await call(context, row, entry, 'DELETE', `/os-volume_attachments/${volume}`, undefined, [404]);
      }
      return async (_tx, current) => ({ volumes: current.volumes.filter(({ id }) => id !== body.volume_id) });
    }
    case 'swap_volume':
      return swapVolume(dependencies, context, row, entry, body);
    case 'attach_interface':
      return attachInterface(dependencies, context, row, entry, String(body.port_id));
    case 'detach_interface': {
      const port = await context.childId('port', String(body.port_id));
      if (port !== undefined) await call(context, row, entry, 'DELETE', `/os-interface/${port}`, undefined, [404]);
      return async (tx) => dependencies.network.detach(tx, row.id, [String(body.port_id)]);
    }
    default:
      return act(context, row, entry, entry.body);
  }
}

/** A server that moved here was made from another image than Nova rescues it with, which may not be here yet. */
async function bringOriginal(context: ChildContext, row: ServerRow): Promise<void> {
  if (row.image_id === '') return;
  await context.ensure('image', row.image_id).catch((error: unknown) => {
    if (!(error instanceof Gone)) throw error;
  });
}

/** Nova's body of a live migration as the child takes it: before 2.25 it asks more and knows no `auto`. */
async function liveBody(context: ChildContext, body: Readonly<Record<string, unknown>>): Promise<object> {
  const host = null;
  if ((await minorAt(context, ACTION_MINOR)) >= AUTO_BLOCK_MIGRATION) {
    return { host, block_migration: body.block_migration ?? 'auto' };
  }
  const block_migration = body.block_migration === 'auto' ? false : (body.block_migration ?? false);
  return { host, block_migration, disk_over_commit: body.disk_over_commit ?? false };
}

/** Where the zone was named it is the child's own of that name; a child that takes none chooses. */
async function unshelveBody(context: ChildContext, body: Readonly<Record<string, unknown>>): Promise<object | null> {
  if (typeof body.availability_zone !== 'string') return null;
  const zone = context.childZone(body.availability_zone);
  if (zone === undefined || (await minorAt(context, ACTION_MINOR)) < UNSHELVE_TO_ZONE) return null;
  return { availability_zone: zone };
}

/** Ends the live migrations of the server that the child shows; where it shows none, there is nothing to do. */
async function endMigrations(
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  complete: boolean,
): Promise<Step> {
  const listed = await call<{ migrations?: { id: number }[] }>(context, row, entry, 'GET', '/migrations');
  for (const { id } of listed.body.migrations ?? []) {
    if (complete) await call(context, row, entry, 'POST', `/migrations/${id}/action`, { force_complete: null });
    else await call(context, row, entry, 'DELETE', `/migrations/${id}`, undefined, [404]);
  }
  return undefined;
}

async function rebuildBody(
  context: ChildContext,
  row: ServerRow,
  body: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const minor = await minorAt(context, ACTION_MINOR);
  const { key_name, description, hostname, user_data, metadata, trusted_image_certificates, ...rest } = body;
  const [image] = await Promise.all([
    context.ensure('image', String(body.imageRef)),
    typeof key_name === 'string' && row.key_id !== null ? context.ensure('keypair', row.key_id) : undefined,
  ]);
  return {
    ...rest,
    imageRef: image.child_id,
    ...(metadata === undefined ? {} : { metadata }),
    ...(minor >= 19 && description !== undefined ? { description } : {}),
    ...(minor >= 54 && key_name !== undefined ? { key_name: row.key_id } : {}),
    ...(minor >= 57 && user_data !== undefined ? { user_data } : {}),
    ...(minor >= 63 && trusted_image_certificates !== undefined ? { trusted_image_certificates } : {}),
    ...(minor >= 90 && hostname !== undefined ? { hostname } : {}),
  };
}
