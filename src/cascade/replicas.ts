/**
 * Replicas: copies of what the parent owns, in the children that need them. One function brings a replica from
 * whatever state a crash may have left it in to the parent's revision, or away.
 *
 * Killed at any line: the row in `replicas` was there before anything was sent to the child (`sent_at`), so that the
 * next call looks for the copy by its mark before it makes one. Where the child would take a second copy (kinds that
 * are not `unique`), it also waits until a create that may still be under way there has had time to show.
 */
import { sql } from 'kysely';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Db, json, type Queryable } from '../db/database.ts';
import type { ChildContext, Found, Replica, ReplicaKind } from './contract.ts';
import { Later } from './later.ts';
import { dropped, isInUse, noLongerUsed, useOf } from './uses.ts';
import { want } from './work.ts';
import './tables.ts';

/** How long a create whose answer was lost may still take effect in the child. */
export const SETTLE_MS = 15_000;
/**
 * The same before a copy that is to go counts as never made: nobody waits for that, and a child under load was seen to
 * carry a create out 100 seconds after it was sent.
 */
export const SETTLE_REMOVAL_MS = 300_000;
const CLAIM_POLL_MS = 50;
const GOING_AGAIN_MS = 500;
/** It is due at once when who uses it is done; this is for when that is never said. */
const IN_USE_AGAIN_MS = 3000;
const CLAIM_PATIENCE_MS = 120_000;

type Kind = ReplicaKind<{ revision: number }>;
type Stored = Replica & {
  readonly retiring: boolean;
  readonly error: string | null;
  readonly settled: boolean;
  readonly neverMade: boolean;
  readonly uses: readonly string[];
};
export type Present = Replica & { readonly child_id: string };

type Brought = Present & Pick<Stored, 'uses'>;
type Unmade = Omit<Stored, 'retiring' | 'error' | 'neverMade'>;

/** A copy on its way: with what it was found to use of others in the child. */
interface Bringing {
  readonly context: ChildContext;
  readonly kind: Kind;
  readonly row: { readonly revision: number };
  readonly uses: ReadonlySet<string>;
}

export interface Replicas {
  /** Brings a replica to the parent's current revision. Throws what the child said where that cannot be. */
  ensure(context: ChildContext, kind: string, id: string): Promise<Present>;
  /** Forgets a replica that does not serve any more; false where it still does. See `ChildContext.recheck`. */
  recheck(context: ChildContext, kind: string, id: string): Promise<boolean>;
  /** Does what remains for one replica, whether bringing or removing. */
  advance(context: ChildContext, kind: string, id: string): Promise<void>;
  has(kind: string): boolean;
}

/**
 * @param process name of this process, for claims: one process is at a replica at a time
 */
export function createReplicas(db: Db, kinds: ReadonlyMap<string, Kind>, process: string): Replicas {
  // Callers of the same process share one way there: ten boots of one flavor make it once.
  const underway = new Map<string, Promise<Present | undefined>>();

  const kindOf = (kind: string): Kind => {
    const found = kinds.get(kind);
    if (found === undefined) throw new Error(`no replicated kind is registered as ${kind}`);
    return found;
  };

  const keyOf = (context: ChildContext, kind: string, id: string): string => `${context.child}/${kind}/${id}`;

  /** @param isNew whether a copy may be made that nobody said is wanted here: something needs it now */
  async function shared(context: ChildContext, kind: string, id: string, isNew: boolean): Promise<Present | undefined> {
    const key = keyOf(context, kind, id);
    const running = underway.get(key);
    if (running !== undefined) return running;
    const started = claimed(context, kindOf(kind), id, isNew).finally(() => underway.delete(key));
    underway.set(key, started);
    return started;
  }

  /**
   * As `shared`, but from the rows as they are now: what is under way may have read them before the intent that this
   * call acts for was written, and that intent would be lost with it.
   */
  async function anew(context: ChildContext, kind: string, id: string): Promise<Present | undefined> {
    const key = keyOf(context, kind, id);
    for (let running = underway.get(key); running !== undefined; running = underway.get(key)) {
      await running.catch(() => undefined);
    }
    // A copy that was let go of here stays away, whatever intent from before comes in behind.
    return shared(context, kind, id, false);
  }

  async function claimed(context: ChildContext, kind: Kind, id: string, isNew: boolean): Promise<Present | undefined> {
    const patience = Date.now() + CLAIM_PATIENCE_MS;
    let taken: Taken | undefined;
    for (;;) {
      taken = await take(context.child, kind.kind, id, isNew);
      if (taken !== undefined) break;
      if (!isNew && (await read(db.query, kind.kind, id, context.child)) === undefined) return undefined;
      if (Date.now() > patience) throw new Later(1000, 'another process is at this replica');
      await sleep(CLAIM_POLL_MS);
    }
    try {
      const present = await bringThere(context, kind, id);
      if (present !== undefined && taken.is_first && (await isBehind(kind, present))) {
        await want(db.query, context.child, kind.kind, id);
      }
      return present;
    } finally {
      await db.query
        .updateTable('replicas')
        .set({ claimed_by: null })
        .where('kind', '=', kind.kind)
        .where('resource_id', '=', id)
        .where('child', '=', context.child)
        .where('claimed_by', '=', process)
        .execute();
    }
  }

  /**
   * Whether the parent's object changed or went while its copy was being made: who did that may have found no replica
   * yet to tell of it. Waits for whoever is at it now.
   */
  async function isBehind(kind: Kind, { resource_id, revision }: Present): Promise<boolean> {
    const result = await sql<{ revision: number }>`select revision from ${sql.table(kind.table)}
      where id = ${resource_id} for share`.execute(db.query);
    return result.rows[0]?.revision !== revision;
  }

  interface Taken {
    /** Whether nothing was ever brought. */
    readonly is_first: boolean;
  }

  /** Claims a replica for this process; undefined where another one is at it, or, unless it may be new, where there is none. */
  async function take(child: string, kind: string, id: string, isNew: boolean): Promise<Taken | undefined> {
    const result = await (isNew
      ? sql<Taken>`
      insert into replicas (kind, resource_id, child, claimed_by) values (${kind}, ${id}, ${child}, ${process})
      on conflict (kind, resource_id, child) do update set claimed_by = excluded.claimed_by
        where replicas.claimed_by is null
      returning revision = 0 as is_first`
      : sql<Taken>`update replicas set claimed_by = ${process}
      where ${key({ kind, resource_id: id, child })} and claimed_by is null returning revision = 0 as is_first`
    ).execute(db.query);
    return result.rows[0];
  }

  async function bringThere(context: ChildContext, kind: Kind, id: string): Promise<Present | undefined> {
    const row = await kind.load(db.query, id);
    const replica = await read(db.query, kind.kind, id, context.child);
    if (replica === undefined) return undefined;
    if (row === undefined || replica.retiring) {
      await takeAway(context, kind, row, replica);
      return undefined;
    }
    if (replica.child_id !== null && replica.revision === row.revision) return replica as Present;
    const uses = new Set<string>();
    const noting = context.noting((use) => void uses.add(useOf(use)));
    const bringing = { context: noting, kind, row, uses };
    await Promise.all((kind.needs?.(row) ?? []).map((need) => noting.ensure(need.kind, need.id)));
    const present = replica.child_id === null ? await makeOrFind(bringing, replica) : (replica as Brought);
    if (present.revision === row.revision) return present;
    try {
      return await brought(bringing, present);
    } catch (error) {
      const anew = await makeAnew(bringing, present, error);
      return anew.revision === row.revision ? anew : brought(bringing, anew);
    }
  }

  async function brought(bringing: Bringing, present: Brought): Promise<Brought> {
    const { context, kind, row } = bringing;
    const detail = await kind.bring?.(context, row, present);
    return store(bringing, present, { revision: row.revision, ...(detail ? { detail } : {}) });
  }

  /**
   * A copy that was taken away behind the parent's back is made again.
   * @throws what bringing it threw, where it is still there or something else was the matter
   */
  async function makeAnew(bringing: Bringing, present: Brought, error: unknown): Promise<Brought> {
    const { context, kind, row } = bringing;
    if ((error as { status?: unknown }).status !== 404) throw error;
    const there = await kind.find(context, present.resource_id, row);
    if (there?.child_id === present.child_id) throw error;
    await patch(present, { child_id: null, revision: 0, sent_at: null });
    return makeOrFind(bringing, { ...present, child_id: null, revision: 0, settled: true });
  }

  /** One that does not is forgotten, unless it was exchanged meanwhile: the next `ensure` looks for another. */
  async function stillServes(context: ChildContext, kind: Kind, present: Present): Promise<boolean> {
    if (kind.serves === undefined) return true;
    const row = await kind.load(db.query, present.resource_id);
    if (row === undefined || (await kind.serves(context, row, present))) return true;
    await sql`update replicas set child_id = null, revision = 0, sent_at = null
      where ${key(present)} and child_id = ${present.child_id}`.execute(db.query);
    return false;
  }

  async function makeOrFind(bringing: Bringing, replica: Unmade): Promise<Brought> {
    const { context, kind, row } = bringing;
    const { resource_id: id } = replica;
    const there = await kind.find(context, id, row);
    if (there !== undefined) return adopt(bringing, replica, there, there.current === true);
    if (!kind.unique && !replica.settled) throw new Later(1000, 'a create of unknown outcome may still take effect');
    await patch(replica, { sent_at: sql`clock_timestamp()` });
    try {
      const made = await kind.make(context, row);
      return await adopt(bringing, replica, made, made.current !== false);
    } catch (error) {
      const { status, uncertain } = error as { status?: unknown; uncertain?: unknown };
      if (status === 409) {
        const found = await kind.find(context, id, row);
        if (found !== undefined) return adopt(bringing, replica, found, found.current === true);
      }
      // A clear refusal made nothing, nor did what was lacking before it was sent; only silence leaves the question open.
      const isClear = error instanceof Gone || error instanceof Later || typeof status === 'number';
      if (isClear && uncertain !== true) await patch(replica, { sent_at: null });
      // The child may still be at it: the time to settle begins when we stopped listening.
      else await patch(replica, { sent_at: sql`clock_timestamp()` });
      throw error;
    }
  }

  async function takeAway(context: ChildContext, kind: Kind, row: { revision: number } | undefined, replica: Stored) {
    const child_id = replica.child_id ?? (await kind.find(context, replica.resource_id, row))?.child_id;
    if (child_id !== undefined) await kind.remove(context, { ...replica, child_id });
    else if (!kind.unique && !replica.neverMade)
      throw new Later(2000, 'a create of unknown outcome may still take effect');
    // One that is wanted again by now stays, and is made anew: who wanted it put it in the queue.
    const isGoing = row === undefined ? sql`true` : sql`retiring`;
    const gone = await sql`delete from replicas where ${key(replica)} and ${isGoing} returning 1`.execute(db.query);
    if (gone.rows.length === 0) await patch(replica, { child_id: null, revision: 0, sent_at: null, uses: [] });
    await noLongerUsed(db.query, replica.child, replica.uses);
  }

  /** @param isCurrent whether it is at the parent's revision already */
  async function adopt(bringing: Bringing, replica: Unmade, found: Found, isCurrent: boolean): Promise<Brought> {
    return store(
      bringing,
      { ...replica, child_id: found.child_id },
      { revision: isCurrent ? bringing.row.revision : 0, ...(found.detail ? { detail: found.detail } : {}) },
    );
  }

  async function store(
    { uses }: Bringing,
    replica: Brought,
    change: { revision: number; detail?: Readonly<Record<string, unknown>> },
  ): Promise<Brought> {
    await patch(replica, {
      child_id: replica.child_id,
      revision: change.revision,
      sent_at: null,
      error: null,
      uses: [...uses],
      ...(change.detail === undefined ? {} : { detail: json(change.detail) }),
    });
    await noLongerUsed(db.query, replica.child, dropped(replica, uses));
    return { ...replica, ...change, uses: [...uses] };
  }

  async function patch(replica: Replica, change: Record<string, unknown>): Promise<void> {
    const sets = Object.entries(change).map(([name, value]) => sql`${sql.ref(name)} = ${value}`);
    await sql`update replicas set ${sql.join(sets)} where ${key(replica)}`.execute(db.query);
  }

  return {
    has: (kind) => kinds.has(kind),
    async ensure(context, kind, id) {
      const present = await current(db.query, kindOf(kind), id, context.child);
      if (present !== undefined && (await stillServes(context, kindOf(kind), present))) return present;
      const wanted = await kindOf(kind).load(db.query, id);
      let made = await shared(context, kind, id, true);
      // Who was at it already may have begun before the change that the caller counts on.
      if (made !== undefined && wanted !== undefined && made.revision < wanted.revision) {
        made = await anew(context, kind, id);
      }
      if (made !== undefined) return made;
      if ((await kindOf(kind).load(db.query, id)) === undefined) throw new Gone(kind, id);
      throw new Later(GOING_AGAIN_MS, 'a copy is on its way out of the child, and needed there again');
    },
    async recheck(context, kind, id) {
      const present = await current(db.query, kindOf(kind), id, context.child);
      return present === undefined || !(await stillServes(context, kindOf(kind), present));
    },
    async advance(context, kind, id) {
      if (await isInUse(db.query, { kind, id }, context.child)) {
        throw new Later(IN_USE_AGAIN_MS, 'what uses it in the child is still there');
      }
      try {
        await anew(context, kind, id);
      } catch (error) {
        const { failure, transient, tenantMessage } = error as {
          failure?: string;
          transient?: boolean;
          tenantMessage?: string;
        };
        const final = failure === 'refused' && transient === false && tenantMessage !== undefined;
        const replica = await read(db.query, kind, id, context.child);
        // A removal is never given up: what is still in use now may be free later.
        if (!final || replica === undefined || replica.retiring) throw error;
        await patch(replica, { error: tenantMessage.slice(0, 1000) });
        await kindOf(kind).failed?.(context, id, tenantMessage);
        context.log.warn({ kind, id, err: error }, 'a child refused a replica');
      }
    },
  };
}

/** The parent's object is going or gone; there is nothing to bring to the child. */
export class Gone extends Error {
  constructor(
    readonly kind: string,
    readonly id: string,
  ) {
    super(`${kind} ${id} is gone`);
    this.name = 'Gone';
  }
}

/** The hot path: a replica that is there and current costs two reads and no call. */
async function current(query: Queryable, kind: Kind, id: string, child: string): Promise<Present | undefined> {
  const [row, replica] = await Promise.all([kind.load(query, id), read(query, kind.kind, id, child)]);
  if (row === undefined) throw new Gone(kind.kind, id);
  if (replica === undefined || replica.child_id === null || replica.retiring) return undefined;
  return replica.revision === row.revision ? (replica as Present) : undefined;
}

async function read(query: Queryable, kind: string, id: string, child: string): Promise<Stored | undefined> {
  const result = await sql<Stored>`
    select kind, resource_id, child, child_id, revision, detail, uses, retiring, error,
           sent_at is null or sent_at < clock_timestamp() - ${SETTLE_MS} * interval '1 millisecond' as settled,
           sent_at is null or sent_at < clock_timestamp() - ${SETTLE_REMOVAL_MS} * interval '1 millisecond' as "neverMade"
    from replicas where kind = ${kind} and resource_id = ${id} and child = ${child}`.execute(query);
  return result.rows[0];
}

function key(replica: Pick<Replica, 'kind' | 'resource_id' | 'child'>) {
  return sql<boolean>`kind = ${replica.kind} and resource_id = ${replica.resource_id} and child = ${replica.child}`;
}
