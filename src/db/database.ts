import { setTimeout as sleep } from 'node:timers/promises';
import { Kysely, PostgresDialect, sql, type RawBuilder, type Transaction } from 'kysely';
import { errorCode, errorText } from './connection.ts';
import { createListener, type Listener } from './listener.ts';
import { createLocks, type Lock } from './locks.ts';
import { silentLog, type Log } from './log.ts';
import { createPool } from './pool.ts';
import type { Tables } from './tables.ts';

export type { Lock } from './locks.ts';
export type { NotificationHandler } from './listener.ts';
export type { Log } from './log.ts';
export type { Tables } from './tables.ts';

/** What queries are made from: the database itself or a transaction of it. */
export type Queryable = Kysely<Tables>;

/** A transaction, where a bare `Queryable` would not be safe enough. */
export type Tx = Transaction<Tables>;

export interface DatabaseOptions {
  /** A `postgresql://` URL; for a Unix socket `postgresql://user@localhost/name?host=/folder`. */
  url: string;
  /** The most connections of the pool; listening and locks take one more each when they are used. */
  max_connections?: number;
  /** How the server names us in `pg_stat_activity`. */
  application_name?: string;
  log?: Log;
}

export interface Db {
  /** Queries, each in a transaction of its own. */
  query: Queryable;
  /**
   * Runs `work` in a READ COMMITTED transaction. It is run again, at most `retries` (3) times, when the server chose it
   * to resolve a deadlock or a conflict: so `work` must change nothing but the database.
   */
  transaction<T>(work: (tx: Tx) => Promise<T>, options?: { retries?: number }): Promise<T>;
  /**
   * Hears the notifications of a channel, until the function it gives is called. The handler is called with '' when the
   * connection was lost and made anew, since notifications may have been missed. Waits until the server listens.
   */
  listen: Listener['listen'];
  /** Sends a notification (at most 7,999 bytes) when `tx` commits; from a bare `query`, at once. */
  notify(tx: Queryable, channel: string, payload: string): Promise<void>;
  /** Takes the named lock, if no other process or caller has it; never waits. For leaders. */
  tryLock(name: string): Promise<Lock | undefined>;
  /** Ends all connections, waiting for queries under way. A second call does nothing. */
  close(): Promise<void>;
}

const RETRIED = new Set(['40001', '40P01']);
const PAYLOAD_MAX_BYTES = 7_999;
const SERVER_VERSION_MIN = 140_000;

/** A value for a json or jsonb column. It must be used for arrays, which would else become arrays of PostgreSQL. */
export function json<T>(value: T): RawBuilder<T> {
  return sql<T>`cast(${JSON.stringify(value)} as jsonb)`;
}

async function checkServer(query: Queryable): Promise<void> {
  const { rows } = await sql<{ version: number }>`select current_setting('server_version_num')::int as version`.execute(
    query,
  );
  const version = rows[0]?.version ?? 0;
  if (version < SERVER_VERSION_MIN) {
    throw new Error(`PostgreSQL 14 or newer is needed, the server is version ${Math.floor(version / 10_000)}`);
  }
}

/**
 * Opens the database and checks that it answers. Throws when it cannot be reached or is older than PostgreSQL 14. A
 * server lost later is no error of the process: queries fail until it is back, listeners reconnect, locks are lost.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Db> {
  const log = options.log ?? silentLog;
  const pool = createPool({ ...options, max_connections: options.max_connections ?? 10 }, log);
  const query = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
  const listener = createListener(options, log);
  const locks = createLocks(options, log);
  let closing: Promise<void> | undefined;

  try {
    await checkServer(query);
  } catch (error) {
    await query.destroy();
    throw new Error(`cannot use the database: ${errorText(error)}`, { cause: error });
  }

  return {
    query,
    async transaction(work, { retries = 3 } = {}) {
      for (let attempt = 0; ; attempt += 1) {
        try {
          return await query.transaction().setIsolationLevel('read committed').execute(work);
        } catch (error) {
          if (attempt >= retries || !RETRIED.has(errorCode(error) ?? '')) {
            throw error;
          }
          log.debug({ code: errorCode(error), attempt }, 'running a transaction again');
          await sleep(Math.random() * 20 * 2 ** attempt);
        }
      }
    },
    listen: listener.listen,
    async notify(tx, channel, payload) {
      if (Buffer.byteLength(payload) > PAYLOAD_MAX_BYTES) {
        throw new RangeError(`a notification may have at most ${PAYLOAD_MAX_BYTES} bytes`);
      }
      await sql`select pg_notify(${channel}, ${payload})`.execute(tx);
    },
    tryLock: locks.tryLock,
    close() {
      closing ??= (async () => {
        await Promise.all([listener.close(), locks.close(), query.destroy()]);
      })();
      return closing;
    },
  };
}
