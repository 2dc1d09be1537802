/** Bounds how many calls run at once; the rest wait in line, and the line is bounded too. */

export interface Limiter {
  /** Takes a place, at once or in turn. Gives undefined when there is no need to wait. Throws when the line is full. */
  acquire(): Promise<void> | undefined;
  /** Gives a place back, to the first in line. */
  release(): void;
  /** Turns away all who wait, with the error given. */
  turnAway(error: () => Error): void;
  readonly waiting: number;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Makes a limiter with `places` places and a line of at most `line` waiters; `full` makes the error beyond it. */
export function createLimiter(places: number, line: number, full: () => Error): Limiter {
  let free = places;
  let waiters: Waiter[] = [];
  // Taking from the front by index: shift() on a line of thousands moves them all.
  let first = 0;

  return {
    acquire() {
      if (free > 0) {
        free -= 1;
        return undefined;
      }
      if (waiters.length - first >= line) throw full();
      return new Promise<void>((resolve, reject) => {
        waiters.push({ resolve, reject });
      });
    },
    release() {
      const next = waiters[first];
      if (next === undefined) {
        free += 1;
        return;
      }
      first += 1;
      if (first === waiters.length || first > 1_024) {
        waiters = waiters.slice(first);
        first = 0;
      }
      next.resolve();
    },
    turnAway(error) {
      const turned = waiters.slice(first);
      waiters = [];
      first = 0;
      for (const waiter of turned) waiter.reject(error());
    },
    get waiting() {
      return waiters.length - first;
    },
  };
}
