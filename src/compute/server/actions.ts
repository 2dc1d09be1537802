/** Actions on servers: what is checked and shown at once, and what is left to the server's proxy. */
import type { Tx } from '../../db/database.ts';
import { badRequest } from '../../http/fault.ts';
import type { Call, Operation, PolicyRule } from '../../http/service.ts';
import { QuotaExceeded } from '../../resource/quota.ts';
import { quotaFault } from './boot.ts';
import { idFromReference } from './boot-request.ts';
import { act } from './act.ts';
import { consoleOutput } from './console.ts';
import { imageActions, shareWith } from './image-actions.ts';
import type { ServerDependencies } from './dependencies.ts';
import { findServer, withServer } from './lookup.ts';
import { moveActions } from './move-actions.ts';
import { rebuildAction } from './rebuild.ts';
import { rescueAction } from './rescue.ts';
import { unshelve } from './unshelve.ts';
import { ownActions } from './own-actions.ts';
import { difference, footprint } from './records.ts';
import { inheritedProperties, type ServerRow } from './resource.ts';
import { rules } from './rules.ts';
import {
  changePasswordSchema,
  consoleOutputSchema,
  emptyActionSchema,
  rebootSchema,
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
    ...imageActions(dependencies),
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
      ...inheritedProperties(row),
      image_type: 'snapshot',
      instance_uuid: row.id,
      user_id: row.user_id,
    },
    child: row.child as string,
    server_id: row.id,
    share_with: shareWith(call, row),
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
    rescueAction(dependencies),
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

function contentActions(dependencies: ServerDependencies): Operation[] {
  return [
    rebuildAction(dependencies),
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
