import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { startEmbedded } from '../db/embedded.ts';
import { migrate } from '../db/migrate.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The URL of the database that every test database is a copy of. */
    template_url: string;
  }
}

/** What is lost when the machine fails is no loss in a test, and its waits are most of a test's time. */
const SETTINGS = {
  fsync: 'off',
  full_page_writes: 'off',
  synchronous_commit: 'off',
  wal_level: 'minimal',
  max_wal_senders: '0',
  shared_buffers: '64MB',
  autovacuum: 'off',
};

/** Starts one server for the whole run, with a template of the migrated database; gives what stops it. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const data_dir = join(tmpdir(), `headwater-test-${randomBytes(8).toString('hex')}`);
  const clean = () => rm(data_dir, { recursive: true, force: true });
  try {
    const server = await startEmbedded({ data_dir, settings: SETTINGS, stop_with_parent: true });
    await migrate({ url: server.url });
    project.provide('template_url', server.url);
    return async () => {
      await server.stop();
      await clean();
    };
  } catch (error) {
    await clean();
    throw error;
  }
}
