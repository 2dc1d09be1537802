/** `headwater bootstrap` and `headwater keys rotate`: what operators do to the built-in identity service. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type Db, openDatabase } from '../db/database.ts';
import { runningEmbedded, startEmbedded } from '../db/embedded.ts';
import { migrate } from '../db/migrate.ts';
import { conventions } from '../http/conventions.ts';
import { createIdentity, type IdentityService } from '../identity/identity.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { forOperator } from './config-error.ts';
import { makeDataDir, withDatabase } from './database.ts';
import { silentLogger } from './log.ts';
import { adminPassword } from './serve.ts';

export interface BootstrapOptions {
  readonly config: string;
  /** Gives the administrator a new password, and back the roles and the account that they had at first. */
  readonly recover?: boolean;
}

/**
 * Makes what must be there before anybody can log in, as far as it is not: tables, domain, roles, administrator, catalog,
 * keys. Twice does no more than once. `serve` does the same when it starts.
 * @returns what to tell the operator
 * @throws ConfigError for what the operator can mend
 */
export async function bootstrapParent(options: BootstrapOptions): Promise<string> {
  const config = readConfig(options.config);
  refuseOuter(config, options.config);
  const given = adminPassword(config.admin_password_env);
  const password = given ?? randomBytes(15).toString('base64url');
  return withNewDatabase(config, (db) =>
    withIdentity(db, config, async (identity) => {
      const isNew = await identity.bootstrap({ adminPassword: password });
      const recovered = !isNew && options.recover === true;
      if (recovered) await identity.recoverAdministrator(password);
      const where = `${config.public_url}/identity/v3`;
      if (!isNew && !recovered) return `${where} was ready; nothing but the catalog's own URLs was touched\n`;
      const said = given === undefined ? `, shown this once: ${password}` : ` is that of ${config.admin_password_env}`;
      return `${where} is ready; the password of user admin${said}\n`;
    }),
  );
}

/**
 * Makes the staged token key primary and stages a new one, in every process that serves.
 * @returns what to tell the operator
 * @throws ConfigError for what the operator can mend
 */
export async function rotateKeys(options: { readonly config: string }): Promise<string> {
  const config = readConfig(options.config);
  refuseOuter(config, options.config);
  return withDatabase(config, (db) =>
    withIdentity(db, config, async (identity) => {
      const { primary, oldest } = await identity.rotateTokenKeys();
      return `tokens are now signed with key ${primary}; those signed with key ${oldest} and later hold\n`;
    }),
  );
}

/** @throws ConfigError where accounts and keys are an existing Keystone's */
function refuseOuter({ keystone: identity }: Config, path: string): void {
  if (identity !== undefined) {
    throw new ConfigError(`${path}: accounts and keys are those of ${identity.url}; see \`headwater register\``);
  }
}

async function withIdentity<T>(db: Db, config: Config, work: (identity: IdentityService) => Promise<T>): Promise<T> {
  const identity = createIdentity({ db, publicUrl: config.public_url, conventions, log: silentLogger });
  try {
    return await work(identity);
  } finally {
    await identity.close();
  }
}

/** The database of a parent that may not have been started yet: made and migrated where it is not. */
async function withNewDatabase<T>(config: Config, work: (db: Db) => Promise<T>): Promise<T> {
  makeDataDir(config);
  const folder = join(config.data_dir, 'postgres');
  const running = config.database.url ?? (await runningEmbedded(folder));
  const embedded = running === undefined ? await startEmbedded({ data_dir: folder }).catch(forOperator) : undefined;
  const url = running ?? embedded?.url ?? '';
  try {
    await migrate({ url }).catch(forOperator);
    const db = await openDatabase({ url, max_connections: 4, application_name: 'headwater' });
    try {
      return await work(db);
    } finally {
      await db.close();
    }
  } finally {
    await embedded?.stop();
  }
}
