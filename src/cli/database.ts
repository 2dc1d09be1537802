/** The parent's database for commands that look on beside `headwater serve`, or while it is stopped. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { type Db, openDatabase } from '../db/database.ts';
import { runningEmbedded, startEmbedded } from '../db/embedded.ts';
import { type Config, ConfigError } from './config.ts';
import { forOperator } from './config-error.ts';

/** Makes `data_dir`. @throws ConfigError where this user may not */
export function makeDataDir({ data_dir }: Config): void {
  try {
    mkdirSync(data_dir, { recursive: true, mode: 0o755 });
  } catch (error) {
    forOperator(error);
  }
}

/**
 * Runs `work` over the database of a configuration; an embedded one that is not running is started for as long. Nothing
 * is migrated.
 * @throws ConfigError where there is no parent's database yet, or it does not answer
 */
export async function withDatabase<T>(config: Config, work: (db: Db) => Promise<T>): Promise<T> {
  const folder = join(config.data_dir, 'postgres');
  const url = config.database.url ?? (await runningEmbedded(folder));
  if (url !== undefined) return overUrl(url, work);
  if (!existsSync(join(folder, 'cluster'))) throw noParent(folder);
  const embedded = await startEmbedded({ data_dir: folder }).catch(forOperator);
  try {
    return await overUrl(embedded.url, work);
  } finally {
    await embedded.stop();
  }
}

async function overUrl<T>(url: string, work: (db: Db) => Promise<T>): Promise<T> {
  const db = await openDatabase({ url, max_connections: 4, application_name: 'headwater' }).catch(forOperator);
  try {
    const found = await sql<{ is: boolean }>`select to_regclass('replicas') is not null as is`.execute(db.query);
    if (found.rows[0]?.is !== true) throw noParent('the database');
    return await work(db);
  } finally {
    await db.close();
  }
}

const noParent = (where: string): ConfigError =>
  new ConfigError(
    `${where} holds no parent yet; start one with \`headwater serve\`, or name its configuration with --config`,
  );
