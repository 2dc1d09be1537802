/**
 * Moving servers, by administrators: between the hosts of their child, which chooses. The hosts that the parent shows
 * are whole children, so a host that is named can only be refused: the server is there already, or would leave its cloud.
 */
import { badRequest, Fault, notFound } from '../../http/fault.ts';
import type { Call, Operation } from '../../http/service.ts';
import { act } from './act.ts';
import { randomPassword } from './boot.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf, findServer, withServer } from './lookup.ts';
import { enqueue } from './records.ts';
import { rules } from './rules.ts';
import {
  emptyActionSchema,
  evacuateSchema,
  isTrue,
  migrateLiveSchema,
  migrateSchema,
  nullActionSchema,
} from './schema.ts';
import { send } from './send.ts';
import { requireState } from './state.ts';

interface LiveBody {
  readonly host: string | null;
  readonly block_migration: boolean | string;
  readonly disk_over_commit?: boolean | string;
  readonly force?: boolean | string;
}

interface EvacuateBody {
  readonly host?: string;
  readonly onSharedStorage?: boolean | string;
  readonly adminPass?: string;
  readonly force?: boolean | string;
}

const CRASH_DUMP_SINCE = 17;
const PASSWORD_UNTIL = 13;

/** `migrate`, `os-migrateLive`, `evacuate`, `injectNetworkInfo`, `resetNetwork` and `trigger_crash_dump`. */
export function moveActions(dependencies: ServerDependencies): Operation[] {
  const { cascade, db } = dependencies;
  /** @throws Fault for any host: `same` where the server is there, `unknown` where there is none */
  const refuseHost = async (
    host: string | null | undefined,
    child: string | null,
    words: { readonly same: string; readonly unknown: Fault },
  ): Promise<void> => {
    if (host === undefined || host === null) return;
    if (host === child) throw badRequest(words.same);
    if (!(await cascade.children(db.query)).some(({ name }) => name === host)) throw words.unknown;
    throw badRequest(`Compute host ${host} is another cloud: servers are moved within theirs only.`);
  };
  const noSuchHost = (host: unknown): string => `Compute host ${String(host)} could not be found.`;

  const plain = (action: string, record: string, policy: Operation['policy'], more: Partial<Operation>) =>
    act({
      action,
      policy,
      body: action === 'trigger_crash_dump' ? nullActionSchema(action) : emptyActionSchema(action),
      summary: '',
      ...more,
      handle: (call: Call) =>
        withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, {
            method: record,
            ...(action === 'trigger_crash_dump'
              ? { vm: ['active', 'paused', 'rescued', 'resized', 'error'] }
              : { task: 'any' as const }),
          });
          await enqueue(tx, dependencies, row, askerOf(call.context), {
            action,
            record,
            body: null,
            stateful: false,
          });
        }),
    });

  return [
    act<{ host?: string | null } | null>({
      action: 'migrate',
      policy: rules.migrate,
      body: migrateSchema,
      summary: 'Move a server to another host of its child',
      handle: async (call) => {
        const host = call.context.version >= 56 ? call.body?.host : undefined;
        const server = await findServer(dependencies, call);
        await refuseHost(host, server.child, {
          same: `Cannot migrate to the host (${host}) where the server exists.`,
          unknown: badRequest(noSuchHost(host)),
        });
        await withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: 'migrate', vm: ['active', 'stopped'] });
          const same = { from: row.flavor_copy, to: row.flavor_copy };
          await send(
            dependencies,
            tx,
            row,
            call,
            'migrate',
            'migrate',
            null,
            'resize_prep',
            { resize: same },
            { type: 'migration', old_flavor: row.flavor_id, new_flavor: row.flavor_id },
          );
        });
      },
    }),
    act<LiveBody>({
      action: 'os-migrateLive',
      policy: rules.migrateLive,
      body: migrateLiveSchema,
      summary: 'Move a running server to another host of its child',
      handle: async (call) => {
        const { host, block_migration, disk_over_commit, force } = call.body;
        const server = await findServer(dependencies, call);
        requireState(server, call.context, { method: 'os-migrateLive', vm: ['active', 'paused'] });
        if (isTrue(force) && host === null) throw badRequest("Can't force to a non-provided destination");
        await refuseHost(host, server.child, {
          same: `Unable to migrate instance (${server.id}) to current host (${host}).`,
          unknown: badRequest(noSuchHost(host)),
        });
        await withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: 'os-migrateLive', vm: ['active', 'paused'] });
          const body = {
            block_migration: block_migration === 'auto' ? 'auto' : isTrue(block_migration),
            ...(disk_over_commit === undefined ? {} : { disk_over_commit: isTrue(disk_over_commit) }),
          };
          await send(
            dependencies,
            tx,
            row,
            call,
            'os-migrateLive',
            'live-migration',
            body,
            'migrating',
            {},
            { type: 'live-migration', old_flavor: row.flavor_id, new_flavor: row.flavor_id },
          );
        });
      },
    }),
    act<EvacuateBody>({
      action: 'evacuate',
      policy: rules.evacuate,
      body: evacuateSchema,
      status: 200,
      summary: 'Rebuild a server of a host that is down on another of its child',
      handle: async (call) => {
        const { host, onSharedStorage, force } = call.body;
        const { version } = call.context;
        const server = await findServer(dependencies, call);
        if (isTrue(force) && host === undefined) throw badRequest("Can't force to a non-provided destination");
        if (isTrue(onSharedStorage) && call.body.adminPass !== undefined) {
          throw badRequest("admin password can't be changed on existing disk");
        }
        await refuseHost(host, server.child, {
          same: "The target host can't be the same one.",
          unknown: notFound(`Compute host ${String(host)} not found.`),
        });
        const adminPass = call.body.adminPass ?? randomPassword();
        await withServer(dependencies, call, async (tx, row) => {
          requireState(row, call.context, { method: 'evacuate', vm: ['active', 'stopped', 'error'], lock: false });
          await send(
            dependencies,
            tx,
            row,
            call,
            'evacuate',
            'evacuate',
            isTrue(onSharedStorage) ? {} : { adminPass },
            'rebuilding',
            {},
            { type: 'evacuation', old_flavor: row.flavor_id, new_flavor: row.flavor_id },
          );
        });
        return version <= PASSWORD_UNTIL ? { adminPass: isTrue(onSharedStorage) ? null : adminPass } : undefined;
      },
    }),
    plain('injectNetworkInfo', 'inject_network_info', rules.injectNetworkInfo, {
      summary: "Write a server's network information into it",
    }),
    act({
      action: 'resetNetwork',
      policy: rules.injectNetworkInfo,
      body: emptyActionSchema('resetNetwork'),
      status: 410,
      summary: 'Removed from Nova',
      handle: async () => {
        throw new Fault(410, 'This resource is no longer available. No forwarding address is given.');
      },
    }),
    plain('trigger_crash_dump', 'trigger_crash_dump', rules.crashDump, {
      since: CRASH_DUMP_SINCE,
      summary: 'Trigger a crash dump in a server',
    }),
  ];
}
