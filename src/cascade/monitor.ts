/** Looks after a child's health: an unreachable child is probed until it is back, and then its backlog is due at once. */
import type { Logger } from 'pino';
import type { CloudApi } from '../openstack/contract.ts';

export interface MonitorOptions {
  readonly child: string;
  readonly api: CloudApi;
  readonly log: Logger;
  /** Told at every look, and whether that is a change. */
  readonly seen: (up: boolean, changed: boolean) => Promise<void>;
}

const UP_EVERY_MS = 5000;
const DOWN_EVERY_MS = 1000;

/** Starts looking; returns how to stop. */
export function startMonitor(options: MonitorOptions): () => Promise<void> {
  const { child, api, log } = options;
  const stopping = new AbortController();
  let known: boolean | undefined;
  let wake: (() => void) | undefined;

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      const up = await api.probe().catch(() => false);
      const changed = up !== known;
      if (changed) log[up ? 'info' : 'warn']({ child }, up ? 'the child answers' : 'the child does not answer');
      known = up;
      await options.seen(up, changed).catch((error: unknown) => log.error({ err: error, child }, 'health not stored'));
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, up ? UP_EVERY_MS : DOWN_EVERY_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  const ended = loop();
  return async () => {
    stopping.abort();
    wake?.();
    await ended;
  };
}
