/**
 * What children show of servers, brought into the rows: the only way by which their states get here.
 *
 * A server that a child says is DELETED, or that is not there any more, is deleted here too, asked for or not: Nova
 * shows a deleted server as gone, and a row kept in some state of error would hold quota and addresses for nothing.
 */
import { sql } from 'kysely';
import { applyEach } from '../../cascade/apply-each.ts';
import { believable } from '../../cascade/vanished.ts';
import type { ChildContext, Feed } from '../../cascade/contract.ts';
import { type ChildServer, deleteServer, markOf, READ_MICROVERSION, readServer } from './child.ts';
import { clock } from './clock.ts';
import type { ServerDependencies } from './dependencies.ts';
import { dropImages } from './kept-image.ts';
import { arrive, turnBack, vanish } from './move.ts';
import { change, changeQuietly, closeOpenActions, faultOf, isComing, settleResize } from './records.ts';
import { type ServerFlavor, type ServerRow, serverStore } from './resource.ts';
import { statusOf } from './state.ts';
import { tenantWords } from './words.ts';

const IDLE_MS = 2000;
const BUSY_MS = 250;
/** Changes become readable in a child a little after their own time stamps, which have whole seconds. */
const OVERLAP_MS = 2000;
const AUDIT_IDLE_MS = 10_000;
/** The share of the time that audits of one child may take. */
const AUDIT_DUTY = 1 / 30;

/** The feed `servers`: what changed since the last round. The cursor is the child's own time, never ours. */
export function serverFeed(dependencies: ServerDependencies): Feed {
  return {
    name: 'servers',
    idle_ms: IDLE_MS,
    busy_ms: BUSY_MS,
    busy: (query, child) => isBusy(query, child),
    async round(context, cursor) {
      const started = await clock(dependencies.db.query);
      let latest = cursor === undefined ? Number.NEGATIVE_INFINITY : Date.parse(cursor);
      let unread = Number.POSITIVE_INFINITY;
      const pages = context.api.pages<ChildServer>(
        {
          service: 'compute',
          method: 'GET',
          path: '/servers/detail',
          query: { ...everywhere(context), ...(cursor === undefined ? {} : { 'changes-since': cursor }) },
          microversion: READ_MICROVERSION,
          atMost: true,
        },
        'servers',
      );
      for await (const servers of pages) {
        const rows = await rowsOf(dependencies, context, servers);
        await applyEach(
          servers,
          context.log,
          ({ id }) => id,
          async (server) => {
            const updated = Date.parse(server.updated ?? '');
            const row = rows.get(server.id);
            // A read that began before the child was last asked for a change may not show that change.
            if (row?.acted_at != null && row.acted_at > started) {
              if (!Number.isNaN(updated)) unread = Math.min(unread, updated);
              return;
            }
            await applyRecord(dependencies, context, row, server).catch((error: unknown) => {
              // A record that makes no sense will make none later; anything else is read again.
              if (!(error instanceof TypeError) && !Number.isNaN(updated)) unread = Math.min(unread, updated);
              throw error;
            });
            if (!Number.isNaN(updated)) latest = Math.max(latest, updated);
          },
        );
      }
      const next = Math.min(latest - OVERLAP_MS, unread - OVERLAP_MS);
      if (!Number.isFinite(next)) return cursor;
      const before = cursor === undefined ? Number.NEGATIVE_INFINITY : Date.parse(cursor);
      return latest === before ? cursor : `${new Date(next).toISOString().slice(0, 19)}Z`;
    },
  };
}

/** Something is under way in a server that the child has; one that it is only being asked for shows nothing yet. */
async function isBusy(query: Parameters<Feed['busy']>[0], child: string): Promise<boolean> {
  const { rows } = await sql`select 1 from servers where child = ${child} and task_state is not null
    and deleted_at is null and (child_id is not null or create_sent_at is not null) limit 1`.execute(query);
  return rows.length > 0;
}

/** The rows that belong to a page of a child's servers, by the child's ids, or else by the marks. */
async function rowsOf(
  { db }: ServerDependencies,
  context: ChildContext,
  servers: readonly ChildServer[],
): Promise<Map<string, ServerRow>> {
  const ids = servers.map(({ id }) => id).filter((id) => typeof id === 'string');
  const known = await serverStore.select(db.query, [sql`child = ${context.child}`, sql`child_id = any(${ids})`]);
  const rows = new Map(known.map((row) => [row.child_id as string, row]));
  const marked = new Map<string, string>();
  for (const server of servers) {
    const mark = rows.has(server.id) ? undefined : markOf(server);
    if (mark !== undefined) marked.set(mark, server.id);
  }
  for (const row of await serverStore.findMany(db.query, [...marked.keys()])) {
    rows.set(marked.get(row.id) as string, row);
  }
  return rows;
}

async function applyRecord(
  dependencies: ServerDependencies,
  context: ChildContext,
  row: ServerRow | undefined,
  server: ChildServer,
): Promise<void> {
  // Not ours, or ours from another life of the database: nothing here speaks for deleting it.
  if (row === undefined) return;
  const isGone = server.status === 'DELETED';
  // The shelved one of a server that moves: there it goes on waiting if it cannot come up elsewhere.
  if (row.origin?.child === context.child && row.origin.child_id === server.id) return;
  if (row.child === context.child && row.deleted_at === null && isComing(row) && !isLeftover(row)) {
    if (isGone) return;
    await dependencies.db.transaction(async (tx) => {
      const current = await serverStore.lock(tx, row.id);
      if (current?.child !== context.child || current.child_id !== null || current.deleted_at !== null) return;
      await changeQuietly(tx, current, { child_id: server.id, boot: null });
    });
    return applyServer(dependencies, row.id, server);
  }
  if (row.child !== context.child || row.child_id !== server.id || row.deleted_at !== null) {
    // It carries our mark and is not the one: a create that was thought lost, or one that outlived its server.
    if (isGone || server['OS-EXT-STS:task_state'] === 'deleting') return;
    context.log.warn({ server_id: row.id, child: context.child }, 'deleting a stray server');
    await deleteServer(context, row, server.id);
    return;
  }
  if (isGone || patchOf(row, server) !== undefined) await applyServer(dependencies, row.id, server);
}

/** No create was sent yet for a move: what carries the mark is left of an earlier one. */
const isLeftover = ({ origin, create_sent_at }: ServerRow): boolean => origin !== null && create_sent_at === null;

/** Brings what the child shows of a server into its row. Twice: the second changes nothing. */
export async function applyServer(dependencies: ServerDependencies, id: string, server: ChildServer): Promise<void> {
  await dependencies.db.transaction(async (tx) => {
    const row = await serverStore.lock(tx, id);
    if (row === undefined || row.deleted_at !== null || row.child_id !== server.id) return;
    if (server.status === 'DELETED') {
      await vanish(tx, dependencies, id);
      return;
    }
    if (row.origin !== null && server['OS-EXT-STS:vm_state'] === 'error' && row.task_state !== 'deleting') {
      await turnBack(tx, dependencies, row, tenantWords(row, server.fault?.message ?? 'Error'));
      return;
    }
    const patch = patchOf(row, server);
    if (patch === undefined) return;
    const ended = row.task_state !== null && patch.task_state === null;
    if (ended) {
      const failed = patch.vm_state === 'error' ? (patch.fault_record?.message ?? 'Error') : undefined;
      await closeOpenActions(tx, row, failed);
    }
    const resized = afterResize(row, { ...row, ...patch }, server);
    const flavor =
      resized === undefined || row.resize === null
        ? {}
        : resized === 'shown'
          ? { flavor_id: row.resize.to.id, flavor_copy: row.resize.to }
          : await settleResize(tx, dependencies, row, row.resize[resized]);
    const arrived = isStillBuilding(server) ? {} : await arrive(tx, dependencies, row);
    const dropped = await dropImages(tx, dependencies, { ...row, ...patch }, server);
    await change(tx, row, { ...patch, ...flavor, ...arrived, ...dropped });
  });
}

const isStillBuilding = (server: ChildServer): boolean => server['OS-EXT-STS:vm_state'] === 'building';

const moment = (text: string | null | undefined): string | null =>
  typeof text !== 'string' || Number.isNaN(Date.parse(text)) ? null : text.endsWith('Z') ? text : `${text}Z`;

/** What of a row differs from what the child shows; undefined where nothing does. */
function patchOf(row: ServerRow, server: ChildServer): Partial<ServerRow> | undefined {
  const vm_state = server['OS-EXT-STS:vm_state'];
  if (typeof vm_state !== 'string') throw new TypeError('the child shows no vm_state');
  if (row.origin !== null && isStillBuilding(server)) return unshelvingPatch(row, server);
  const waits = row.task_state === 'deleting' || row.pending.some(({ stateful }) => stateful);
  const task_state = waits ? row.task_state : (server['OS-EXT-STS:task_state'] ?? null);
  const shown: Partial<ServerRow> = {
    vm_state,
    task_state,
    status: statusOf(vm_state, task_state),
    power_state: server['OS-EXT-STS:power_state'] ?? row.power_state,
    percent: server.progress ?? 0,
    launched_at: moment(server['OS-SRV-USG:launched_at']) ?? row.launched_at,
    terminated_at: moment(server['OS-SRV-USG:terminated_at']) ?? row.terminated_at,
    root_device_name: server['OS-EXT-SRV-ATTR:root_device_name'] ?? row.root_device_name,
  };
  const message = tenantWords(row, server.fault?.message ?? '');
  const hasFault = vm_state === 'error' && server.fault !== undefined;
  if (hasFault && (row.fault_record === null || row.fault_record.message !== message)) {
    const created = server.fault?.created ?? server.updated ?? '';
    shown.fault_record = faultOf(message, created, server.fault?.code);
  }
  const differs = Object.entries(shown).some(([key, value]) => !sameValue(row[key as keyof ServerRow], value));
  const settles = row.resize !== null && task_state === null && !waits && vm_state !== 'resized';
  const unshelved = row.shelved_image !== null && task_state === null && !waits && !vm_state.startsWith('shelved');
  return differs || settles || unshelved || row.origin !== null ? shown : undefined;
}

/** What is a boot to the child is still the unshelving of one and the same server. */
function unshelvingPatch(row: ServerRow, server: ChildServer): Partial<ServerRow> | undefined {
  const spawns = row.task_state === 'unshelving' && server['OS-EXT-STS:task_state'] === 'spawning';
  return spawns ? { task_state: 'spawning', status: statusOf(row.vm_state, 'spawning') } : undefined;
}

/** Time stamps may come with or without a fraction. */
function sameValue(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'string' || typeof other !== 'string') return false;
  return /^\d{4}-\d\d-\d\dT/.test(one) && /^\d{4}-\d\d-\d\dT/.test(other) && Date.parse(one) === Date.parse(other);
}

/** How a resize stands: `shown` while it waits to be confirmed, then which of the two flavors it came to. */
function afterResize(before: ServerRow, after: ServerRow, server: ChildServer): 'shown' | 'from' | 'to' | undefined {
  const { resize } = before;
  if (resize === null || after.pending.some(({ stateful }) => stateful)) return undefined;
  if (after.vm_state === 'resized') return before.flavor_id === resize.to.id ? undefined : 'shown';
  if (after.task_state !== null) return undefined;
  const fits = (flavor: ServerFlavor): boolean =>
    server.flavor?.vcpus === flavor.vcpus && server.flavor.ram === flavor.ram && server.flavor.disk === flavor.disk;
  if (fits(resize.from) !== fits(resize.to)) return fits(resize.to) ? 'to' : 'from';
  if (before.task_state === 'resize_reverting') return 'from';
  return before.flavor_id === resize.to.id ? 'to' : 'from';
}

/**
 * The feed `server-audit`: notices servers that vanished from a child without a trace in its list of changes (a child
 * restored from a backup, or one that purges its tombstones). It asks for each before it believes it.
 */
export function serverAudit(dependencies: ServerDependencies): Feed {
  const due = new Map<string, number>();
  return {
    name: 'server-audit',
    idle_ms: AUDIT_IDLE_MS,
    busy_ms: AUDIT_IDLE_MS,
    busy: async () => false,
    async round(context, cursor) {
      const started = performance.now();
      if (started < (due.get(context.child) ?? 0)) return cursor;
      const before = await clock(dependencies.db.query);
      const there = await idsThere(context);
      const { rows } = await sql<{ id: string; child_id: string }>`select id, child_id from servers
        where child = ${context.child} and child_id is not null and deleted_at is null
          and updated_at < ${before}::timestamptz`.execute(dependencies.db.query);
      const vanished = rows.filter(({ child_id }) => !there.has(child_id));
      const { child, log } = context;
      if (!believable(vanished.length, rows.length, { child, kind: 'server', log })) return cursor;
      await applyEach(
        vanished,
        context.log,
        ({ id }) => id,
        async ({ id, child_id }) => {
          const row = await serverStore.find(dependencies.db.query, id);
          if (row === undefined || row.deleted_at !== null || row.child_id !== child_id) return;
          if ((await readServer(context, row, child_id)) !== undefined) return;
          await dependencies.db.transaction((tx) => vanish(tx, dependencies, id));
        },
      );
      const took_ms = performance.now() - started;
      due.set(context.child, performance.now() + Math.max(0, took_ms / AUDIT_DUTY - AUDIT_IDLE_MS));
      return cursor;
    },
  };
}

/** Whose servers to ask for: in an account's one project there are those of all tenants, and others are none of ours. */
const everywhere = ({ tenancy }: ChildContext): { readonly all_tenants?: 1 } =>
  tenancy === 'shared' ? {} : { all_tenants: 1 };

async function idsThere(context: ChildContext): Promise<Set<string>> {
  const ids = new Set<string>();
  const pages = context.api.pages<{ id: string }>(
    { service: 'compute', method: 'GET', path: '/servers', query: everywhere(context) },
    'servers',
  );
  for await (const servers of pages) for (const { id } of servers) ids.add(id);
  return ids;
}
