/**
 * Reading the children: each child's feeds run in one process at a time (whoever holds the child's lock), each at its
 * own pace, quicker while something is under way there. A cursor is stored only after its changes were applied.
 */
import { sql } from 'kysely';
import type { Logger } from 'pino';
import type { Db, Lock } from '../db/database.ts';
import type { CloudApi } from '../openstack/contract.ts';
import type { ChildContext, Feed } from './contract.ts';
import './tables.ts';

export interface SyncOptions {
  readonly db: Db;
  readonly log: Logger;
  readonly child: string;
  readonly api: CloudApi;
  readonly feeds: readonly Feed[];
  readonly context: () => ChildContext;
  /** Called when this process becomes the one that reads the child: whatever was forgotten is put in the queue again. */
  readonly leading: () => Promise<void>;
}

export interface Sync {
  /** Something will change in the child soon. */
  expect(): void;
  stop(): Promise<void>;
}

const LEADER_POLL_MS = 2000;
const EXPECT_MS = 5000;
/** A round may take at most this share of the time: a slow child is asked less often. */
const DUTY = 0.5;

/** Starts reading a child. */
export function startSync(options: SyncOptions): Sync {
  const { db, log, child, api } = options;
  const stopping = new AbortController();
  const sleepers = new Set<() => void>();
  let expectedUntil = 0;

  function pause(limit_ms: number): Promise<void> {
    if (stopping.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        sleepers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, limit_ms);
      sleepers.add(done);
    });
  }

  async function lead(): Promise<void> {
    while (!stopping.signal.aborted) {
      const lock = await db.tryLock(`sync:${child}`).catch(() => undefined);
      if (lock === undefined) {
        await pause(LEADER_POLL_MS);
        continue;
      }
      const leading = options.leading().catch((error: unknown) => log.error({ err: error, child }, 'the sweep failed'));
      await Promise.all([leading, ...options.feeds.map((feed) => follow(feed, lock))]);
      await lock.release().catch(() => undefined);
    }
  }

  async function follow(feed: Feed, lock: Lock): Promise<void> {
    while (!stopping.signal.aborted && !lock.lost.aborted) {
      const started = Date.now();
      let wait_ms = feed.idle_ms;
      if (api.breaker !== 'open') {
        try {
          await round(feed);
          const busy = Date.now() < expectedUntil || (await feed.busy(db.query, child));
          wait_ms = busy ? feed.busy_ms : feed.idle_ms;
        } catch (error) {
          log.warn({ err: error, child, feed: feed.name }, 'a round of reading a child failed');
        }
      }
      const took_ms = Date.now() - started;
      await pause(Math.max(wait_ms, took_ms * (1 / DUTY - 1)));
    }
  }

  async function round(feed: Feed): Promise<void> {
    const stored = await db.query
      .selectFrom('cursors')
      .select('cursor')
      .where('child', '=', child)
      .where('feed', '=', feed.name)
      .executeTakeFirst();
    const before = stored?.cursor ?? undefined;
    const after = await feed.round(options.context(), before);
    if (after === before) return;
    await sql`insert into cursors (child, feed, cursor) values (${child}, ${feed.name}, ${after ?? null})
      on conflict (child, feed) do update set cursor = excluded.cursor`.execute(db.query);
  }

  const ended = lead();
  return {
    expect() {
      expectedUntil = Date.now() + EXPECT_MS;
      for (const wake of sleepers) wake();
    },
    async stop() {
      stopping.abort();
      for (const wake of sleepers) wake();
      await ended;
    },
  };
}
