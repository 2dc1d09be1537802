/** The record of what was asked of a server (`os-instance-actions`). */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { badRequest, Fault, notFound } from '../../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import { isotime } from '../../http/validation.ts';
import { ANY_TEXT, MOMENT, NON_NEGATIVE, once, queryParameters } from '../links.ts';
import { askChild } from './ask.ts';
import type { ServerDependencies } from './dependencies.ts';
import { findServer, findServerOrTombstone } from './lookup.ts';
import { hostIdOf, type ServerRow } from './resource.ts';
import { inner, rules } from './rules.ts';
import { tenantWords } from './words.ts';

interface ActionRow {
  readonly id: number;
  readonly server_id: string;
  readonly action: string;
  readonly request_id: string;
  readonly user_id: string;
  readonly project_id: string;
  readonly start_time: string;
  readonly updated_at: string;
  readonly finish_time: string | null;
  readonly result: string | null;
  readonly message: string | null;
  /** Under which id the child keeps its own record. */
  readonly child_request_id: string | null;
}

const PAGE_MAX = 1000;
const PAGES_SINCE = 58;
const BEFORE_SINCE = 66;
const PAGED = { limit: once(NON_NEGATIVE), marker: once(ANY_TEXT), 'changes-since': once(MOMENT) };
const QUERIES = {
  plain: queryParameters({}, Number.MAX_SAFE_INTEGER),
  paged: queryParameters(PAGED, PAGES_SINCE),
  bounded: queryParameters({ ...PAGED, 'changes-before': once(MOMENT) }, PAGES_SINCE),
};
const queryAt = (version: number) =>
  (version >= BEFORE_SINCE ? QUERIES.bounded : version >= PAGES_SINCE ? QUERIES.paged : QUERIES.plain)(version);
/** Since when a child says what became of an event. */
const EVENT_DETAILS = 84;
/** Nova writes these with microseconds and no zone. */
const moment = (iso: string): string => iso.replace(/Z$/, '');

function actionView(context: RequestContext, row: ActionRow): Record<string, unknown> {
  return {
    action: row.action,
    instance_uuid: row.server_id,
    request_id: row.request_id,
    user_id: row.user_id,
    project_id: row.project_id,
    start_time: moment(row.start_time),
    message: row.result === 'Error' ? 'Error' : null,
    ...(context.version >= 58 ? { updated_at: moment(row.updated_at) } : {}),
  };
}

/** The step of Nova's computes that an action is, where it bears another name. */
const STEPS: Readonly<Record<string, string>> = {
  create: '_do_build_and_run_instance',
  delete: 'terminate_instance',
  start: 'start_instance',
  stop: 'stop_instance',
  reboot: 'reboot_instance',
  pause: 'pause_instance',
  unpause: 'unpause_instance',
  suspend: 'suspend_instance',
  resume: 'resume_instance',
  rescue: 'rescue_instance',
  unrescue: 'unrescue_instance',
  rebuild: 'rebuild_instance',
  evacuate: 'rebuild_instance',
  resize: 'prep_resize',
  migrate: 'prep_resize',
  confirmResize: 'confirm_resize',
  revertResize: 'revert_resize',
  shelve: 'shelve_instance',
  shelveOffload: 'shelve_offload_instance',
  unshelve: 'unshelve_instance',
  createImage: 'snapshot_instance',
  createBackup: 'backup_instance',
  changePassword: 'set_admin_password',
};

/** One step of an action, as the parent or the child saw it. */
interface ActionEvent {
  readonly event: string;
  readonly start_time: string;
  readonly finish_time: string | null;
  readonly result: string | null;
  readonly details: string | null;
}

/**
 * The steps of an action: those that the child took, under its own names, or where it cannot be asked or knows of none
 * the one that the parent saw.
 */
async function events(
  dependencies: ServerDependencies,
  context: RequestContext,
  server: ServerRow,
  row: ActionRow,
): Promise<Record<string, unknown>[]> {
  const all = context.allowed(inner.actionEvents.name);
  const { version } = context;
  const withDetails = version >= EVENT_DETAILS && context.allowed(inner.actionDetails.name);
  const own: ActionEvent = {
    event: `compute_${STEPS[row.action] ?? row.action}`,
    start_time: moment(row.start_time),
    finish_time: row.finish_time === null ? null : moment(row.finish_time),
    result: row.result,
    details: row.message,
  };
  const theirs = await childEvents(dependencies, context, server, row);
  return (theirs.length > 0 ? theirs : [own]).map(({ details, ...event }) => ({
    ...event,
    ...(all ? { traceback: null } : {}),
    ...(all && version >= 62 ? { host: server.child } : {}),
    ...(version >= 62 ? { hostId: hostIdOf(server.project_id, server.child) } : {}),
    ...(withDetails ? { details } : {}),
  }));
}

/** What the child's record says; nothing while it cannot be asked: the parent's own answer is good without it. */
async function childEvents(
  dependencies: ServerDependencies,
  context: RequestContext,
  server: ServerRow,
  row: ActionRow,
): Promise<readonly ActionEvent[]> {
  if (row.child_request_id === null || server.child_id === null) return [];
  try {
    const answer = await askChild<{ instanceAction?: { events?: readonly Partial<ActionEvent>[] } }>(
      dependencies,
      context,
      server,
      {
        method: 'GET',
        path: `/os-instance-actions/${encodeURIComponent(row.child_request_id)}`,
        version: EVENT_DETAILS,
      },
    );
    return (answer.instanceAction?.events ?? []).map(({ event, start_time, finish_time, result, details }) => ({
      event: String(event),
      start_time: String(start_time),
      finish_time: finish_time ?? null,
      result: result ?? null,
      details: typeof details === 'string' ? tenantWords(server, details) : null,
    }));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return [];
  }
}

/** Deleted servers keep their record since 2.21. */
const findAny = (dependencies: ServerDependencies, call: Call): Promise<ServerRow> =>
  call.context.version >= 21 ? findServerOrTombstone(dependencies, call) : findServer(dependencies, call);

/** The operations below `os-instance-actions`. */
export function historyOperations(dependencies: ServerDependencies): Operation[] {
  const path = '/servers/:server_id/os-instance-actions';
  return [
    operation({
      method: 'GET',
      path,
      policy: rules.actionsIndex,
      query: queryAt,
      status: 200,
      summary: 'List what was asked of a server',
      handle: (call) => list(dependencies, call, path),
    }),
    operation({
      method: 'GET',
      path: `${path}/:request_id`,
      policy: rules.actionsShow,
      status: 200,
      summary: 'Show one thing that was asked of a server',
      handle: async (call) => {
        const { context, params } = call;
        const server = await findAny(dependencies, call);
        const { rows } = await sql<ActionRow>`select * from server_actions
          where server_id = ${server.id} and request_id = ${params.request_id} order by id desc limit 1`.execute(
          dependencies.db.query,
        );
        const row = rows[0];
        if (row === undefined) throw notFound(`Action ${params.request_id} not found`);
        const shows = context.version >= 51 || context.allowed(inner.actionEvents.name);
        return {
          instanceAction: {
            ...actionView(context, row),
            ...(shows ? { events: await events(dependencies, context, server, row) } : {}),
          },
        };
      },
    }),
  ];
}

async function list(dependencies: ServerDependencies, call: Call, path: string): Promise<unknown> {
  const { context, query } = call;
  const server = await findAny(dependencies, call);
  const conditions: RawBuilder<SqlBool>[] = [sql<SqlBool>`server_id = ${server.id}`];
  const text = (name: string): string | undefined => [query[name] ?? []].flat()[0];
  const pages = context.version >= 58;
  const limit = pages ? Math.min(Number(text('limit') ?? PAGE_MAX), PAGE_MAX) : PAGE_MAX;
  for (const [name, sign, since] of [
    ['changes-since', '>=', 58],
    ['changes-before', '<=', 66],
  ] as const) {
    const value = context.version >= since ? text(name) : undefined;
    if (value !== undefined) conditions.push(sql<SqlBool>`updated_at ${sql.raw(sign)} ${isotime(value)}::timestamptz`);
  }
  const [since, before] = ['changes-since', 'changes-before'].map((name) => isotime(text(name) ?? ''));
  if (since !== undefined && before !== undefined && Date.parse(before) < Date.parse(since)) {
    throw badRequest('The value of changes-since must be less than or equal to changes-before.');
  }
  const marker = pages ? text('marker') : undefined;
  if (marker !== undefined) {
    const found = await sql<{ id: number }>`select id from server_actions
      where server_id = ${server.id} and request_id = ${marker} order by id desc limit 1`.execute(
      dependencies.db.query,
    );
    if (found.rows[0] === undefined) throw badRequest(`Marker ${marker.slice(0, 64)} could not be found.`);
    conditions.push(sql<SqlBool>`id < ${found.rows[0].id}`);
  }
  const { rows } = await sql<ActionRow>`select * from server_actions where ${sql.join(conditions, sql` and `)}
    order by id desc limit ${limit}`.execute(dependencies.db.query);
  const last = rows.at(-1);
  const next = new URLSearchParams();
  for (const name of ['limit', 'changes-since', 'changes-before']) {
    const value = text(name);
    if (value !== undefined) next.set(name, value);
  }
  next.set('marker', last?.request_id ?? '');
  const href = `${context.baseUrl}${path.replace(':server_id', server.id)}?${next}`;
  return {
    instanceActions: rows.map((row) => actionView(context, row)),
    ...(pages && rows.length === limit && last !== undefined ? { links: [{ rel: 'next', href }] } : {}),
  };
}
