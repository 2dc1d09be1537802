/** Console sessions: what an address that a tenant was given stands for. */
import { createHash, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import { sql } from 'kysely';
import type { Db, Queryable } from '../../db/database.ts';

/** As Nova's `consoleauth.token_ttl`: for so long a console can be connected to; one that is, stays. */
const TTL_SECONDS = 600;
/** How many expired ones a new one takes away: more than come to be, and no long work for any request. */
const SWEEP = 100;

export interface ConsoleSession {
  readonly id: string;
  readonly project_id: string;
  /** The child's own address, with its token: for the relay alone. */
  readonly child_url: string;
}

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

/** Stores a session. @returns the parts of its address: the id is no secret, the token is */
export async function openSession(
  db: Db,
  serverId: string,
  childUrl: string,
): Promise<{ readonly id: string; readonly token: string }> {
  const id = randomUUID();
  const token = randomBytes(24).toString('base64url');
  await db.transaction(async (tx) => {
    await sql`delete from console_sessions where id in (
      select id from console_sessions where expires_at < clock_timestamp()
      order by expires_at limit ${SWEEP} for update skip locked)`.execute(tx);
    await sql`insert into console_sessions (id, token_hash, server_id, child_url, expires_at)
      values (${id}, ${hashOf(token)}, ${serverId}, ${childUrl},
        clock_timestamp() + make_interval(secs => ${TTL_SECONDS}))`.execute(tx);
  });
  return { id, token };
}

/** The session of that id while it lasts and its server is there; for the pages around a console, which are no secret. */
export async function findSession(query: Queryable, id: string): Promise<ConsoleSession | undefined> {
  return (await sessionRow(query, id))?.session;
}

/** The same for who has its token as well: for the console itself. */
export async function findSessionByToken(
  query: Queryable,
  id: string,
  token: string,
): Promise<ConsoleSession | undefined> {
  const row = await sessionRow(query, id);
  if (row === undefined) return undefined;
  return timingSafeEqual(Buffer.from(row.token_hash), Buffer.from(hashOf(token))) ? row.session : undefined;
}

async function sessionRow(
  query: Queryable,
  id: string,
): Promise<{ session: ConsoleSession; token_hash: string } | undefined> {
  const { rows } = await sql<ConsoleSession & { token_hash: string }>`
    select c.id, s.project_id, c.child_url, c.token_hash from console_sessions c join servers s on s.id = c.server_id
    where c.id = ${id} and c.expires_at > clock_timestamp() and s.deleted_at is null`.execute(query);
  const row = rows[0];
  if (row === undefined) return undefined;
  const { token_hash, ...session } = row;
  return { session, token_hash };
}
