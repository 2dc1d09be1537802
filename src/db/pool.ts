import { createHash } from 'node:crypto';
import type { PostgresPool, PostgresPoolClient } from 'kysely';
import { DatabaseError, Pool, type PoolClient } from 'pg';
import { clientConfig, errorCode, errorText, type ConnectionOptions } from './connection.ts';
import type { Log } from './log.ts';

/** Texts beyond this many are sent unnamed: each named one takes memory in every connection, on both sides. */
const NAMED_TEXTS_MAX = 1_000;

/** The names of SQL texts as prepared statements: the same text has the same name in every connection. */
function createStatementNames(): (text: string) => string | undefined {
  const names = new Map<string, string>();
  return (text) => {
    const known = names.get(text);
    if (known !== undefined || names.size >= NAMED_TEXTS_MAX) {
      return known;
    }
    const name = `hw_${createHash('sha1').update(text).digest('hex').slice(0, 20)}`;
    names.set(text, name);
    return name;
  };
}

/** Whether a connection must not be used again after an error, though it may still be open. */
function spoilsConnection(error: unknown): boolean {
  // A statement prepared before its table changed can never run again in that session; and after a fatal error the
  // server ends the session, but the next query could be quicker than the news.
  return (
    errorCode(error) === '0A000' ||
    (error instanceof DatabaseError && error.severity === 'FATAL') ||
    (error instanceof Error && error.message === 'Query read timeout')
  );
}

/**
 * A pool of connections whose statements are prepared once per connection and then known by name, which spares the
 * server parsing and planning. Lost idle connections are logged and replaced, never thrown at the process.
 */
export function createPool(options: ConnectionOptions & { max_connections: number }, log: Log): PostgresPool {
  const pool = new Pool({
    ...clientConfig(options),
    max: options.max_connections,
    idleTimeoutMillis: 30_000,
    maxLifetimeSeconds: 3_600,
  });
  pool.on('error', (error) => log.warn({ error: errorText(error) }, 'lost an idle database connection'));
  const nameOf = createStatementNames();
  const wrapped = new WeakMap<PoolClient, PostgresPoolClient>();

  function wrap(client: PoolClient): PostgresPoolClient {
    let spoilt = false;
    const query = async (text: string, parameters: readonly unknown[]) => {
      // Without parameters the simple protocol is used: it alone takes several statements in one text.
      const name = parameters.length > 0 ? nameOf(text) : undefined;
      try {
        return await client.query({ ...(name !== undefined && { name }), text, values: [...parameters] });
      } catch (error) {
        spoilt ||= spoilsConnection(error);
        throw withoutValues(error);
      }
    };
    // Kysely declares an overload for cursors too; we configure none, so it never calls it.
    return { query: query as unknown as PostgresPoolClient['query'], release: () => client.release(spoilt) };
  }

  return {
    async connect() {
      const client = await pool.connect();
      let known = wrapped.get(client);
      if (known === undefined) {
        // While a connection is lent out the pool does not listen, and an unheard error would end the process. The
        // query under way fails with the same error.
        client.on('error', () => {});
        known = wrap(client);
        wrapped.set(client, known);
      }
      return known;
    },
    end: () => pool.end(),
  };
}

/** The error without the row that it was about: whoever logs it would log a tenant's secrets with it. */
function withoutValues(error: unknown): unknown {
  return error instanceof DatabaseError
    ? Object.assign(error, { detail: undefined, where: undefined, internalQuery: undefined })
    : error;
}
