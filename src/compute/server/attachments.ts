/** Volumes of servers. */
import type { Tx } from '../../db/database.ts';
import { badRequest, Fault, notFound } from '../../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import type { ServerVolumeAttachment } from '../../volume/server-volumes.ts';
import { firstOf, NON_NEGATIVE, queryParameters } from '../links.ts';
import type { ServerDependencies } from './dependencies.ts';
import { requireMultiattach } from './boot-lookup.ts';
import { askerOf, findServer, withServer } from './lookup.ts';
import { enqueue, refreshVolumes } from './records.ts';
import { rootVolumeOf, type ServerRow } from './resource.ts';
import { inner, rules } from './rules.ts';
import { attachVolumeSchema, isTrue, swapVolumeSchema, updateVolumeSchema } from './schema.ts';
import { requireState, VOLUME_STATES } from './state.ts';

/** Volumes of shelved servers can be changed since 2.20. */
const volumeStates = ({ version }: RequestContext): readonly string[] =>
  version >= 20 ? VOLUME_STATES : VOLUME_STATES.filter((state) => !state.startsWith('shelved'));

const WINDOW = queryParameters({ limit: NON_NEGATIVE, offset: NON_NEGATIVE });

/** Since when an attachment can be changed without another volume. */
const UPDATES_SINCE = 85;

interface VolumeBody {
  readonly volumeAttachment: {
    readonly volumeId: string;
    readonly device?: string | null;
    readonly tag?: string;
    readonly delete_on_termination?: boolean | string;
    readonly id?: string;
    readonly serverId?: string;
  };
}

function volumeView(context: RequestContext, row: ServerRow, one: ServerVolumeAttachment): Record<string, unknown> {
  const { version } = context;
  return {
    ...(version < 89 ? { id: one.volume_id } : {}),
    volumeId: one.volume_id,
    serverId: row.id,
    ...(one.device === '' ? {} : { device: one.device }),
    ...(version >= 70 ? { tag: one.tag } : {}),
    ...(version >= 79 ? { delete_on_termination: one.delete_on_termination } : {}),
    ...(version >= 89 ? { attachment_id: one.id, bdm_uuid: one.id } : {}),
  };
}

/** The operations below `os-volume_attachments`. */
export function volumeOperations(dependencies: ServerDependencies): Operation[] {
  const { db, volumes } = dependencies;
  const path = '/servers/:server_id/os-volume_attachments';
  const attached = async (row: ServerRow): Promise<readonly ServerVolumeAttachment[]> =>
    (await volumes.attachmentsOf(db.query, [row.id])).get(row.id) ?? [];
  const one = async (
    call: Call,
    words: (row: ServerRow, id: string) => string,
  ): Promise<[ServerRow, ServerVolumeAttachment]> => {
    const row = await findServer(dependencies, call);
    const id = call.params.volume_id as string;
    const found = (await attached(row)).find(({ volume_id }) => volume_id === id);
    if (found === undefined) throw notFound(words(row, id));
    return [row, found];
  };
  return [
    operation({
      method: 'GET',
      path,
      policy: rules.volumesIndex,
      query: WINDOW,
      status: 200,
      summary: 'List volumes attached to a server',
      handle: async (call) => {
        const row = await findServer(dependencies, call);
        const all = (await attached(row)).map((item) => volumeView(call.context, row, item));
        return { volumeAttachments: limited(call, all) };
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/:volume_id`,
      policy: rules.volumesShow,
      status: 200,
      summary: 'Show a volume attached to a server',
      handle: async (call) => {
        const [row, found] = await one(call, ({ id }, volume) => `Instance ${id} is not attached to volume ${volume}`);
        return { volumeAttachment: volumeView(call.context, row, found) };
      },
    }),
    operation<VolumeBody>({
      method: 'POST',
      path,
      policy: rules.volumesCreate,
      body: attachVolumeSchema,
      status: 200,
      summary: 'Attach a volume to a server',
      handle: (call) => attachVolume(dependencies, call),
    }),
    operation<VolumeBody>({
      method: 'PUT',
      path: `${path}/:volume_id`,
      policy: rules.volumesSwap,
      until: UPDATES_SINCE - 1,
      body: swapVolumeSchema,
      status: 202,
      summary: 'Put another volume in the place of an attached one',
      handle: (call) => swapVolume(dependencies, call),
    }),
    operation<VolumeBody>({
      method: 'PUT',
      path: `${path}/:volume_id`,
      policy: rules.volumesUpdate,
      since: UPDATES_SINCE,
      body: updateVolumeSchema,
      status: 202,
      summary: 'Say what becomes of an attached volume when its server is deleted, or put another in its place',
      handle: async (call) => {
        const { volumeId, id, serverId, device, tag, delete_on_termination } = call.body.volumeAttachment;
        const isSwap = volumeId !== call.params.volume_id;
        if (isSwap) call.context.enforce(inner.volumesSwap.name);
        const [row, found] = await one(call, (_, volume) => `No volume Block Device Mapping with id ${volume}.`);
        const fixed = {
          id: [id, found.volume_id],
          serverId: [serverId, row.id],
          device: [device, found.device],
          tag: [tag, found.tag],
        };
        for (const [name, [given, stored]] of Object.entries(fixed)) {
          if (given !== undefined && given !== stored) throw badRequest(`The ${name} property is not mutable`);
        }
        if (delete_on_termination !== undefined) {
          await withServer(dependencies, call, async (tx) => {
            await volumes.setDeleteOnTermination(tx, found.volume_id, row.id, isTrue(delete_on_termination));
            await refreshVolumes(tx, dependencies, [row.id]);
          });
        }
        if (isSwap) await swapVolume(dependencies, call);
      },
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:volume_id`,
      policy: rules.volumesDelete,
      status: 202,
      summary: 'Detach a volume from a server',
      handle: async (call) => {
        await findServer(dependencies, call);
        await volumes.resolve(db.query, call.context, call.params.volume_id as string);
        const [, found] = await one(call, ({ id }, volume) => `Instance ${id} is not attached to volume ${volume}`);
        await withServer(dependencies, call, (tx, row) => detachVolume(dependencies, tx, row, call, found));
      },
    }),
  ];
}

function limited<T>(call: Call, items: readonly T[]): readonly T[] {
  const number = (name: string): number | undefined => {
    const text = firstOf(call.query[name]);
    return text === undefined ? undefined : Number(text);
  };
  const offset = number('offset') ?? 0;
  return items.slice(offset, offset + Math.min(number('limit') ?? 1000, 1000));
}

async function attachVolume(dependencies: ServerDependencies, call: Call<VolumeBody>): Promise<unknown> {
  const { context } = call;
  const { volumeId, device, tag, delete_on_termination } = call.body.volumeAttachment;
  const server = await findServer(dependencies, call);
  const volume = await dependencies.volumes.resolve(dependencies.db.query, context, volumeId);
  const { version } = context;
  if (volume.multiattach) requireMultiattach(context);
  const attached = await withServer(dependencies, call, async (tx, row) => {
    requireState(row, context, { method: 'attach_volume', vm: volumeStates(context), task: 'any' });
    if (volume.child !== null && volume.child !== row.child) {
      throw badRequest(
        `Invalid volume: Instance ${row.id} and volume ${volumeId} are not in the same availability_zone. Instance is in ${row.zone}. Volume is in ${volume.zone}`,
      );
    }
    const keep = { delete_on_termination: isTrue(delete_on_termination), ...(tag === undefined ? {} : { tag }) };
    const made = await dependencies.volumes.attach(tx, volumeId, {
      server_id: row.id,
      device_prefix: /^(\/dev\/x?[a-z]?d)[a-z]/.exec(row.root_device_name ?? '')?.[1],
      ...keep,
      ...(typeof device === 'string' ? { device } : {}),
    });
    await enqueue(tx, dependencies, row, askerOf(context), {
      action: 'attach_volume',
      record: 'attach_volume',
      body: {
        volume_id: volumeId,
        ...(typeof device === 'string' ? { device } : {}),
        ...(tag === undefined ? {} : { tag }),
      },
      stateful: false,
      patch: {
        volumes: [
          ...row.volumes.filter(({ id }) => id !== volumeId),
          { id: volumeId, delete_on_termination: keep.delete_on_termination },
        ],
      },
    });
    return made;
  });
  return {
    volumeAttachment: {
      id: volumeId,
      serverId: server.id,
      volumeId,
      device: attached.device,
      ...(version >= 70 ? { tag: tag ?? null } : {}),
      ...(version >= 79 ? { delete_on_termination: isTrue(delete_on_termination) } : {}),
    },
  };
}

/**
 * Asks the child to copy an attached volume into another and to go on with that one.
 * @throws Fault 404 for the volume in the path, 400 for the one in the body, 409 for the server's state
 */
async function swapVolume(dependencies: ServerDependencies, call: Call<VolumeBody>): Promise<void> {
  const { volumes, db } = dependencies;
  const { context } = call;
  await findServer(dependencies, call);
  const before = await volumes.resolve(db.query, context, call.params.volume_id as string);
  const after = await volumes
    .resolve(db.query, context, call.body.volumeAttachment.volumeId)
    .catch((error: unknown) => {
      throw error instanceof Fault && error.status === 404 ? badRequest(error.message) : error;
    });
  const invalid = (reason: string): Fault => badRequest(`Invalid volume: ${reason}`);
  await withServer(dependencies, call, async (tx, row) => {
    requireState(row, context, { method: 'swap_volume', vm: ['active', 'paused', 'resized'] });
    const attached = (await volumes.attachmentsOf(tx, [row.id])).get(row.id) ?? [];
    const old = attached.find(({ volume_id }) => volume_id === before.id);
    if (old === undefined) throw invalid('Old volume is attached to a different instance.');
    if (after.status === 'in-use') throw invalid('New volume must be detached in order to swap.');
    if (after.size < before.size) throw invalid('New volume must be the same size or larger.');
    if (after.child !== row.child) {
      throw invalid(`Instance ${row.id} and volume ${after.id} are not in the same availability_zone.`);
    }
    const { delete_on_termination } = old;
    // Volumes are locked in the order of their ids, so that two swaps of the same two never wait for each other.
    const steps = [
      { id: before.id, step: () => volumes.detach(tx, before.id, row.id) },
      {
        id: after.id,
        step: () => volumes.attach(tx, after.id, { server_id: row.id, device: old.device, delete_on_termination }),
      },
    ];
    for (const { step } of steps.toSorted((one, other) => (one.id < other.id ? -1 : 1))) await step();
    await enqueue(tx, dependencies, row, askerOf(context), {
      action: 'swap_volume',
      record: 'swap_volume',
      body: { volume_id: before.id, new_volume_id: after.id },
      stateful: false,
      patch: {
        volumes: [...row.volumes, { id: after.id, delete_on_termination }],
        ...(rootVolumeOf(row) === before.id ? { root_volume: after.id } : {}),
      },
    });
  });
}

async function detachVolume(
  dependencies: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  call: Call,
  found: ServerVolumeAttachment,
): Promise<void> {
  requireState(row, call.context, { method: 'detach_volume', vm: volumeStates(call.context), task: 'any' });
  if (rootVolumeOf(row) === found.volume_id) {
    throw badRequest('Cannot detach a root device volume');
  }
  await dependencies.volumes.detach(tx, found.volume_id, row.id);
  await enqueue(tx, dependencies, row, askerOf(call.context), {
    action: 'detach_volume',
    record: 'detach_volume',
    body: { volume_id: found.volume_id },
    stateful: false,
  });
}
