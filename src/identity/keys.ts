/** The keys that tokens are signed with: in the database, so that every API process reads and writes the same tokens. */
import { sql } from 'kysely';
import type { Db, Queryable } from '../db/database.ts';
import { type FernetKey, newFernetKey, parseFernetKey } from './fernet.ts';

interface KeyTable {
  id: number;
  key: string;
}

declare module '../db/tables.ts' {
  interface Tables {
    identity_token_keys: KeyTable;
  }
}

export interface TokenKeys {
  /** The key that new tokens are signed with. */
  primary(): Promise<FernetKey>;
  /** All that a token may be signed with, the likeliest first. */
  all(): Promise<readonly FernetKey[]>;
  /** Forgets what was read, to read it again when next needed. */
  forget(): void;
}

const ACTIVE_KEYS = 4;

/** Reads the keys once and keeps them; makes no query before they are needed. */
export function createTokenKeys(db: Db): TokenKeys {
  let reading: Promise<readonly FernetKey[]> | undefined;
  const all = (): Promise<readonly FernetKey[]> => {
    reading ??= readKeys(db).catch((error: unknown) => {
      reading = undefined;
      throw error;
    });
    return reading;
  };
  return {
    all,
    primary: async () => (await all())[0] as FernetKey,
    forget: () => {
      reading = undefined;
    },
  };
}

async function readKeys(db: Db): Promise<readonly FernetKey[]> {
  const read = () => db.query.selectFrom('identity_token_keys').select(['id', 'key']).orderBy('id', 'desc').execute();
  let rows = await read();
  if (rows.length === 0) {
    await db.transaction(ensureTokenKeys);
    rows = await read();
  }
  return rows.map(({ key }) => parseFernetKey(key));
}

/** Makes the first two keys, 1 to sign with and 0 staged to be the next, where there are none. Twice does nothing. */
export async function ensureTokenKeys(tx: Queryable): Promise<void> {
  await tx
    .insertInto('identity_token_keys')
    .values([
      { id: 0, key: newFernetKey() },
      { id: 1, key: newFernetKey() },
    ])
    .onConflict((conflict) => conflict.column('id').doNothing())
    .execute();
}

/**
 * Makes the staged key primary and stages a new one. Every process has known the staged key since the last rotation, so
 * none meets a token that it can't read; keys beyond the newest four are dropped, and the tokens they signed with them.
 * @returns the number of the key that signs now, and of the oldest that still verifies
 */
export async function rotateTokenKeys(tx: Queryable): Promise<{ primary: number; oldest: number }> {
  await sql`lock table identity_token_keys in share row exclusive mode`.execute(tx);
  await sql`update identity_token_keys set id = (select max(id) + 1 from identity_token_keys), created_at = clock_timestamp()
    where id = 0`.execute(tx);
  await tx.insertInto('identity_token_keys').values({ id: 0, key: newFernetKey() }).execute();
  await sql`delete from identity_token_keys where id > 0
    and id <= (select max(id) from identity_token_keys) - ${ACTIVE_KEYS}`.execute(tx);
  const { rows } = await sql<{ primary: number; oldest: number }>`
    select max(id) as primary, min(id) as oldest from identity_token_keys where id > 0`.execute(tx);
  return rows[0] ?? { primary: 0, oldest: 0 };
}
