/** The database's clock: all processes go by it. */
import { sql } from 'kysely';
import type { Queryable } from '../../db/database.ts';

/** The time now. */
export async function clock(query: Queryable): Promise<string> {
  const { rows } = await sql<{ now: string }>`select clock_timestamp() as now`.execute(query);
  return rows[0]?.now ?? '';
}

/** How long ago something was. */
export async function age_ms(query: Queryable, since: string): Promise<number> {
  return Date.parse(await clock(query)) - Date.parse(since);
}
