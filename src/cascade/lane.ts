/**
 * The workers of one child: claim due work, do it, at most so many at a time. A sick child fills its own lane and
 * nobody else's; while its breaker is open its lane rests.
 */
import type { Logger } from 'pino';
import type { Db } from '../db/database.ts';
import type { CloudApi } from '../openstack/contract.ts';
import type { ChildContext, Progress } from './contract.ts';
import { Later } from './later.ts';
import { claim, complete, nextDue_ms, postpone, type WorkItem } from './work.ts';

export interface LaneOptions {
  readonly db: Db;
  readonly log: Logger;
  readonly child: string;
  readonly api: CloudApi;
  readonly process: string;
  /** Pieces of work under way at once; the client below bounds the calls. */
  readonly concurrency: number;
  readonly context: (child: string, requestId?: string) => ChildContext;
  /** Does the next thing for one object. */
  readonly perform: (context: ChildContext, kind: string, id: string) => Promise<Progress>;
  /** After anything was done in the child: its state will change soon. */
  readonly performed: () => void;
}

export interface Lane {
  wake(): void;
  /** Waits for what is under way, at most `patience_ms`; what is cut off is found again by the next process. */
  stop(patience_ms: number): Promise<void>;
}

const IDLE_POLL_MS = 1000;
const BACKOFF_FIRST_MS = 250;
const BACKOFF_LIMIT_MS = 30_000;

/** Starts the workers of a child. */
export function startLane(options: LaneOptions): Lane {
  const { db, child, log } = options;
  const running = new Set<Promise<void>>();
  const stopping = new AbortController();
  let wakeUp: (() => void) | undefined;
  let woken = false;

  const wake = (): void => {
    woken = true;
    wakeUp?.();
  };

  async function pause(limit_ms: number): Promise<void> {
    if (woken || stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limit_ms);
      wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    wakeUp = undefined;
  }

  async function run(item: WorkItem): Promise<void> {
    const context = options.context(child, item.request_id ?? undefined);
    try {
      const progress = await options.perform(context, item.kind, item.resource_id);
      if (progress === 'done') await complete(db.query, item);
      else await postpone(db.query, item, progress.again_ms, { attempts: 0 });
    } catch (error) {
      await retryLater(item, error).catch((lost: unknown) =>
        log.error({ err: lost, child, kind: item.kind, id: item.resource_id }, 'work could not be put back'),
      );
    }
    options.performed();
  }

  async function retryLater(item: WorkItem, error: unknown): Promise<void> {
    if (error instanceof Later) return postpone(db.query, item, error.again_ms, { attempts: 0 });
    const { transient } = error as { transient?: unknown };
    const exponent = Math.min(item.attempts - 1, 10);
    const delay_ms = Math.min(BACKOFF_FIRST_MS * 2 ** exponent, BACKOFF_LIMIT_MS) * (0.75 + Math.random() / 2);
    const level = transient === true || item.attempts < 3 ? 'info' : 'warn';
    log[level](
      {
        err: error,
        child,
        kind: item.kind,
        id: item.resource_id,
        attempts: item.attempts,
        again_ms: Math.round(delay_ms),
      },
      'work will be tried again',
    );
    return postpone(db.query, item, delay_ms, { attempts: item.attempts });
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      woken = false;
      try {
        const free = options.concurrency - running.size;
        const resting = options.api.breaker === 'open';
        const items = free > 0 && !resting ? await claim(db.query, child, options.process, free) : [];
        for (const item of items) {
          const task = run(item).finally(() => {
            running.delete(task);
            wake();
          });
          running.add(task);
        }
        if (items.length === 0 || items.length === free) {
          const due = resting || free === 0 ? undefined : await nextDue_ms(db.query, child);
          await pause(Math.min(due ?? IDLE_POLL_MS, IDLE_POLL_MS) + 2);
        }
      } catch (error) {
        log.error({ err: error, child }, 'the work queue could not be read');
        await pause(IDLE_POLL_MS);
      }
    }
  }

  const ended = loop();
  return {
    wake,
    async stop(patience_ms) {
      stopping.abort();
      wake();
      await ended;
      let timer: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, patience_ms);
      });
      await Promise.race([Promise.allSettled(running), patience]);
      clearTimeout(timer);
    },
  };
}
