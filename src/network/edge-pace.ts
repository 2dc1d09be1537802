/** Feeds are woken whenever anything is done in a child; those that read much need not follow each time. */
import type { ChildContext, Feed } from '../cascade/contract.ts';

interface Pace {
  /** The least time between two rounds, when nothing is awaited and when something is. */
  readonly idle_ms: number;
  readonly busy_ms: number;
  readonly busy: (child: string) => Promise<boolean>;
}

/** A feed's round that does nothing where the last one is not long enough ago. It keeps no cursor. */
export function paced(pace: Pace, work: (context: ChildContext) => Promise<void>): Feed['round'] {
  const last = new Map<string, number>();
  return async (context, cursor) => {
    const since_ms = performance.now() - (last.get(context.child) ?? Number.NEGATIVE_INFINITY);
    // A little less: the timer that calls may be early.
    const isDue = since_ms >= pace.idle_ms * 0.9 || (since_ms >= pace.busy_ms && (await pace.busy(context.child)));
    if (!isDue) return cursor;
    await work(context);
    last.set(context.child, performance.now());
    return cursor;
  };
}
