import { setTimeout as sleep } from 'node:timers/promises';
import { Client, escapeIdentifier } from 'pg';
import { clientConfig, errorText, type ConnectionOptions } from './connection.ts';
import type { Log } from './log.ts';

/** Called with each notification's payload, and with '' when notifications may have been lost: then look for yourself. */
export type NotificationHandler = (payload: string) => void;

/** One connection that listens to any number of channels. */
export interface Listener {
  listen(channel: string, handler: NotificationHandler): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const DELAY_MIN_MS = 100;
const DELAY_MAX_MS = 5_000;
const PING_INTERVAL_MS = 15_000;

/**
 * A listener on one connection of its own, made at the first `listen` and made anew for as long as it takes whenever it
 * is lost. Channels are listened to again before handlers hear '' of the gap.
 */
export function createListener(options: ConnectionOptions, log: Log): Listener {
  const channels = new Map<string, Set<NotificationHandler>>();
  const closing = new AbortController();
  let client: Client | undefined;
  let connecting: Promise<void> | undefined;

  function call(channel: string, payload: string): void {
    for (const handler of channels.get(channel) ?? []) {
      try {
        handler(payload);
      } catch (error) {
        log.error({ channel, error: errorText(error) }, 'a handler of database notifications failed');
      }
    }
  }

  function lost(gone: Client): void {
    if (client !== gone) {
      return;
    }
    client = undefined;
    if (!closing.signal.aborted) {
      log.warn({}, 'lost the database connection for notifications');
      void connected().then(
        () => [...channels.keys()].forEach((channel) => call(channel, '')),
        () => {},
      );
    }
  }

  async function connectOnce(): Promise<void> {
    const fresh = new Client({ ...clientConfig(options), query_timeout: 10_000 });
    fresh.on('error', (error) => {
      log.debug({ error: errorText(error) }, 'the database connection for notifications failed');
      lost(fresh);
    });
    fresh.on('end', () => lost(fresh));
    fresh.on('notification', (message) => call(message.channel, message.payload ?? ''));
    try {
      await fresh.connect();
      // A channel added meanwhile is met by this same loop.
      for (const channel of channels.keys()) {
        await fresh.query(`LISTEN ${escapeIdentifier(channel)}`);
      }
      closing.signal.throwIfAborted();
    } catch (error) {
      fresh.end().catch(() => {});
      throw error;
    }
    client = fresh;
    void keepAlive(fresh);
  }

  /** A peer that vanished without a word is found by asking, not by waiting. */
  async function keepAlive(watched: Client): Promise<void> {
    while (client === watched) {
      try {
        await sleep(PING_INTERVAL_MS, undefined, { ref: false, signal: closing.signal });
        await watched.query('SELECT 1');
      } catch {
        lost(watched);
        watched.end().catch(() => {});
      }
    }
  }

  function connected(): Promise<void> {
    connecting ??= (async () => {
      for (let delay_ms = DELAY_MIN_MS; ; delay_ms = Math.min(delay_ms * 2, DELAY_MAX_MS)) {
        closing.signal.throwIfAborted();
        try {
          await connectOnce();
          return;
        } catch (error) {
          closing.signal.throwIfAborted();
          log.warn({ error: errorText(error) }, 'cannot listen for database notifications yet');
          await sleep(delay_ms * (0.5 + Math.random()), undefined, { signal: closing.signal });
        }
      }
    })().finally(() => {
      connecting = undefined;
    });
    return connecting;
  }

  async function subscribe(channel: string): Promise<void> {
    const current = client;
    if (current === undefined) {
      return connected();
    }
    try {
      await current.query(`LISTEN ${escapeIdentifier(channel)}`);
    } catch {
      lost(current);
      current.end().catch(() => {});
      await connected();
    }
  }

  return {
    async listen(channel, handler) {
      closing.signal.throwIfAborted();
      // A wrapper of its own, so that the same function may listen twice and stop once.
      const own: NotificationHandler = (payload) => handler(payload);
      const handlers = channels.get(channel) ?? new Set();
      channels.set(channel, handlers.add(own));
      await subscribe(channel);
      return async () => {
        handlers.delete(own);
        if (handlers.size === 0 && channels.get(channel) === handlers) {
          channels.delete(channel);
          await client?.query(`UNLISTEN ${escapeIdentifier(channel)}`).catch(() => {});
        }
      };
    },
    async close() {
      closing.abort(new Error('the database is closed'));
      const last = client;
      client = undefined;
      channels.clear();
      await connecting?.catch(() => {});
      await last?.end().catch(() => {});
    },
  };
}
