/**
 * What a child shows of its volumes and snapshots, into the rows. Three looks, from often to seldom: what changed since
 * the cursor (newest first), what is under way and did not change for a while, and which of ours are no longer there.
 */
import { sql } from 'kysely';
import { applyEach } from '../cascade/apply-each.ts';
import { believable } from '../cascade/vanished.ts';
import type { ChildContext, Feed } from '../cascade/contract.ts';
import type { HostedRow } from './hosted.ts';
import { type ChildRecord, look, type ProxyKind } from './proxy.ts';

const PAGE = 200;
const AUDIT_EVERY_MS = 120_000;
const STALE_AFTER_MS = 3000;
const STALE_AT_ONCE = 20;

interface Cursor {
  /** The latest change applied, by the child's clock. */
  readonly since?: string;
  /** When the last audit ended, by this process's clock: a pace, compared with nothing of the child's. */
  readonly audited_ms?: number;
}

/**
 * @param busy a condition on the row beyond its statuses under way
 */
export function hostedFeed<R extends HostedRow, C extends ChildRecord>(
  of: ProxyKind<R, C>,
  resting: readonly string[],
): Feed {
  const table = sql.table(of.store.resource.table);
  const underway = sql<boolean>`status not in (${sql.join(resting.map((status) => sql.lit(status)))})`;

  /** Applies a record to its row, unless the parent acted on it after the child was asked. */
  async function apply(context: ChildContext, row: R, record: C, asked: string): Promise<boolean> {
    if (row.task !== '') return true;
    return context.db.transaction(async (tx) => {
      const fresh = await sql<{ fresh: boolean }>`
        select acted_at < ${asked}::timestamptz as fresh from ${table} where id = ${row.id} and task = '' for update`.execute(
        tx,
      );
      if (fresh.rows[0] === undefined) return true;
      if (!fresh.rows[0].fresh) return false;
      const now = await of.store.find(tx, row.id);
      if (now !== undefined) await of.apply(tx, now, record);
      return true;
    });
  }

  async function changes(context: ChildContext, since: string | undefined): Promise<string | undefined> {
    const asked = await clock(context);
    let latest = since;
    let isComplete = true;
    const pages = context.api.pages<C>(
      {
        service: 'volume',
        method: 'GET',
        path: `/${of.collection}/detail`,
        query: { all_tenants: '1', sort: 'updated_at:desc', limit: PAGE },
      },
      of.collection,
    );
    for await (const page of pages) {
      const rows = await of.store.select(context.db.query, [
        sql<boolean>`child = ${context.child} and child_id = any(${page.map(({ id }) => String(id))})`,
      ]);
      const known = new Map(rows.map((row) => [row.child_id, row]));
      await applyEach(
        page,
        context.log,
        ({ id }) => id,
        async (record) => {
          const row = known.get(record.id);
          if (row !== undefined && !(await apply(context, row, record, asked))) isComplete = false;
        },
      );
      for (const record of page) {
        const changed = record.updated_at ?? record.created_at;
        if (typeof changed === 'string' && (latest === undefined || changed > latest)) latest = changed;
      }
      const isPast =
        since !== undefined && page.some(({ updated_at }) => typeof updated_at === 'string' && updated_at < since);
      if (isPast) break;
    }
    // What was passed over is read again: the cursor waits for it.
    return isComplete ? latest : since;
  }

  /** Rows that something is under way for and that no change was seen of: each is asked for. */
  async function stale(context: ChildContext): Promise<void> {
    const due = await sql<{ id: string }>`
      update ${table} set checked_at = clock_timestamp() where id in (
        select id from ${table} where child = ${context.child} and ${underway} and task = '' and child_id is not null
          and checked_at < clock_timestamp() - ${STALE_AFTER_MS} * interval '1 millisecond'
        order by checked_at limit ${STALE_AT_ONCE})
      returning id`.execute(context.db.query);
    await again(
      context,
      due.rows.map(({ id }) => id),
    );
  }

  /** Asks for each by its id; one that is gone ends here too. */
  async function again(context: ChildContext, ids: readonly string[]): Promise<void> {
    await applyEach(
      await of.store.findMany(context.db.query, ids),
      context.log,
      ({ id }) => id,
      async (row) => {
        if (row.child_id === null) return;
        const asked = await clock(context);
        const record = await look(of, context, row, row.child_id);
        if (record !== undefined) {
          await apply(context, row, record, asked);
          return;
        }
        if (row.task !== '') return;
        context.log.warn(
          { drift: 'vanished', kind: of.kind, id: row.id },
          'it was deleted in the child behind our back',
        );
        await context.db.transaction((tx) => of.finish(tx, row.id));
      },
    );
  }

  async function audit(context: ChildContext): Promise<void> {
    const asked = await clock(context);
    const seen: string[] = [];
    const pages = context.api.pages<{ id: string }>(
      { service: 'volume', method: 'GET', path: `/${of.collection}`, query: { all_tenants: '1' } },
      of.collection,
    );
    for await (const page of pages) for (const { id } of page) seen.push(String(id));
    const missing = await sql<{ id: string }>`select id from ${table}
      where child = ${context.child} and child_id is not null and task = '' and acted_at < ${asked}::timestamptz
        and not child_id = any(${seen})`.execute(context.db.query);
    const { child, log } = context;
    const known = missing.rows.length + seen.length;
    if (!believable(missing.rows.length, known, { child, kind: of.kind, log })) return;
    await again(
      context,
      missing.rows.map(({ id }) => id),
    );
  }

  return {
    name: of.collection,
    idle_ms: 2000,
    busy_ms: 300,
    async busy(query, child) {
      const result = await sql<{ busy: boolean }>`
        select exists (select 1 from ${table} where child = ${child} and ${underway}) as busy`.execute(query);
      return result.rows[0]?.busy === true;
    },
    /** Twice from the same cursor: the same rows. */
    async round(context, text) {
      if (!(await context.api.offers('volume'))) return text;
      const cursor: Cursor = text === undefined ? {} : (JSON.parse(text) as Cursor);
      const since = await changes(context, cursor.since);
      await stale(context);
      let audited_ms = cursor.audited_ms ?? 0;
      if (Date.now() - audited_ms > AUDIT_EVERY_MS) {
        await audit(context);
        audited_ms = Date.now();
      }
      return JSON.stringify({ ...(since === undefined ? {} : { since }), audited_ms });
    },
  };
}

/** The database's clock: rows say by it when the parent last acted. */
async function clock({ db }: ChildContext): Promise<string> {
  const result = await sql<{ now: string }>`select clock_timestamp()::text as now`.execute(db.query);
  return result.rows[0]?.now ?? '';
}
