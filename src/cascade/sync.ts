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
  /** Something changed, or will change in the child soon: feeds look whether that concerns them. */
  expect(): void;
  stop(): Promise<void>;
}

const LEADER_POLL_MS = 2000;
/** Many changes at once are one reason to look. */
const EXPECT_TOGETHER_MS = 10;
/** A round may take at most this share of the time: a slow child is asked less often. */
const DUTY = 0.25;

/** Starts reading a child. */
export function startSync(options: SyncOptions): Sync {
  const { db, log, child, api } = options;
  const stopping = new AbortController();
  const sleepers = new Set<() => void>();
  let expecting: NodeJS.Timeout | undefined;

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
    const ended = (): boolean => stopping.signal.aborted || lock.lost.aborted;
    while (!ended()) {
      const started = Date.now();
      if (api.breaker !== 'open') {
        await round(feed).catch((error: unknown) =>
          log.warn({ err: error, child, feed: feed.name }, 'a round of reading a child failed'),
        );
      }
      const rest_ms = (Date.now() - started) * (1 / DUTY - 1);
      const since = Date.now();
      // Woken early, it looks whether there is now something to be quick for, and else sleeps on.
      for (;;) {
        const pace_ms = (await isBusy(feed)) ? feed.busy_ms : feed.idle_ms;
        const wait_ms = since + Math.max(pace_ms, rest_ms) - Date.now();
        if (wait_ms <= 0 || ended()) break;
        await pause(wait_ms);
      }
    }
  }

  async function isBusy(feed: Feed): Promise<boolean> {
    if (feed.busy_ms >= feed.idle_ms) return false;
    return feed.busy(db.query, child).catch((error: unknown) => {
      log.warn({ err: error, child, feed: feed.name }, 'a feed could not tell whether it is busy');
      return false;
    });
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
      expecting ??= setTimeout(() => {
        expecting = undefined;
        for (const wake of sleepers) wake();
      }, EXPECT_TOGETHER_MS);
    },
    async stop() {
      stopping.abort();
      clearTimeout(expecting);
      for (const wake of sleepers) wake();
      await ended;
    },
  };
}
