/**
 * What remains to be done can always be read off the rows: the sweep reads it, and puts back into the queue whatever
 * is not there. It runs when a process begins to lead a child and every few minutes; in between, the queue suffices.
 */
import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import type { HostedKind, ReplicaKind } from './contract.ts';
import { rebuild } from './work.ts';
import './tables.ts';

/** Rebuilds one child's lane. */
export async function sweep(
  db: Db,
  child: string,
  replicated: Iterable<Pick<ReplicaKind, 'kind' | 'table'>>,
  hosted: Iterable<HostedKind>,
): Promise<void> {
  for (const kind of hosted) await rebuild(db.query, child, kind.kind, await kind.pending(db.query, child));
  for (const kind of replicated) {
    const table = sql.table(kind.table);
    // Its row is gone but nobody said so here: a process died between the two.
    await sql`update replicas r set retiring = true
      where r.child = ${child} and r.kind = ${kind.kind} and not r.retiring
        and not exists (select 1 from ${table} t where t.id = r.resource_id)`.execute(db.query);
    const stale = await sql<{ resource_id: string }>`
      select r.resource_id from replicas r left join ${table} t on t.id = r.resource_id
      where r.child = ${child} and r.kind = ${kind.kind}
        and (r.retiring or r.child_id is null or (t.revision > r.revision and r.error is null))`.execute(db.query);
    await rebuild(
      db.query,
      child,
      kind.kind,
      stale.rows.map((row) => row.resource_id),
    );
  }
}

/** Gives back what processes that are gone had claimed; a process holds its own lock for as long as it lives. */
export async function releaseDead(db: Db, self: string): Promise<void> {
  const claims = await sql<{ claimed_by: string }>`
    select distinct claimed_by from (
      select claimed_by from work where claimed_by is not null
      union all select claimed_by from replicas where claimed_by is not null
    ) as claims where claimed_by <> ${self}`.execute(db.query);
  for (const { claimed_by } of claims.rows) {
    const lock = await db.tryLock(processLock(claimed_by));
    if (lock === undefined) continue;
    await sql`update work set claimed_by = null, due_at = clock_timestamp() where claimed_by = ${claimed_by}`.execute(
      db.query,
    );
    await sql`update replicas set claimed_by = null where claimed_by = ${claimed_by}`.execute(db.query);
    await lock.release();
  }
}

/** Name of the lock that a living process holds. */
export const processLock = (process: string): string => `process:${process}`;
