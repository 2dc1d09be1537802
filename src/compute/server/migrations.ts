/**
 * Migrations: the records of those actions that moved servers between the hosts of their child. Where one stands is read
 * off the record and its server, and kept nowhere else.
 */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { badRequest, notFound } from '../../http/fault.ts';
import { type Call, type Operation, operation, type Query, type RequestContext } from '../../http/service.ts';
import { isotime } from '../../http/validation.ts';
import { ANY_TEXT, firstOf, MOMENT, NON_NEGATIVE, once, queryParameters, resourceLinks } from '../links.ts';
import { ADMIN, computeRule } from '../rules.ts';
import { micros, stableIds } from '../service/hosts.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf, findServer, withServer } from './lookup.ts';
import { change, closeAction, enqueue, recordAction, states } from './records.ts';
import type { ServerRow } from './resource.ts';
import { rules } from './rules.ts';
import { nullActionSchema } from './schema.ts';
import { requireState } from './state.ts';

interface MigrationRow {
  readonly id: number;
  readonly uuid: string;
  readonly server_id: string;
  readonly child: string | null;
  readonly type: 'resize' | 'migration' | 'live-migration' | 'evacuation';
  readonly status: string;
  readonly old_flavor: string | null;
  readonly new_flavor: string | null;
  readonly user_id: string;
  readonly project_id: string;
  readonly created_at: string;
  readonly updated_at: string;
}

const TYPES_SINCE = 23;
const PAGES_SINCE = 59;
const BEFORE_SINCE = 66;
const PROJECTS_SINCE = 80;
const PAGE_MAX = 1000;
/** Since when one can be aborted that has not begun. */
const ABORTS_QUEUED_SINCE = 65;
/** How the record of a migration ends that was aborted before it had begun. */
const CANCELLED = 'The migration was cancelled.';
const IN_PROGRESS = ['queued', 'preparing', 'running', 'post-migrating'];

const OLD = {
  hidden: ANY_TEXT,
  host: ANY_TEXT,
  instance_uuid: ANY_TEXT,
  source_compute: ANY_TEXT,
  status: ANY_TEXT,
  migration_type: ANY_TEXT,
};
const PAGED = { ...OLD, limit: once(NON_NEGATIVE), marker: once(ANY_TEXT), 'changes-since': once(MOMENT) };
const LOOSE = queryParameters(OLD, Number.MAX_SAFE_INTEGER);
const STRICT = queryParameters(PAGED, 0);
const BEFORE = queryParameters({ ...PAGED, 'changes-before': once(MOMENT) }, 0);
const PROJECTS = queryParameters(
  { ...PAGED, 'changes-before': once(MOMENT), user_id: once(ANY_TEXT), project_id: once(ANY_TEXT) },
  0,
);
const queryAt = (version: number) =>
  (version >= PROJECTS_SINCE ? PROJECTS : version >= BEFORE_SINCE ? BEFORE : version >= PAGES_SINCE ? STRICT : LOOSE)(
    version,
  );

/** All migrations with where they stand. A resize stands where its confirmation or its way back does. */
const MIGRATIONS = sql`
  select a.id, a.migration->>'uuid' as uuid, a.server_id, s.child, a.migration->>'type' as type,
    a.migration->>'old_flavor' as old_flavor, a.migration->>'new_flavor' as new_flavor,
    a.user_id, a.project_id, a.start_time as created_at, greatest(a.updated_at, after.updated_at) as updated_at,
    case
      when a.result = 'Error' and a.message = ${CANCELLED} then 'cancelled'
      when a.result = 'Error' then 'error'
      when a.migration->>'type' = 'live-migration' then
        case when a.finish_time is not null then 'completed'
          when s.body->'pending' @> jsonb_build_array(jsonb_build_object('record_id', a.id)) then 'queued'
          else 'running' end
      when a.migration->>'type' = 'evacuation' then case when a.finish_time is null then 'accepted' else 'done' end
      when a.finish_time is null then
        case s.task_state when 'resize_prep' then 'pre-migrating' when 'resize_migrated' then 'post-migrating'
          else 'migrating' end
      when after.id is null then
        case when s.vm_state = 'resized' and s.deleted_at is null then 'finished' else 'confirmed' end
      when after.result = 'Error' then 'finished'
      when after.action = 'confirmResize' then
        case when after.finish_time is null then 'confirming' else 'confirmed' end
      else case when after.finish_time is null then 'reverting' else 'reverted' end
    end as status
  from server_actions a join servers s on s.id = a.server_id
  left join lateral (
    select b.id, b.action, b.result, b.finish_time, b.updated_at from server_actions b
    where b.server_id = a.server_id and b.id > a.id and b.action in ('confirmResize', 'revertResize')
      and a.migration->>'type' in ('resize', 'migration')
    order by b.id limit 1) after on true
  where a.migration is not null`;

function view(context: RequestContext, row: MigrationRow): Record<string, unknown> {
  const { version } = context;
  const flavor = (id: string | null): number | null => (id === null ? null : stableIds('flavor', id).number);
  const isLive = row.type === 'live-migration' && IN_PROGRESS.includes(row.status);
  return {
    id: row.id,
    ...(version >= PAGES_SINCE ? { uuid: row.uuid } : {}),
    instance_uuid: row.server_id,
    status: row.status,
    // The hosts below a child are its own affair: seen from here a server never left it.
    source_compute: row.child,
    source_node: row.child,
    dest_compute: row.child,
    dest_node: row.child,
    dest_host: null,
    old_instance_type_id: flavor(row.old_flavor),
    new_instance_type_id: flavor(row.new_flavor),
    created_at: micros(row.created_at),
    updated_at: micros(row.updated_at),
    ...(version >= TYPES_SINCE ? { migration_type: row.type } : {}),
    ...(version >= TYPES_SINCE && isLive
      ? { links: resourceLinks(context, `/servers/${row.server_id}/migrations/${row.id}`) }
      : {}),
    ...(version >= PROJECTS_SINCE ? { user_id: row.user_id, project_id: row.project_id } : {}),
  };
}

/** One in progress, as it shows below its server; how far it is only the child's hypervisor knows. */
function progressView({ version }: RequestContext, row: MigrationRow): Record<string, unknown> {
  const unknown = Object.fromEntries(
    ['disk', 'memory'].flatMap((what) =>
      ['processed', 'remaining', 'total'].map((part) => [`${what}_${part}_bytes`, null]),
    ),
  );
  return {
    id: row.id,
    ...(version >= PAGES_SINCE ? { uuid: row.uuid } : {}),
    server_uuid: row.server_id,
    status: row.status,
    source_compute: row.child,
    source_node: row.child,
    dest_compute: row.child,
    dest_node: row.child,
    dest_host: null,
    created_at: micros(row.created_at),
    updated_at: micros(row.updated_at),
    ...unknown,
    ...(version >= PROJECTS_SINCE ? { user_id: row.user_id, project_id: row.project_id } : {}),
  };
}

const where = (conditions: readonly RawBuilder<SqlBool>[]): RawBuilder<unknown> =>
  conditions.length === 0 ? sql`` : sql`where ${sql.join(conditions, sql` and `)}`;

function momentOf(query: Query, name: string): string | undefined {
  const text = firstOf(query[name]);
  const moment = text === undefined ? undefined : isotime(text);
  return moment === undefined ? undefined : new Date(moment).toISOString();
}

/** What narrows the list. @throws Fault 400 for moments that contradict each other */
function conditionsOf({ version }: RequestContext, query: Query): RawBuilder<SqlBool>[] {
  const conditions: RawBuilder<SqlBool>[] = [];
  const equal = (parameter: string, column: string): void => {
    const value = firstOf(query[parameter]);
    if (value !== undefined) conditions.push(sql<SqlBool>`${sql.ref(column)} = ${value}`);
  };
  equal('host', 'child');
  equal('source_compute', 'child');
  equal('instance_uuid', 'server_id');
  equal('status', 'status');
  equal('migration_type', 'type');
  // None is hidden here.
  if (/^(true|1|t|y|yes|on)$/i.test(firstOf(query.hidden) ?? '')) conditions.push(sql<SqlBool>`false`);
  if (version >= PROJECTS_SINCE) {
    equal('user_id', 'user_id');
    equal('project_id', 'project_id');
  }
  const since = version >= PAGES_SINCE ? momentOf(query, 'changes-since') : undefined;
  const before = version >= BEFORE_SINCE ? momentOf(query, 'changes-before') : undefined;
  if (since !== undefined && before !== undefined && before < since) {
    throw badRequest('The value of changes-since must be less than or equal to changes-before.');
  }
  if (since !== undefined) conditions.push(sql<SqlBool>`updated_at >= ${since}::timestamptz`);
  if (before !== undefined) conditions.push(sql<SqlBool>`updated_at <= ${before}::timestamptz`);
  return conditions;
}

/** `/os-migrations`, and what hangs below a server. */
export function migrationOperations(dependencies: ServerDependencies): Operation[] {
  const { db } = dependencies;
  const select = async (conditions: readonly RawBuilder<SqlBool>[], limit: number): Promise<MigrationRow[]> => {
    const { rows } = await sql<MigrationRow>`select * from (${MIGRATIONS}) as m ${where(conditions)}
      order by id desc limit ${limit}`.execute(db.query);
    return rows;
  };

  const list = async ({ context, query }: Call): Promise<unknown> => {
    const conditions = conditionsOf(context, query);
    const pages = context.version >= PAGES_SINCE;
    const asked = pages ? firstOf(query.limit) : undefined;
    const limit = Math.min(Number(asked ?? PAGE_MAX) || PAGE_MAX, PAGE_MAX);
    const marker = pages ? firstOf(query.marker) : undefined;
    if (marker !== undefined) {
      const [found] = await select([sql<SqlBool>`uuid = ${marker}`], 1);
      if (found === undefined) throw badRequest(`Marker ${marker.slice(0, 64)} could not be found.`);
      conditions.push(sql<SqlBool>`id < ${found.id}`);
    }
    const rows = await select(conditions, limit);
    const last = rows.at(-1);
    if (!pages || rows.length < limit || last === undefined) {
      return { migrations: rows.map((row) => view(context, row)) };
    }
    const kept = Object.entries(query).flatMap(([name, value]) =>
      name === 'marker' ? [] : [value].flat().map((one) => [name, one] as [string, string]),
    );
    const next = new URLSearchParams([...kept, ['marker', last.uuid]]);
    return {
      migrations: rows.map((row) => view(context, row)),
      migrations_links: [{ rel: 'next', href: `${context.baseUrl}/os-migrations?${next}` }],
    };
  };

  const live = (row: ServerRow, more: readonly RawBuilder<SqlBool>[] = []) =>
    select(
      [
        sql<SqlBool>`server_id = ${row.id}`,
        sql<SqlBool>`type = 'live-migration'`,
        sql<SqlBool>`status = any(${IN_PROGRESS})`,
        ...more,
      ],
      PAGE_MAX,
    );
  const ofServer = async (call: Call, row: ServerRow): Promise<MigrationRow | undefined> => {
    const id = call.params.migration_id as string;
    if (!/^\d{1,15}$/.test(id)) return undefined;
    const [found] = await select([sql<SqlBool>`server_id = ${row.id}`, sql<SqlBool>`id = ${id}::bigint`], 1);
    return found;
  };
  const one = async (call: Call, row: ServerRow): Promise<MigrationRow> => {
    const id = call.params.migration_id as string;
    const found = await ofServer(call, row);
    if (found === undefined) throw notFound(`In-progress live migration ${id} is not found for server ${row.id}.`);
    if (found.type !== 'live-migration') throw notFound(`Migration ${id} for server ${row.id} is not live-migration.`);
    if (!IN_PROGRESS.includes(found.status)) {
      throw notFound(`Live migration ${id} for server ${row.id} is not in progress.`);
    }
    return found;
  };
  const end = (call: Call, way: 'complete' | 'abort', vm: readonly string[] | undefined) =>
    withServer(dependencies, call, async (tx, row) => {
      const id = call.params.migration_id as string;
      requireState(row, call.context, {
        method: way === 'abort' ? 'abort live migration' : 'force_complete',
        ...(vm === undefined ? {} : { vm }),
        task: ['migrating'],
      });
      const found = await ofServer(call, row);
      if (found === undefined) {
        const words = `Migration ${id} not found for instance ${row.id}`;
        throw way === 'abort' ? notFound(words) : badRequest(words);
      }
      const canQueued = way === 'abort' && call.context.version >= ABORTS_QUEUED_SINCE;
      if (found.status !== 'running' && !(canQueued && found.status === 'queued')) {
        const method = way === 'abort' ? 'abort live migration' : 'force complete';
        throw badRequest(
          `Migration ${id} state of instance ${row.id} is ${found.status}. Cannot ${method} while the migration is in this state.`,
        );
      }
      const record = way === 'abort' ? 'live_migration_cancel' : 'live_migration_force_complete';
      const waiting = row.pending.find((entry) => entry.record_id === Number(found.id) && entry.sent_at === null);
      if (waiting !== undefined) {
        // The child has not heard of it yet, and will not.
        await closeAction(tx, waiting.record_id, CANCELLED);
        await closeAction(tx, await recordAction(tx, row.id, record, askerOf(call.context)));
        const pending = row.pending.filter(({ key }) => key !== waiting.key);
        await change(tx, row, { ...states(row.vm_state, null), pending });
        return;
      }
      await enqueue(tx, dependencies, row, askerOf(call.context), {
        action: 'end_migration',
        record,
        body: { way },
        stateful: false,
      });
    });

  const path = '/servers/:server_id/migrations';
  return [
    operation({
      method: 'GET',
      path: '/os-migrations',
      policy: computeRule('os-migrations:index', ADMIN),
      query: queryAt,
      status: 200,
      summary: 'List migrations',
      handle: list,
    }),
    operation({
      method: 'GET',
      path,
      since: TYPES_SINCE,
      policy: rules.migrationsIndex,
      status: 200,
      summary: 'List live migrations of a server that are under way',
      handle: async (call) => {
        const rows = await live(await findServer(dependencies, call));
        return { migrations: rows.map((row) => progressView(call.context, row)) };
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/:migration_id`,
      since: TYPES_SINCE,
      policy: rules.migrationsShow,
      status: 200,
      summary: 'Show a live migration of a server that is under way',
      handle: async (call) => ({
        migration: progressView(call.context, await one(call, await findServer(dependencies, call))),
      }),
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:migration_id`,
      since: 24,
      policy: rules.migrationsDelete,
      status: 202,
      summary: 'Abort a live migration',
      handle: (call) => end(call, 'abort', undefined),
    }),
    operation({
      method: 'POST',
      path: `${path}/:migration_id/action`,
      action: 'force_complete',
      since: 22,
      policy: rules.migrationsForce,
      body: nullActionSchema('force_complete'),
      status: 202,
      summary: 'Make a live migration end',
      handle: (call) => end(call as Call, 'complete', ['active']),
    }),
  ];
}
