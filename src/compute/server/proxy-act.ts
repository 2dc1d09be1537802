/**
 * Carrying out in the child what was asked of a server, one thing after the other. An entry of the queue is noted as
 * sent before it is sent: where the note is found later, the answer may have been lost, and a refusal that only says
 * "it is so already" counts as done.
 */
import type { ChildContext, Progress } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { minorAt, readServer } from './child.ts';
import type { ServerDependencies } from './dependencies.ts';
import { bury, changeQuietly, clock, closeAction, settleResize, states, wantsAttention } from './records.ts';
import { type PendingAction, type ServerRow, serverStore } from './resource.ts';
import { PLAIN_ACTIONS } from './state.ts';
import { applyServer } from './sync.ts';
import { isRefusal, refusalWords } from './words.ts';

const VOLUME_POLL_MS = 400;
const ACTION_MINOR = 90;

const GOALS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(PLAIN_ACTIONS.map(({ action, goal }) => [action, goal])),
  resize: ['resized'],
  confirmResize: ['active', 'stopped'],
  revertResize: ['active', 'stopped'],
  rescue: ['rescued'],
  unshelve: ['active'],
};

/** What a step that went through still has to store, in the transaction that takes it off the queue. */
type Afterwards = ((tx: Tx, row: ServerRow) => Promise<Partial<ServerRow> | void>) | undefined;
type Step = 'later' | Afterwards;

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
    await db.transaction((tx) => bury(tx, dependencies, row.id));
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
      return row.resize === null ? {} : settleResize(tx, dependencies, row, row.resize.from);
    case 'createImage':
      await dependencies.images.abandonSnapshot(tx, String(body.image_id));
      return {};
    case 'attach_volume':
      await dependencies.volumes.unwind(tx, String(body.volume_id), row.id);
      return { volumes: row.volumes.filter(({ id }) => id !== body.volume_id) };
    case 'detach_volume':
      await dependencies.volumes.unwind(tx, String(body.volume_id), row.id);
      return {};
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
      return act(context, row, entry, { flavorRef: flavor.child_id });
    }
    case 'rebuild':
      return act(context, row, entry, await rebuildBody(context, row, body));
    case 'rescue': {
      if (typeof body.rescue_image_ref !== 'string') return act(context, row, entry, body);
      const image = await context.ensure('image', body.rescue_image_ref);
      return act(context, row, entry, { ...body, rescue_image_ref: image.child_id });
    }
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

async function call<Body>(
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
  accept?: readonly number[],
) {
  return context.api.call<Body>({
    service: 'compute',
    method,
    path: `/servers/${row.child_id}${path}`,
    microversion: `2.${await minorAt(context, ACTION_MINOR)}`,
    scope: await context.scopeOfExisting(row.project_id),
    requestId: entry.request_id,
    ...(body === undefined ? {} : { body }),
    ...(accept === undefined ? {} : { accept }),
  });
}

async function act(context: ChildContext, row: ServerRow, entry: PendingAction, body: unknown): Promise<undefined> {
  await call(context, row, entry, 'POST', '/action', { [entry.action]: body ?? null });
}

async function rebuildBody(
  context: ChildContext,
  row: ServerRow,
  body: Readonly<Record<string, unknown>>,
): Promise<Record<string, unknown>> {
  const minor = await minorAt(context, ACTION_MINOR);
  const { key_name, description, hostname, user_data, personality: _, metadata, ...rest } = body;
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
    ...(minor >= 90 && hostname !== undefined ? { hostname } : {}),
  };
}

/** The image carries the parent's id as a property, so that one whose answer was lost is found and not made again. */
async function createImage(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  body: Readonly<Record<string, unknown>>,
): Promise<Step> {
  const image_id = String(body.image_id);
  const made = (entry.sent_at === null ? undefined : await findImage(context, row, image_id)) ?? (await request());
  return async (tx) => dependencies.images.adoptChildImage(tx, { image_id, child: context.child, child_id: made });

  async function request(): Promise<string> {
    const metadata = { ...(body.metadata as Record<string, string>), headwater_id: image_id };
    const answer = await call<{ image_id?: string } | undefined>(context, row, entry, 'POST', '/action', {
      createImage: { name: body.name, metadata },
    });
    return answer.body?.image_id ?? answer.headers.location?.split('/').at(-1) ?? '';
  }
}

async function findImage(context: ChildContext, row: ServerRow, id: string): Promise<string | undefined> {
  const answer = await context.api.call<{ images?: { id: string }[] }>({
    service: 'image',
    method: 'GET',
    path: '/images',
    query: { headwater_id: id },
    scope: await context.scopeOfExisting(row.project_id),
  });
  return answer.body.images?.[0]?.id;
}

async function attachVolume(
  { volumes }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  body: Readonly<Record<string, unknown>>,
): Promise<Step> {
  const volumeId = await volumes.childVolume(context, String(body.volume_id));
  if (volumeId === undefined) return 'later';
  if (entry.sent_at !== null) {
    const there = await call(context, row, entry, 'GET', `/os-volume_attachments/${volumeId}`, undefined, [404]);
    if (there.status !== 404) return undefined;
  }
  await call(context, row, entry, 'POST', '/os-volume_attachments', {
    volumeAttachment: {
      volumeId,
      ...(typeof body.device === 'string' ? { device: body.device } : {}),
      ...(typeof body.tag === 'string' ? { tag: body.tag } : {}),
    },
  });
  return undefined;
}

async function attachInterface(
  { network }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  portId: string,
): Promise<Step> {
  await network.ensurePorts(context, row.id);
  const port = await context.childId('port', portId);
  // Deleted meanwhile: nothing is left to attach.
  if (port === undefined) return undefined;
  if (entry.sent_at !== null) {
    const there = await call(context, row, entry, 'GET', `/os-interface/${port}`, undefined, [404]);
    if (there.status !== 404) return undefined;
  }
  await call(context, row, entry, 'POST', '/os-interface', { interfaceAttachment: { port_id: port } });
  return undefined;
}
