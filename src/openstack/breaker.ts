/** A circuit breaker: after enough failures in a row, calls fail at once instead of waiting for a dead cloud. */

export type BreakerState = 'closed' | 'open' | 'half-open';

/** What a call may do: `pass`, `trial` (the one call let through to see), or `refuse`. */
export type BreakerPermit = 'pass' | 'trial' | 'refuse';

export interface Breaker {
  readonly state: BreakerState;
  /** How long until a trial call is let through, in ms; 0 where it would be now. */
  readonly wait_ms: number;
  /** Asks to send a call; every `pass` or `trial` must be answered by exactly one of the three below. */
  enter(): BreakerPermit;
  succeeded(permit: BreakerPermit): void;
  failed(permit: BreakerPermit): void;
  /** The call ended before it could tell anything of the cloud's health. */
  abandoned(permit: BreakerPermit): void;
  /** Closes at once; the next opening goes on with the doubling unless a call succeeds before it. */
  close(): void;
}

export interface BreakerOptions {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** How long it stays open at first; doubles with every failed trial up to `resetMaximum_ms` (30 s). */
  readonly reset_ms: number;
  readonly resetMaximum_ms?: number;
  readonly now: () => number;
  readonly onChange?: (state: 'open' | 'closed') => void;
}

/** Makes a closed breaker. */
export function createBreaker(options: BreakerOptions): Breaker {
  const { failures, reset_ms, now, onChange } = options;
  const resetMaximum_ms = Math.max(reset_ms, options.resetMaximum_ms ?? 30_000);
  let failed = 0;
  let delay_ms = reset_ms;
  let openUntil: number | undefined;
  let trialRunning = false;

  const open = (): void => {
    openUntil = now() + delay_ms;
    delay_ms = Math.min(delay_ms * 2, resetMaximum_ms);
    onChange?.('open');
  };
  const close = (): void => {
    failed = 0;
    if (openUntil === undefined) return;
    openUntil = undefined;
    onChange?.('closed');
  };

  return {
    get state() {
      if (openUntil === undefined) return 'closed';
      return trialRunning || now() >= openUntil ? 'half-open' : 'open';
    },
    get wait_ms() {
      return openUntil === undefined ? 0 : Math.max(0, openUntil - now());
    },
    enter() {
      if (openUntil === undefined) return 'pass';
      if (trialRunning || now() < openUntil) return 'refuse';
      trialRunning = true;
      return 'trial';
    },
    succeeded(permit) {
      if (permit === 'trial') trialRunning = false;
      // A call sent before the breaker opened says nothing of the cloud's state since.
      else if (openUntil !== undefined) return;
      delay_ms = reset_ms;
      close();
    },
    failed(permit) {
      if (permit === 'trial') {
        trialRunning = false;
        // A probe may have closed it meanwhile; then this is one failure like any other.
        if (openUntil !== undefined) {
          open();
          return;
        }
      }
      if (openUntil !== undefined) return;
      failed += 1;
      if (failed >= failures) open();
    },
    abandoned(permit) {
      if (permit === 'trial') trialRunning = false;
    },
    close,
  };
}
