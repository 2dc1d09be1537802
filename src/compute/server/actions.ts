/** Actions on servers: what is checked and shown at once, and what is left to the server's proxy. */
import type { Tx } from '../../db/database.ts';
import { badRequest, Fault } from '../../http/fault.ts';
import { type Call, type Operation, type PolicyRule, Reply } from '../../http/service.ts';
import { QuotaExceeded } from '../../resource/quota.ts';
import { quotaFault, randomPassword } from './boot.ts';
import { requireFitting, requireMetadataQuota } from './boot-lookup.ts';
import { idFromReference } from './boot-request.ts';
import { act } from './act.ts';
import { consoleOutput } from './console.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf, findServer, lockServer, withServer } from './lookup.ts';
import { moveActions } from './move-actions.ts';
import { narrowed, view } from './operations.ts';
import { unshelve } from './unshelve.ts';
import { ownActions } from './own-actions.ts';
import { difference, enqueue, footprint } from './records.ts';
import { canonicalIp, type ServerRow } from './resource.ts';
import { rules } from './rules.ts';
import {
  changePasswordSchema,
  consoleOutputSchema,
  createBackupSchema,
  createImageSchema,
  emptyActionSchema,
  rebootSchema,
  rebuildSchema,
  rescueSchema,
  resizeSchema,
  unshelveSchema,
} from './schema.ts';
import { send } from './send.ts';
import { HARD_REBOOT_TASKS, PLAIN_ACTIONS, requireState, SHELVED_SUFFIX } from './state.ts';

const NAME_MAX = 255;

/** `POST /servers/:server_id/action`, all of them. */
export function actionOperations(dependencies: ServerDependencies): Operation[] {
  return [
    ...PLAIN_ACTIONS.map((plain) =>
      act({
        action: plain.action,
        policy: { name: plain.policy, check: memberOrAdmin(plain.action), description: plain.summary },
        body: emptyActionSchema(plain.action),
        summary: plain.summary,
        ...(plain.since === undefined ? {} : { since: plain.since }),
        handle: (call) =>
          withServer(dependencies, call, async (tx, row) => {
            requireState(row, call.context, plain);
            const shelved = plain.action === 'shelve' ? await shelvedImage(dependencies, tx, row, call) : undefined;
            await send(
              dependencies,
              tx,
              row,
              call,
              plain.action,
              plain.method,
              shelved === undefined ? null : { image_id: shelved },
              plain.becomes,
              shelved === undefined ? {} : { shelved_image: shelved },
            );
          }),
      }),
    ),
    ...stateActions(dependencies),
    ...sizeActions(dependencies),
    ...contentActions(dependencies),
    ...moveActions(dependencies),
    ...ownActions(dependencies),
  ];
}

const memberOrAdmin = (action: string): string =>
  action === 'shelveOffload' ? 'rule:admin' : 'rule:project_member_or_admin';

/** A server that boots from an image waits in one of its own while it is shelved, as in Nova; one of a volume does in that. */
async function shelvedImage(
  dependencies: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  call: Call,
): Promise<string | undefined> {
  if (row.image_id === '') return undefined;
  return dependencies.images.registerSnapshot(tx, call.context, {
    name: `${row.name.slice(0, NAME_MAX - SHELVED_SUFFIX.length)}${SHELVED_SUFFIX}`,
    properties: {
      image_type: 'snapshot',
      instance_uuid: row.id,
      user_id: row.user_id,
      base_image_ref: row.image_id,
    },
    child: row.child as string,
    server_id: row.id,
    min_disk: row.flavor_copy.disk,
  });
}

function stateActions(dependencies: ServerDependencies): Operation[] {
  return [
    act<{ type: string }>({
      action: 'reboot',
      policy: rules.reboot,
      body: rebootSchema,
      summary: 'Reboot a server',
      handle: (call) =>
        withServer(dependencies, call, async (tx, row) => {
          const type = call.body.type.toUpperCase();
          const hard = type === 'HARD';
          requireState(row, call.context, {
            method: 'reboot',
            vm: hard ? ['active', 'stopped', 'paused', 'suspended', 'error'] : ['active'],
            ...(hard ? { task: HARD_REBOOT_TASKS } : {}),
          });
          await send(dependencies, tx, row, call, 'reboot', 'reboot', { type }, hard ? 'rebooting_hard' : 'rebooting');
        }),
    }),
    act<{ adminPass?: string; rescue_image_ref?: string } | null>({
      action: 'rescue',
      policy: rules.rescue,
      body: rescueSchema,
      status: 200,
      summary: 'Rescue a server',
      handle: async (call) => {
        const adminPass = call.body?.adminPass ?? randomPassword();
        const image = call.body?.rescue_image_ref;
        if (image !== undefined) await usableImage(dependencies, call, image, 'Cannot find image for rescue');
        await withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: 'rescue', vm: ['active', 'stopped', 'error'] });
          const body = { adminPass, ...(image === undefined ? {} : { rescue_image_ref: image }) };
          await send(dependencies, tx, row, call, 'rescue', 'rescue', body, 'rescuing');
        });
        return { adminPass };
      },
    }),
    act<{ availability_zone?: string | null; host?: string } | null>({
      action: 'unshelve',
      policy: rules.unshelve,
      body: unshelveSchema,
      summary: 'Unshelve a server',
      handle: (call) => unshelve(dependencies, call),
    }),
    act<{ adminPass: string }>({
      action: 'changePassword',
      policy: rules.changePassword,
      body: changePasswordSchema,
      summary: 'Change the password of a server',
      handle: (call) =>
        withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: 'changePassword', vm: ['active'] });
          const { adminPass } = call.body;
          await send(
            dependencies,
            tx,
            row,
            call,
            'changePassword',
            'changePassword',
            { adminPass },
            'updating_password',
          );
        }),
    }),
  ];
}

function sizeActions(dependencies: ServerDependencies): Operation[] {
  const settle = (action: 'confirmResize' | 'revertResize', policy: PolicyRule, becomes: string, status: number) =>
    act({
      action,
      policy,
      status,
      body: emptyActionSchema(action),
      summary: action === 'confirmResize' ? 'Confirm a resize' : 'Revert a resize',
      handle: (call) =>
        withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: action, vm: ['resized'] });
          if (row.resize === null) throw badRequest('Instance has not been resized.');
          await send(dependencies, tx, row, call, action, action, null, becomes);
        }),
    });
  return [
    act<ResizeBody>({
      action: 'resize',
      policy: rules.resize,
      body: resizeSchema,
      summary: 'Resize a server',
      handle: (call) => resize(dependencies, call),
    }),
    settle('confirmResize', rules.confirmResize, 'resize_confirming', 204),
    settle('revertResize', rules.revertResize, 'resize_reverting', 202),
  ];
}

interface ResizeBody {
  readonly flavorRef: string | number;
  readonly 'OS-DCF:diskConfig'?: string;
}

async function resize(dependencies: ServerDependencies, call: Call<ResizeBody>): Promise<void> {
  const { context, body } = call;
  const flavorId = idFromReference(body.flavorRef);
  const flavor = await dependencies.flavors.find(dependencies.db.query, context, flavorId);
  try {
    await withServer(dependencies, call, async (tx, row) => {
      requireState(row, context, { method: 'resize', vm: ['active', 'stopped'] });
      if (flavor === undefined) throw badRequest(`Flavor ${flavorId.slice(0, 255)} could not be found.`);
      if (flavor.id === row.flavor_id) throw badRequest('When resizing, instances must change flavor!');
      if (flavor.disk === 0 && row.flavor_copy.disk !== 0 && row.image_id !== '') {
        throw badRequest('Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.');
      }
      const change_ = { from: row.flavor_copy, to: flavor };
      const larger = footprint({ flavor_copy: row.flavor_copy, resize: change_ });
      await dependencies.quotas.reserve(tx, row.project_id, difference(footprint(row), larger));
      const disk_config = body['OS-DCF:diskConfig'];
      const kept = disk_config === undefined ? {} : { disk_config };
      const wanted = { flavorRef: flavor.id, ...kept };
      await send(
        dependencies,
        tx,
        row,
        call,
        'resize',
        'resize',
        wanted,
        'resize_prep',
        { resize: change_, ...kept },
        { type: 'resize', old_flavor: row.flavor_id, new_flavor: flavor.id },
      );
    });
  } catch (error) {
    throw error instanceof QuotaExceeded ? quotaFault(error) : error;
  }
}

/** An image that a server may be made of anew. @throws Fault 400 in these words where there is none */
async function usableImage(dependencies: ServerDependencies, call: Call, id: string, words: string) {
  const image = await dependencies.images.resolve(dependencies.db.query, call.context, id).catch((error: unknown) => {
    throw error instanceof Fault && error.status === 404 ? badRequest(words) : error;
  });
  if (image.status !== 'active') throw badRequest(`Image ${id} is not active.`);
  return image;
}

interface RebuildBody {
  readonly imageRef: string;
  readonly adminPass?: string;
  readonly name?: string;
  readonly description?: string | null;
  readonly hostname?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly key_name?: string | null;
  readonly user_data?: string | null;
  readonly accessIPv4?: string;
  readonly accessIPv6?: string;
  readonly 'OS-DCF:diskConfig'?: string;
}

function contentActions(dependencies: ServerDependencies): Operation[] {
  return [
    act<RebuildBody>({
      action: 'rebuild',
      policy: rules.rebuild,
      body: rebuildSchema,
      summary: 'Rebuild a server',
      handle: (call) => rebuild(dependencies, call),
    }),
    act<{ name: string; metadata?: Readonly<Record<string, string>> }>({
      action: 'createImage',
      policy: rules.createImage,
      body: createImageSchema,
      summary: 'Make an image of a server',
      handle: async (call) => {
        const { name, metadata = {} } = call.body;
        await requireMetadataQuota(dependencies, call.context, metadata);
        const id = await withServer(dependencies, call, (tx, row) =>
          snapshot(dependencies, tx, row, call, name, metadata),
        );
        if (call.context.version >= 45) return { image_id: id };
        return new Reply(202, undefined, { location: `${call.context.publicUrl}/image/v2/images/${id}` });
      },
    }),
    act<BackupBody>({
      action: 'createBackup',
      policy: rules.createBackup,
      body: createBackupSchema,
      summary: 'Make a backup of a server, and delete the oldest of its kind',
      handle: (call) => backup(dependencies, call),
    }),
    act<{ length?: number | string | null } | null>({
      action: 'os-getConsoleOutput',
      policy: rules.consoleOutput,
      body: consoleOutputSchema,
      status: 200,
      summary: 'Show console output',
      handle: async (call) => ({
        output: await consoleOutput(
          dependencies,
          call.context,
          await findServer(dependencies, call),
          call.body?.length,
        ),
      }),
    }),
  ];
}

async function rebuild(dependencies: ServerDependencies, call: Call<RebuildBody>): Promise<unknown> {
  const { context, body } = call;
  await findServer(dependencies, call);
  const image = await usableImage(dependencies, call, body.imageRef, 'Cannot find image for rebuild');
  await requireMetadataQuota(dependencies, context, body.metadata ?? {});
  const adminPass = body.adminPass ?? randomPassword();
  const { key_name } = body;
  const row = await withServer(dependencies, call, async (tx, before) => {
    requireState(before, context, { method: 'rebuild', vm: ['active', 'stopped', 'error'] });
    if (before.image_id === '' && context.version < 93) {
      throw badRequest('Unable to rebuild with a different image for a volume-backed server.');
    }
    requireFitting(context, image, before.flavor_copy, before.image_id !== '');
    const key =
      typeof key_name === 'string' ? await dependencies.keypairs.find(tx, before.user_id, key_name) : undefined;
    if (typeof key_name === 'string' && key === undefined) throw badRequest('Invalid key_name provided.');
    const { 'OS-DCF:diskConfig': disk_config, imageRef: _, ...rest } = body;
    return send(
      dependencies,
      tx,
      before,
      call,
      'rebuild',
      'rebuild',
      { ...rest, imageRef: image.id, adminPass },
      'rebuilding',
      {
        ...(before.image_id === '' ? {} : { image_id: image.id }),
        ...(body.name === undefined ? {} : { name: body.name }),
        ...(body.description === undefined ? {} : { description: body.description }),
        ...(body.hostname === undefined ? {} : { hostname: body.hostname }),
        ...(body.metadata === undefined ? {} : { metadata: { ...body.metadata } }),
        ...(body.user_data === undefined ? {} : { user_data: body.user_data }),
        ...(key_name === undefined ? {} : { key_name: key?.name ?? '', key_id: key?.id ?? null }),
        ...(body.accessIPv4 === undefined ? {} : { access_ip_v4: body.accessIPv4 }),
        ...(body.accessIPv6 === undefined ? {} : { access_ip_v6: canonicalIp(body.accessIPv6) }),
        ...(disk_config === undefined ? {} : { disk_config }),
        fault_record: null,
      },
    );
  });
  const shown = await view(dependencies, context, row);
  const keep = context.version >= 54 ? ['key_name'] : [];
  // A rebuild says what user data it has under the name by which they are given.
  const { 'OS-EXT-SRV-ATTR:user_data': _data, ...all } = shown;
  const answer = narrowed({ ...all, adminPass }, context.version, keep) as Record<string, unknown>;
  if (context.version >= 57) answer.user_data = row.user_data;
  return new Reply(202, { server: answer }, { location: `${context.baseUrl}/servers/${row.id}` });
}

interface BackupBody {
  readonly name: string;
  readonly backup_type: string;
  readonly rotation: number | string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Since when a backup's metadata are not counted, and since when the answer says which image it is. */
const UNCOUNTED_METADATA = 39;
const ANSWERS_IMAGE = 45;

async function backup(dependencies: ServerDependencies, call: Call<BackupBody>): Promise<unknown> {
  const { context, body } = call;
  const { name, backup_type, metadata = {} } = body;
  const keep = Number(body.rotation);
  await findServer(dependencies, call);
  if (context.version < UNCOUNTED_METADATA) await requireMetadataQuota(dependencies, context, metadata);
  const id = await withServer(dependencies, call, async (tx, before) => {
    if (before.image_id === '') throw badRequest('Backup is not supported for volume-backed instances.');
    const image = await snapshot(dependencies, tx, before, call, name, metadata, {
      type: 'backup',
      record: 'createBackup',
      task: 'image_backup',
      properties: { backup_type },
    });
    const row = await lockServer(tx, call);
    await enqueue(tx, dependencies, row, askerOf(context), {
      action: 'rotate_backups',
      record: null,
      body: { image_id: image, backup_type, keep },
      stateful: false,
    });
    return image;
  });
  if (context.version >= ANSWERS_IMAGE) return { image_id: id };
  const location = `${context.publicUrl}/image/v2/images/${id}`;
  return keep > 0 ? new Reply(202, undefined, { location }) : undefined;
}

async function snapshot(
  dependencies: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  call: Call,
  name: string,
  metadata: Readonly<Record<string, string>>,
  kind: {
    readonly type: 'snapshot' | 'backup';
    readonly record: string;
    readonly task: string;
    readonly properties?: Readonly<Record<string, string>>;
  } = {
    type: 'snapshot',
    record: 'createImage',
    task: 'image_snapshot',
  },
): Promise<string> {
  requireState(row, call.context, {
    method: kind.record,
    vm: ['active', 'stopped', 'paused', 'suspended'],
    lock: false,
  });
  if (row.image_id === '')
    throw badRequest(
      'Invalid volume: images of servers that boot from a volume are not made here; make a snapshot of the volume.',
    );
  const id = await dependencies.images.registerSnapshot(tx, call.context, {
    name,
    properties: {
      image_type: kind.type,
      instance_uuid: row.id,
      user_id: row.user_id,
      base_image_ref: row.image_id,
      // As in Nova, what the tenant says of it goes before.
      ...metadata,
      ...kind.properties,
    },
    child: row.child as string,
    server_id: row.id,
    min_disk: row.flavor_copy.disk,
  });
  const body = { name, metadata, image_id: id };
  await send(dependencies, tx, row, call, 'createImage', kind.record, body, kind.task);
  return id;
}
