import { randomBytes } from 'node:crypto';
import { Client, escapeIdentifier } from 'pg';
import { afterAll, inject } from 'vitest';
import { openDatabase, type Db } from '../db/database.ts';

async function withServer(template_url: string, text: string): Promise<void> {
  const maintenance = new URL(template_url);
  maintenance.pathname = '/postgres';
  const client = new Client({ connectionString: maintenance.href });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

/**
 * A migrated, empty database of the caller's own. Call it once at the top of a test file (`const db = await
 * testDatabase()`); it is closed and dropped when the file is done. `url` lets a test open it a second time.
 */
export async function testDatabase(): Promise<Db & { url: string }> {
  const template = new URL(inject('template_url'));
  const name = `test_${randomBytes(8).toString('hex')}`;
  const url = new URL(template);
  url.pathname = `/${name}`;
  await withServer(
    template.href,
    `CREATE DATABASE ${escapeIdentifier(name)} TEMPLATE ${escapeIdentifier(template.pathname.slice(1))}`,
  );
  const db = await openDatabase({ url: url.href, max_connections: 5, application_name: name });
  afterAll(async () => {
    await db.close();
    await withServer(template.href, `DROP DATABASE IF EXISTS ${escapeIdentifier(name)} WITH (FORCE)`);
  });
  return { ...db, url: url.href };
}
