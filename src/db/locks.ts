import { createHash } from 'node:crypto';
import { Client, type QueryResultRow } from 'pg';
import { clientConfig, errorText, type ConnectionOptions } from './connection.ts';
import type { Log } from './log.ts';

/** A lock that this process alone holds among all that share the database. */
export interface Lock {
  /** Gives the lock up; harmless when it is lost already. */
  release(): Promise<void>;
  /** Aborted when the lock was lost with its connection: stop at once what it guards. */
  lost: AbortSignal;
}

/** The locks of one process. */
export interface Locks {
  tryLock(name: string): Promise<Lock | undefined>;
  close(): Promise<void>;
}

const PING_INTERVAL_MS = 5_000;

/** The number by which PostgreSQL knows a lock of this name, as the text of an int8. */
export function lockKey(name: string): string {
  return createHash('sha256').update(name).digest().readBigInt64BE(0).toString();
}

interface Session {
  client: Client;
  /** One question after another: a connection answers one at a time. */
  ask<R extends QueryResultRow>(text: string, values?: readonly unknown[]): Promise<R[]>;
  /** What this process holds: in one session PostgreSQL would grant the same lock twice. */
  held: Map<string, AbortController>;
  lose(): void;
}

/**
 * Advisory locks, held by one connection which is used for nothing else: a pooled one would take the locks along when it
 * is retired. The server frees them by itself when this process dies.
 */
export function createLocks(options: ConnectionOptions, log: Log): Locks {
  let opening: Promise<Session> | undefined;
  let closed = false;

  async function open(): Promise<Session> {
    const client = new Client({ ...clientConfig(options), query_timeout: PING_INTERVAL_MS });
    const held: Session['held'] = new Map();
    let gone = false;
    let last: Promise<unknown> = Promise.resolve();
    const session: Session = {
      client,
      ask<R extends QueryResultRow>(text: string, values: readonly unknown[] = []) {
        const answer = last.then(async () => (await client.query<R>(text, [...values])).rows);
        last = answer.catch(() => undefined);
        return answer;
      },
      held,
      lose() {
        if (gone) {
          return;
        }
        gone = true;
        opening = undefined;
        client.end().catch(() => {});
        if (held.size > 0) {
          log.warn({ locks: [...held.keys()] }, 'lost locks with their database connection');
        }
        held.forEach((controller) => controller.abort(new Error('the database connection of the lock was lost')));
        held.clear();
      },
    };
    client.on('error', (error) => {
      log.debug({ error: errorText(error) }, 'the database connection of locks failed');
      session.lose();
    });
    client.on('end', () => session.lose());
    try {
      await client.connect();
    } catch (error) {
      session.lose();
      throw error;
    }
    const ping = setInterval(() => void session.ask('SELECT 1').catch(session.lose), PING_INTERVAL_MS).unref();
    client.once('end', () => clearInterval(ping));
    return session;
  }

  return {
    async tryLock(name) {
      if (closed) {
        throw new Error('the database is closed');
      }
      opening ??= open();
      const session = await opening;
      if (session.held.has(name)) {
        return undefined;
      }
      const controller = new AbortController();
      session.held.set(name, controller);
      try {
        const [row] = await session.ask<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [
          lockKey(name),
        ]);
        if (row?.locked !== true) {
          session.held.delete(name);
          return undefined;
        }
      } catch (error) {
        // Whether the server granted it is unknown: only ending the session makes it certain that it is free.
        session.held.delete(name);
        session.lose();
        throw error;
      }
      return {
        lost: controller.signal,
        async release() {
          if (session.held.get(name) !== controller) {
            return;
          }
          try {
            await session.ask('SELECT pg_advisory_unlock($1)', [lockKey(name)]);
            session.held.delete(name);
          } catch {
            session.held.delete(name);
            session.lose();
          }
        },
      };
    },
    async close() {
      closed = true;
      const session = await opening?.catch(() => undefined);
      session?.held.clear();
      await session?.client.end().catch(() => {});
    },
  };
}
