import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { runningEmbedded, startEmbedded, type Embedded } from './embedded.ts';
import { processIdentity } from './process-identity.ts';

const SETTINGS = { fsync: 'off', shared_buffers: '32MB' };
const folders: string[] = [];
const servers: Embedded[] = [];
const template = join(tmpdir(), `headwater-test-${randomBytes(6).toString('hex')}`);

/** A folder not there yet. */
function folder(): string {
  const path = join(tmpdir(), `headwater-test-${randomBytes(6).toString('hex')}`);
  folders.push(path);
  return path;
}

/** A folder with a server's data in it: a copy, since making it takes long. */
async function usedFolder(...below: string[]): Promise<string> {
  const data_dir = join(folder(), ...below);
  await mkdir(dirname(data_dir), { recursive: true });
  await promisify(execFile)('cp', ['-a', template, data_dir]);
  return data_dir;
}

async function start(data_dir: string): Promise<Embedded> {
  const server = await startEmbedded({ data_dir, settings: SETTINGS, stop_with_parent: true });
  servers.push(server);
  return server;
}

const isAlive = async (pid: number): Promise<boolean> => (await processIdentity(pid)) !== undefined;

async function ask<T extends object>(url: string, text: string): Promise<T[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}

const postmasterOf = async (data_dir: string): Promise<number> =>
  Number.parseInt(await readFile(join(data_dir, 'cluster', 'postmaster.pid'), 'utf8'), 10);

beforeAll(async () => {
  const server = await startEmbedded({ data_dir: template, settings: SETTINGS });
  await server.stop();
});

afterAll(() => rm(template, { recursive: true, force: true }));

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  await Promise.all(folders.splice(0).map((path) => rm(path, { recursive: true, force: true })));
});

describe('an embedded server', () => {
  it('keeps its data over a stop, listens on no network, and lets one process in', async () => {
    const data_dir = join(folder(), 'deeper');
    const first = await start(data_dir);
    await ask(first.url, "CREATE TABLE kept AS SELECT 'data' AS value");
    const rows = await ask(
      first.url,
      "SELECT current_setting('listen_addresses') AS network, current_setting('jit') AS jit, getdatabaseencoding() AS encoding",
    );
    expect(rows).toEqual([{ network: '', jit: 'off', encoding: 'UTF8' }]);
    await expect(startEmbedded({ data_dir })).rejects.toThrow(
      new Error(`the database in ${data_dir} is in use by the process ${process.pid}`),
    );
    expect(await runningEmbedded(data_dir)).toBe(first.url);
    const pid = await postmasterOf(data_dir);
    await first.stop();
    expect(await isAlive(pid)).toBe(false);
    expect(await runningEmbedded(data_dir)).toBeUndefined();

    const second = await start(data_dir);
    expect(await ask(second.url, 'SELECT value FROM kept')).toEqual([{ value: 'data' }]);
  });

  it('is started again when it dies, also when its folder is too deep for a socket', async () => {
    const data_dir = await usedFolder('x'.repeat(100));
    const server = await start(data_dir);
    await ask(server.url, 'CREATE TABLE kept AS SELECT 1 AS value');
    const pid = await postmasterOf(data_dir);
    process.kill(pid, 'SIGKILL');
    await vi.waitFor(async () => expect(await ask(server.url, 'SELECT value FROM kept')).toHaveLength(1), {
      timeout: 15_000,
      interval: 200,
    });
    expect(await postmasterOf(data_dir)).not.toBe(pid);
  });

  it('starts over a file left by a server whose id another process has now', async () => {
    const data_dir = await usedFolder();
    const lines = [process.ppid, join(data_dir, 'cluster'), 1, 5432, join(data_dir, 'socket'), '', '', 'ready', ''];
    await writeFile(join(data_dir, 'cluster', 'postmaster.pid'), lines.join('\n'));
    await writeFile(join(data_dir, 'owner.pid'), `${process.pid} of another boot`);
    const server = await start(data_dir);
    expect(await ask(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('says why when it cannot start', async () => {
    const data_dir = await usedFolder();
    await expect(startEmbedded({ data_dir, settings: { ...SETTINGS, max_connections: 'many' } })).rejects.toThrow(
      /PostgreSQL did not start.*max_connections/s,
    );
    // The folder is free again.
    await start(data_dir);
  });

  it.runIf(process.getuid?.() === 0)('is refused a folder that its user could not reach', async () => {
    const closed = folder();
    await mkdir(closed);
    await chmod(closed, 0o700);
    await expect(startEmbedded({ data_dir: join(closed, 'data') })).rejects.toThrow(`who may not pass ${closed};`);
  });
});

describe('an embedded server whose process is killed', () => {
  const PROGRAM = `
    import { startEmbedded } from ${JSON.stringify(new URL('./embedded.ts', import.meta.url).href)};
    const [data_dir, stop] = process.argv.slice(1);
    const settings = ${JSON.stringify(SETTINGS)};
    const { url } = await startEmbedded({ data_dir, settings, stop_with_parent: stop === 'stop' });
    console.log(url);
    setInterval(() => {}, 1000);
  `;

  async function startAndKill(data_dir: string, stop: 'stop' | 'stay'): Promise<number> {
    const args = ['--import', 'tsx', '--input-type=module', '-e', PROGRAM, data_dir, stop];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await expect(startEmbedded({ data_dir })).rejects.toThrow(`in use by the process ${child.pid}`);
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    return postmasterOf(data_dir);
  }

  it('is taken over by the next', async () => {
    const data_dir = await usedFolder();
    const pid = await startAndKill(data_dir, 'stay');
    expect(await isAlive(pid)).toBe(true);
    const server = await start(data_dir);
    expect(await postmasterOf(data_dir)).toBe(pid);
    expect(await ask(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.stop();
    expect(await isAlive(pid)).toBe(false);
  });

  it('ends with it when it should', async () => {
    const pid = await startAndKill(await usedFolder(), 'stop');
    await vi.waitFor(async () => expect(await isAlive(pid)).toBe(false), 5_000);
  });
});
