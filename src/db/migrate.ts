import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Generated } from 'kysely';
import { Client, type ClientConfig } from 'pg';
import { clientConfig, errorText } from './connection.ts';
import { lockKey } from './locks.ts';
import { silentLog, type Log } from './log.ts';

/** One row for each migration that the database has had. */
export interface SchemaMigrationTable {
  number: number;
  name: string;
  /** SHA-256 of the file's text, in hexadecimal. */
  checksum: string;
  applied_at: Generated<string>;
}

declare module './tables.ts' {
  interface Tables {
    schema_migrations: SchemaMigrationTable;
  }
}

export interface MigrateOptions {
  url: string;
  /** The folder of the `NNNN_words.sql` files; by default the program's own. */
  folder?: string;
  log?: Log;
}

interface Migration {
  number: number;
  name: string;
  text: string;
  checksum: string;
}

const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/;

/** The program's own migrations: beside this file, or where the built program has them. */
function defaultMigrationsFolder(): string {
  const candidates = ['./migrations', '../migrations', '../src/db/migrations'].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) {
    throw new Error('the program is incomplete: it has no folder of migrations');
  }
  return found;
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  const migrations: Migration[] = [];
  for (const name of names) {
    const number = Number(FILE_NAME.exec(name)?.[1]);
    if (Number.isNaN(number)) {
      throw new Error(`the migration ${name} is not named like 0001_words.sql`);
    }
    const previous = migrations.at(-1);
    if (previous?.number === number) {
      throw new Error(`the migrations ${previous.name} and ${name} have the same number`);
    }
    // The same file checked out with other line ends is the same migration.
    const text = (await readFile(join(folder, name), 'utf8')).replaceAll('\r\n', '\n');
    migrations.push({ number, name, text, checksum: createHash('sha256').update(text).digest('hex') });
  }
  return migrations;
}

type Applied = Pick<SchemaMigrationTable, 'number' | 'name' | 'checksum'>;

/** What is still to be applied; throws when the database's history is not the beginning of ours. */
function pendingOf(migrations: readonly Migration[], applied: readonly Applied[]): Migration[] {
  const known = new Map(migrations.map((migration) => [migration.number, migration]));
  for (const row of applied) {
    const migration = known.get(row.number);
    if (migration === undefined) {
      throw new Error(`the database is newer than this program: it has had the migration ${row.name}, unknown here`);
    }
    if (migration.checksum !== row.checksum) {
      throw new Error(`the migration ${migration.name} was altered after it was applied to the database`);
    }
  }
  const done = new Set(applied.map((row) => row.number));
  const newest = Math.max(0, ...done);
  const pending = migrations.filter((migration) => !done.has(migration.number));
  const late = pending.find((migration) => migration.number < newest);
  if (late !== undefined) {
    throw new Error(`the migration ${late.name} is numbered below ${newest}, which the database has had already`);
  }
  return pending;
}

async function apply(client: Client, migration: Migration): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(migration.text);
    await client.query('INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)', [
      migration.number,
      migration.name,
      migration.checksum,
    ]);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw new Error(`the migration ${migration.name} failed: ${errorText(error)}`, { cause: error });
  }
}

/** @throws Error saying why the database cannot be used: its URL, who answers there, the password */
async function connected(config: ClientConfig): Promise<Client> {
  try {
    const client = new Client(config);
    await client.connect();
    return client;
  } catch (error) {
    throw new Error(`cannot use the database: ${errorText(error)}`, { cause: error });
  }
}

/**
 * Brings the database up to this program's schema, each migration in a transaction of its own; gives the names of those
 * applied now. Several processes may do so at once: one works, the others wait. Throws when an applied migration was
 * altered since, when the database is newer than the program, and when a migration fails (those before it stay).
 */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const { log = silentLog, folder = defaultMigrationsFolder() } = options;
  const migrations = await readMigrations(folder);
  // Rewriting a large table, or waiting for another process to do so, takes as long as it takes.
  const config = { ...clientConfig(options), statement_timeout: 0, lock_timeout: 0, query_timeout: 0 };
  const client = await connected({ ...config, idle_in_transaction_session_timeout: 0 });
  let lost: Error | undefined;
  client.on('error', (error) => {
    lost = error;
  });
  try {
    await client.query('SELECT pg_advisory_lock($1)', [lockKey('headwater migrations')]);
    await client.query(`
      CREATE TABLE IF NOT EXISTS schema_migrations (
        number integer PRIMARY KEY,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
      )`);
    const applied = await client.query<Applied>('SELECT number, name, checksum FROM schema_migrations ORDER BY number');
    const pending = pendingOf(migrations, applied.rows);
    for (const migration of pending) {
      await apply(client, migration);
      log.info({ migration: migration.name }, 'applied a migration of the database');
    }
    return pending.map((migration) => migration.name);
  } catch (error) {
    throw lost ?? error;
  } finally {
    await client.end().catch(() => {});
  }
}
