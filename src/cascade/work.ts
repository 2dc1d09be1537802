/**
 * The queue of things that want attention, one lane a child, one row an object: intents coalesce, and an intent that
 * comes in while its object is being worked on is not lost (`generation`). Losing all of it loses nothing: every row
 * can be made again from the resources (sweep.ts).
 */
import { type RawBuilder, sql } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';
import './tables.ts';

export interface WorkItem {
  readonly lane: string;
  readonly kind: string;
  readonly resource_id: string;
  readonly generation: number;
  readonly attempts: number;
  readonly request_id: string | null;
}

const ON_CONFLICT = sql`on conflict (lane, kind, resource_id) do update
  set generation = work.generation + 1, attempts = 0,
      request_id = coalesce(excluded.request_id, work.request_id), due_at = least(work.due_at, excluded.due_at)`;

/** Adds work, in the caller's transaction. `source` selects (lane, kind, resource_id). */
async function enqueue(tx: Queryable, source: RawBuilder<unknown>): Promise<void> {
  await sql`insert into work (lane, kind, resource_id, request_id, due_at) ${source} ${ON_CONFLICT}`.execute(tx);
}

interface WantOptions {
  readonly requestId?: string | undefined;
  readonly delay_ms?: number;
}

const dueIn = (delay_ms = 0) => sql`clock_timestamp() + ${delay_ms} * interval '1 millisecond'`;

/** One object in one lane, `delay_ms` from now. */
export function want(
  tx: Queryable,
  lane: string,
  kind: string,
  id: string,
  { requestId, delay_ms }: WantOptions = {},
): Promise<void> {
  return enqueue(tx, sql`values (${lane}, ${kind}, ${id}, ${requestId ?? null}, ${dueIn(delay_ms)})`);
}

/** Every child that has a replica of the resource, `delay_ms` from now. */
export function wantReplicas(
  tx: Queryable,
  kind: string,
  id: string,
  { requestId, delay_ms }: WantOptions = {},
): Promise<void> {
  return enqueue(
    tx,
    sql`select child, kind, resource_id, ${requestId ?? null}, ${dueIn(delay_ms)} from replicas
        where kind = ${kind} and resource_id = ${id} and not retiring`,
  );
}

/** Marks every replica of the resource, or the one in `child`, as going, and wants it gone. */
export function retireReplicas(
  tx: Tx,
  kind: string,
  id: string,
  { requestId, child }: { readonly requestId?: string; readonly child?: string } = {},
): Promise<void> {
  return sql`with going as (
      update replicas set retiring = true, error = null
      where kind = ${kind} and resource_id = ${id} ${child === undefined ? sql`` : sql`and child = ${child}`}
      returning child
    )
    insert into work (lane, kind, resource_id, request_id, due_at)
    select child, ${kind}, ${id}, ${requestId ?? null}, clock_timestamp() from going ${ON_CONFLICT}`
    .execute(tx)
    .then(() => undefined);
}

/** Adds what is not in the queue yet, as it is found to be missing by the sweep; what is there keeps its time. */
export async function rebuild(query: Queryable, lane: string, kind: string, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await sql`insert into work (lane, kind, resource_id)
    select ${lane}, ${kind}, id from unnest(${[...ids]}::text[]) as ids(id) on conflict do nothing`.execute(query);
}

/**
 * Takes up to `limit` due items for this process, oldest first. What is taken is never due, so that the time of an
 * intent that comes in meanwhile is that intent's own.
 */
export async function claim(query: Queryable, lane: string, process: string, limit: number): Promise<WorkItem[]> {
  const result = await sql<WorkItem>`
    update work set claimed_by = ${process}, attempts = work.attempts + 1, due_at = 'infinity'
    from (
      select lane, kind, resource_id from work
      where lane = ${lane} and claimed_by is null and due_at <= clock_timestamp()
      order by due_at limit ${limit} for update skip locked
    ) as due
    where work.lane = due.lane and work.kind = due.kind and work.resource_id = due.resource_id
    returning work.lane, work.kind, work.resource_id, work.generation, work.attempts, work.request_id`.execute(query);
  return result.rows;
}

/** The item is done: it goes, unless a new intent came in meanwhile: then it is due when that said. */
export async function complete(query: Queryable, item: WorkItem): Promise<void> {
  await sql`with gone as (
      delete from work where ${same(item)} and generation = ${item.generation} returning 1
    )
    update work set claimed_by = null where ${same(item)} and not exists (select 1 from gone)`.execute(query);
}

/** The item wants to be looked at again later; a new intent that came in meanwhile is due when that said. */
export async function postpone(
  query: Queryable,
  item: WorkItem,
  delay_ms: number,
  options: { readonly attempts: number },
): Promise<void> {
  await sql`update work set claimed_by = null, attempts = ${options.attempts},
      due_at = case when generation = ${item.generation}
                    then ${dueIn(delay_ms)} else due_at end
    where ${same(item)}`.execute(query);
}

/** A child is back: what waited for it is due now. */
export async function dueNow(query: Queryable, lane: string): Promise<void> {
  await sql`update work set due_at = clock_timestamp()
    where lane = ${lane} and claimed_by is null and due_at > clock_timestamp()`.execute(query);
}

/** How long until the next item of a lane is due, in milliseconds; undefined where there is none. */
export async function nextDue_ms(query: Queryable, lane: string): Promise<number | undefined> {
  const result = await sql<{ wait: number | null }>`
    select extract(epoch from min(due_at) - clock_timestamp()) * 1000 as wait
    from work where lane = ${lane} and claimed_by is null`.execute(query);
  const wait = result.rows[0]?.wait;
  return wait === null || wait === undefined ? undefined : Math.max(0, Number(wait));
}

/** How many items wait in a lane. */
export async function backlog(query: Queryable, lane: string): Promise<number> {
  const result = await sql<{ count: number }>`select count(*)::int as count from work where lane = ${lane}`.execute(
    query,
  );
  return result.rows[0]?.count ?? 0;
}

function same(item: WorkItem): RawBuilder<boolean> {
  return sql<boolean>`lane = ${item.lane} and kind = ${item.kind} and resource_id = ${item.resource_id}`;
}
