/**
 * cinder-proxy: does in a child what the rows of volumes and snapshots say remains to be done there. What is different
 * between the two stands in `ProxyKind`.
 *
 * Killed at any line: `create_sent_at` is stored before a create is sent, so that the next call looks for the object by
 * its mark before it makes one, and waits where an earlier create may still take effect.
 */
import { sql } from 'kysely';
import type { ChildContext, HostedKind, Progress } from '../cascade/contract.ts';
import { Later } from '../cascade/later.ts';
import { SETTLE_MS, SETTLE_REMOVAL_MS } from '../cascade/replicas.ts';
import { mayAdminister } from '../cascade/rights.ts';
import type { Queryable, Tx } from '../db/database.ts';
import { type CloudCall, CloudError } from '../openstack/contract.ts';
import type { Store } from '../resource/store.ts';
import { type HostedRow, markActed } from './hosted.ts';

/** The mark by which a child's volumes and snapshots are found again. */
export const MARK = 'headwater_id';

/** What a child shows of one. Everything in it is another program's word: nothing is taken without a look. */
export interface ChildRecord {
  readonly id: string;
  readonly status: string;
  readonly size?: number;
  readonly created_at?: string | null;
  readonly updated_at?: string | null;
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface ProxyKind<R extends HostedRow, C extends ChildRecord> {
  readonly kind: 'volume' | 'snapshot';
  readonly collection: 'volumes' | 'snapshots';
  readonly store: Store<R>;
  /** The body of the create without its mark; undefined while what it is made from is not there yet. */
  readonly createBody: (context: ChildContext, row: R) => Promise<Record<string, unknown> | undefined>;
  /** The action that deletes whatever the status, where the row asks for it. */
  readonly forcedDelete: (row: R) => boolean;
  /** True while something else must go or come first. */
  readonly keeps: (query: Queryable, row: R) => Promise<boolean>;
  /** True where a refused delete is tried again, since the child only has to catch up. */
  readonly retriesDelete: (row: R, childStatus: string) => boolean;
  /** What there is to bring beside name, description and metadata. */
  readonly bringMore?: (context: ChildContext, row: R) => Promise<void>;
  /** Whether there is more to bring to one that was just made. */
  readonly wantsMore?: (row: R) => boolean;
  /** Tasks of its own; gives false for one it does not know. */
  readonly perform?: (context: ChildContext, row: R) => Promise<boolean>;
  /** Takes over what the child shows. */
  readonly apply: (tx: Tx, row: R, record: C) => Promise<void>;
  readonly finish: (tx: Tx, id: string) => Promise<void>;
}

const POLL_LEAST_MS = 200;
const POLL_MOST_MS = 10_000;

/** The hosted kind that a description makes. */
export function hostedKind<R extends HostedRow, C extends ChildRecord>(of: ProxyKind<R, C>): HostedKind {
  return {
    kind: of.kind,
    async pending(query, child) {
      const rows = await sql<{ id: string }>`select id from ${sql.table(of.store.resource.table)}
        where child = ${child} and (task <> '' or brought < revision)`.execute(query);
      return rows.rows.map(({ id }) => id);
    },
    async reconcile(context, id) {
      const row = await of.store.find(context.db.query, id);
      if (row === undefined || row.child !== context.child) return 'done';
      switch (row.task) {
        case 'create':
          return create(of, context, row);
        case 'delete':
          return remove(of, context, row);
        case '':
          return bring(of, context, row);
        default:
          return perform(of, context, row);
      }
    },
  };
}

/** A call about one object, in its project. */
export async function call<Body>(
  context: ChildContext,
  row: HostedRow,
  options: Omit<CloudCall, 'service' | 'scope'>,
): Promise<{ status: number; body: Body }> {
  const isMade = row.child_id !== null || row.task === 'delete';
  const scope = await (isMade ? context.scopeOfExisting(row.project_id) : context.scope(row.project_id));
  return context.api.call<Body>({ service: 'volume', scope, ...options });
}

/** True where the child said no, and would say so again. */
function isFinal(error: unknown): error is CloudError {
  if (!(error instanceof CloudError) || error.failure !== 'refused') return false;
  // Cinder says Retry-After with an exceeded quota, though waiting does not help there.
  return !error.transient || (error.status === 413 && /exceed/i.test(error.tenantMessage));
}

/** Twice: the second finds the first by its mark, or waits until the first can be seen. */
async function create<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
): Promise<Progress> {
  if (row.child_id !== null) return settled(of, context, row, row.child_id, row.brought);
  if (row.create_sent_at !== null) {
    const found = await findByMark(of, context, row);
    // Revision 0: what was written then is not known, so name and metadata are brought once more.
    if (found !== undefined) return settled(of, context, row, found, 0);
  }
  const body = await of.createBody(context, row).catch((error: unknown) => refused(of, context, row, error));
  if (body === 'refused') return 'done';
  if (body === undefined) return { again_ms: 300 };
  const sent = await claimCreate(of, context, row);
  if (sent === 'elsewhere') return 'done';
  if (sent === 'unsettled') throw new Later(1000, 'a create of unknown outcome may still take effect');
  try {
    const answer = await call<Record<string, { id: string }>>(context, row, {
      method: 'POST',
      path: `/${of.collection}`,
      body: { [of.kind]: { ...body, metadata: { ...row.metadata, [MARK]: row.id } } },
    });
    const made = answer.body[of.kind];
    if (made === undefined) throw new Error(`the answer to a create has no ${of.kind}`);
    return await settled(of, context, row, made.id, of.wantsMore?.(row) === true ? 0 : row.revision);
  } catch (error) {
    if (isFinal(error)) {
      await refused(of, context, row, error);
      return 'done';
    }
    // A clear answer made nothing. Silence leaves the question open, and the time to settle begins with its end.
    const nothingMade = error instanceof CloudError && !error.uncertain;
    const table = sql.table(of.store.resource.table);
    await sql`update ${table} set create_sent_at = ${nothingMade ? null : sql`clock_timestamp()`}
      where id = ${row.id} and child_id is null`.execute(context.db.query);
    throw error;
  }
}

/** Stores that a create goes out now, unless the row wants something else by now or an earlier one may take effect. */
async function claimCreate<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
) {
  const table = sql.table(of.store.resource.table);
  const sent = await sql`update ${table} set create_sent_at = clock_timestamp()
    where id = ${row.id} and task = 'create' and child_id is null
      and (create_sent_at is null or create_sent_at < clock_timestamp() - ${SETTLE_MS} * interval '1 millisecond')
    returning 1`.execute(context.db.query);
  if (sent.rows.length > 0) return 'sent';
  const now = await of.store.find(context.db.query, row.id);
  return now?.task === 'create' && now.child_id === null ? 'unsettled' : 'elsewhere';
}

/** The object is there. Where the row came to want its end meanwhile, that is what is done next. */
async function settled<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
  childId: string,
  brought: number,
): Promise<Progress> {
  const table = sql.table(of.store.resource.table);
  await sql`update ${table} set child_id = ${childId}, create_sent_at = null, brought = ${brought},
      acted_at = clock_timestamp(), task = case when task = 'create' then '' else task end
    where id = ${row.id}`.execute(context.db.query);
  return more(of, context, row.id);
}

async function findByMark<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
): Promise<string | undefined> {
  const { body } = await call<Record<string, ChildRecord[]>>(context, row, {
    method: 'GET',
    path: `/${of.collection}/detail`,
    query: { all_tenants: '1', metadata: `{'${MARK}': '${row.id}'}` },
  });
  // The filter is the child's; that it was heeded is for us to see.
  return body[of.collection]?.find(({ metadata }) => metadata?.[MARK] === row.id)?.id;
}

/** Twice: a 404 counts as done. The row goes when the child shows nothing any more. */
async function remove<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
): Promise<Progress> {
  const { query } = context.db;
  let childId = row.child_id;
  if (childId === null && row.create_sent_at !== null) {
    childId = (await findByMark(of, context, row)) ?? null;
    if (childId === null && !(await isSettled(of, context, row.id))) {
      throw new Later(1000, 'a create of unknown outcome may still take effect');
    }
    if (childId !== null) await of.store.update(query, row.id, { child_id: childId } as Partial<R>, { revise: false });
  }
  if (childId === null) {
    await context.db.transaction((tx) => of.finish(tx, row.id));
    return 'done';
  }
  if (await of.keeps(query, row)) return { again_ms: 300 };
  const path = `/${of.collection}/${childId}`;
  const isSent = (row as { delete_sent?: boolean }).delete_sent === true;
  if (!isSent) {
    // Only administrators may force it; the plain one goes as far as their child lets it.
    const isForced = of.forcedDelete(row) && (await mayAdminister(query, row.child));
    try {
      const answer = await call(context, row, {
        ...(isForced
          ? { method: 'POST', path: `${path}/action`, body: { 'os-force_delete': {} } }
          : { method: 'DELETE', path }),
        accept: [404],
      });
      if (answer.status === 404) {
        await context.db.transaction((tx) => of.finish(tx, row.id));
        return 'done';
      }
    } catch (error) {
      if (!isFinal(error)) throw error;
      return deleteRefused(of, context, row, childId, error);
    }
    await of.store.update(query, row.id, { delete_sent: true } as unknown as Partial<R>, { revise: false });
  }
  const record = await look(of, context, row, childId);
  if (record === undefined) {
    await context.db.transaction((tx) => of.finish(tx, row.id));
    return 'done';
  }
  if (record.status === 'deleting' || record.status.startsWith('managing')) return { again_ms: patience_ms(row) };
  // It came to another end (`error_deleting`), or an earlier answer was about a delete that never began.
  await endTask(of, context, row, record, `the child shows ${record.status}`);
  return 'done';
}

async function deleteRefused<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
  childId: string,
  error: CloudError,
): Promise<Progress> {
  const record = await look(of, context, row, childId);
  if (record === undefined) {
    await context.db.transaction((tx) => of.finish(tx, row.id));
    return 'done';
  }
  if (record.status === 'deleting') {
    await of.store.update(context.db.query, row.id, { delete_sent: true } as unknown as Partial<R>, { revise: false });
    return { again_ms: patience_ms(row) };
  }
  if (of.retriesDelete(row, record.status)) return { again_ms: patience_ms(row) };
  context.log.warn({ kind: of.kind, id: row.id, err: error }, 'a child refused a delete');
  await endTask(of, context, row, record, error.tenantMessage);
  return 'done';
}

/** Name, description, metadata and flags. Twice: the second writes the same. */
async function bring<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
): Promise<Progress> {
  if (row.child_id === null || row.brought >= row.revision) return 'done';
  const path = `/${of.collection}/${row.child_id}`;
  try {
    const named = { name: row.name, description: row.description ?? '' };
    await call(context, row, { method: 'PUT', path, body: { [of.kind]: named } });
    const metadata = { ...row.metadata, [MARK]: row.id };
    await call(context, row, { method: 'PUT', path: `${path}/metadata`, body: { metadata } });
    await of.bringMore?.(context, row);
  } catch (error) {
    if (!isFinal(error)) throw error;
    context.log.warn({ kind: of.kind, id: row.id, err: error }, 'a child refused a change');
    await of.store.update(context.db.query, row.id, { fault: error.tenantMessage } as Partial<R>, { revise: false });
  }
  const table = sql.table(of.store.resource.table);
  await sql`update ${table} set brought = greatest(brought, ${row.revision}), acted_at = clock_timestamp()
    where id = ${row.id}`.execute(context.db.query);
  return more(of, context, row.id);
}

/** A task of the kind's own. Twice: as the kind says; what the child refuses ends the task. */
async function perform<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
): Promise<Progress> {
  let fault: string | undefined;
  try {
    const isKnown = row.child_id !== null && (await of.perform?.(context, row));
    if (isKnown !== true) fault = 'nothing is known of such a task';
  } catch (error) {
    if (!isFinal(error)) throw error;
    context.log.warn({ kind: of.kind, id: row.id, task: row.task, err: error }, 'a child refused an action');
    fault = error.tenantMessage;
  }
  const record = row.child_id === null ? undefined : await look(of, context, row, row.child_id);
  if (record !== undefined) await endTask(of, context, row, record, fault);
  else await context.db.transaction((tx) => of.finish(tx, row.id));
  return more(of, context, row.id);
}

/** The task is over; from here the row follows the child. */
async function endTask<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
  record: C,
  fault: string | undefined,
): Promise<void> {
  await context.db.transaction(async (tx) => {
    const now = await of.store.lock(tx, row.id);
    if (now?.task !== row.task) return;
    await markActed(tx, of.store.resource.table, row.id);
    const ended = { task: '', ...(fault === undefined ? {} : { fault }) };
    const after = await of.store.update(tx, row.id, ended as Partial<R>, { revise: false });
    if (after !== undefined) await of.apply(tx, after, record);
  });
}

/** The child will not make it: the object shows `error`, as Cinder's does where no backend takes it. */
async function refused<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
  error: unknown,
): Promise<'refused'> {
  if (!isFinal(error)) throw error;
  context.log.warn({ kind: of.kind, id: row.id, err: error }, 'a child refused to make it');
  const table = sql.table(of.store.resource.table);
  // Nothing was made: where its end was asked for meanwhile, that is done with a look at the row alone.
  await sql`update ${table} set create_sent_at = null, brought = revision,
      task = case when task = 'create' then '' else task end,
      status = case when task = 'create' then 'error' else status end,
      updated_at = clock_timestamp(), acted_at = clock_timestamp(),
      body = body || ${JSON.stringify({ fault: error.tenantMessage })}::jsonb
    where id = ${row.id}`.execute(context.db.query);
  return 'refused';
}

/** What the child shows of it now, undefined where it is gone. */
export async function look<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  row: R,
  childId: string,
): Promise<C | undefined> {
  const answer = await call<Record<string, C>>(context, row, {
    method: 'GET',
    path: `/${of.collection}/${childId}`,
    accept: [404],
  });
  return answer.status === 404 ? undefined : answer.body[of.kind];
}

/** Whether a create that was sent and is not to be seen may count as never carried out, so that the row can go. */
async function isSettled<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  id: string,
) {
  const result = await sql<{ settled: boolean }>`
    select create_sent_at is null or create_sent_at < clock_timestamp() - ${SETTLE_REMOVAL_MS} * interval '1 millisecond' as settled
    from ${sql.table(of.store.resource.table)} where id = ${id}`.execute(context.db.query);
  return result.rows[0]?.settled ?? true;
}

async function more<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  context: ChildContext,
  id: string,
): Promise<Progress> {
  const row = await of.store.find(context.db.query, id);
  return row !== undefined && (row.task !== '' || row.brought < row.revision) ? { again_ms: 0 } : 'done';
}

/** Looks often at first, and seldom at what takes long. */
function patience_ms(row: HostedRow): number {
  const age_ms = Date.now() - Date.parse(row.acted_at);
  return Math.min(Math.max(age_ms / 4, POLL_LEAST_MS), POLL_MOST_MS);
}
