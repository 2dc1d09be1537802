import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks until the answer is neither undefined nor false, and gives it.
 * @param what said in the error when the time is up, with the last error of `ask`
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  options: { timeout_ms?: number; every_ms?: number } = {},
): Promise<T> {
  const { timeout_ms = 120_000, every_ms = 300 } = options;
  const end = performance.now() + timeout_ms;
  for (;;) {
    let failure: unknown;
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > end) {
      throw new Error(`not within ${timeout_ms / 1000} s: ${what}`, { cause: failure });
    }
    await sleep(every_ms);
  }
}
