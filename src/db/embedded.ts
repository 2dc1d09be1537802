import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmod,
  chown,
  link,
  mkdir,
  mkdtemp,
  open,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, escapeIdentifier } from 'pg';
import { errorText } from './connection.ts';
import { silentLog, type Log } from './log.ts';
import { firstImpassable, isRoot, postgresBinaries, UNPRIVILEGED_ID } from './postgres-binaries.ts';
import { processIdentity, servesFolder } from './process-identity.ts';

export interface EmbeddedOptions {
  /** Where the server keeps everything; made when it is not there. */
  data_dir: string;
  log?: Log;
  /** Settings of PostgreSQL besides ours, for tests. */
  settings?: Record<string, string>;
  /** Whether the server stops when this process dies by any means; else the next start takes it over. For tests. */
  stop_with_parent?: boolean;
}

export interface Embedded {
  /** The URL of the database `headwater`. */
  url: string;
  /** Ends all sessions and stops the server. */
  stop(): Promise<void>;
}

const SUPERUSER = 'headwater';
const DATABASE = 'headwater';
const PORT = 5432;
/** The longest path of a Unix socket, of which PostgreSQL takes the last part for the name. */
const SOCKET_FOLDER_MAX_BYTES = 107 - `/.s.PGSQL.${PORT}.lock`.length;
const START_TIMEOUT_MS = 600_000;
const STOP_TIMEOUT_MS = 30_000;
const WATCH_INTERVAL_MS = 1_000;

const SETTINGS: Record<string, string> = {
  listen_addresses: '',
  port: String(PORT),
  unix_socket_permissions: '0700',
  shared_buffers: '256MB',
  max_connections: '100',
  synchronous_commit: 'on',
  jit: 'off',
  random_page_cost: '1.1',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  // A refused statement is its caller's affair; its text and the rows it names may hold secrets.
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
};

/** What PostgreSQL writes of itself while it runs. */
interface Postmaster {
  pid: number;
  socket_dir: string;
  ready: boolean;
}

async function readPostmaster(cluster: string): Promise<Postmaster | undefined> {
  const text = await readFile(join(cluster, 'postmaster.pid'), 'utf8').catch(() => '');
  const lines = text.split('\n');
  const pid = Math.abs(Number.parseInt(lines[0] ?? '', 10));
  if (!(pid > 0)) {
    return undefined;
  }
  return { pid, socket_dir: lines[4]?.trim() ?? '', ready: lines[7]?.trim() === 'ready' };
}

const asUser = (): { uid?: number; gid?: number } => (isRoot() ? { uid: UNPRIVILEGED_ID, gid: UNPRIVILEGED_ID } : {});

async function makeOwned(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await chmod(path, 0o700);
  if (isRoot()) {
    await chown(path, UNPRIVILEGED_ID, UNPRIVILEGED_ID);
  }
}

/** Makes the folder that is ours alone, and sees that the server's user can reach what will be in it. */
async function prepareFolder(data_dir: string): Promise<string> {
  await mkdir(data_dir, { recursive: true });
  const real = await realpath(data_dir);
  if (isRoot()) {
    // Passable, not readable: what matters within is closed itself.
    await chmod(real, ((await stat(real)).mode & 0o777) | 0o111);
    const closed = await firstImpassable(real);
    if (closed !== undefined) {
      throw new Error(
        `the database cannot be kept in ${real}: PostgreSQL does not run as root but as user ${UNPRIVILEGED_ID}, ` +
          `who may not pass ${closed}; choose another folder or allow it with chmod o+x`,
      );
    }
  }
  return real;
}

/** Makes this process the one user of the folder; throws, naming the other, when there is one already. */
async function takeFolder(data_dir: string): Promise<() => Promise<void>> {
  const path = join(data_dir, 'owner.pid');
  const own = `${await processIdentity(process.pid)}`;
  const draft = `${path}.${process.pid}`;
  for (let attempt = 0; ; attempt += 1) {
    await writeFile(draft, own);
    try {
      // A link appears whole or not at all: nobody reads half an identity.
      await link(draft, path);
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || attempt > 5) {
        throw error;
      }
    } finally {
      await rm(draft, { force: true });
    }
    const other = await readFile(path, 'utf8').catch(() => '');
    const pid = Number.parseInt(other, 10);
    if (pid > 0 && (await processIdentity(pid)) === other) {
      throw new Error(`the database in ${data_dir} is in use by the process ${pid}`);
    }
    await rm(path, { force: true });
  }
}

async function initialise(binaries: string, cluster: string, settings: Record<string, string>): Promise<void> {
  if (await stat(join(cluster, 'PG_VERSION')).catch(() => undefined)) {
    return;
  }
  // Made under another name first: one half made, by a process killed meanwhile, is never taken for a whole one.
  const draft = `${cluster}.new`;
  await rm(draft, { recursive: true, force: true });
  await makeOwned(draft);
  const args = ['-D', draft, '-U', SUPERUSER, '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-instructions'];
  if (settings['fsync'] === 'off') {
    args.push('--no-sync');
  }
  const child = spawn(join(binaries, 'initdb'), args, {
    ...asUser(),
    cwd: '/',
    env: {},
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await exitOf(child);
  if (code !== 0) {
    throw new Error(`initdb failed with ${code}: ${output.trim().slice(-1_000)}`);
  }
  await rename(draft, cluster);
}

function exitOf(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'unknown'));
  });
}

/** A folder for the socket that only root and the server's user may enter: this is why nobody is asked a password. */
async function socketFolder(data_dir: string): Promise<string> {
  const near = join(data_dir, 'socket');
  const folder =
    Buffer.byteLength(near) <= SOCKET_FOLDER_MAX_BYTES ? near : await mkdtemp(join(tmpdir(), 'headwater-'));
  await makeOwned(folder);
  return folder;
}

/** A server that runs, or did. */
interface Server {
  pid: number;
  identity: string | undefined;
  socket_dir: string;
}

async function isRunning(server: Server): Promise<boolean> {
  return server.identity !== undefined && (await processIdentity(server.pid)) === server.identity;
}

async function waitForExit(server: Server, timeout_ms: number): Promise<boolean> {
  const end = Date.now() + timeout_ms;
  while (Date.now() < end) {
    if (!(await isRunning(server))) {
      return true;
    }
    await sleep(20);
  }
  return false;
}

/** Ends the server as soon as this process is gone: its pipe then closes, whatever ended us. */
function stopWithParent(pid: number): ChildProcess {
  const watcher = spawn('/bin/sh', ['-c', 'read line; kill -INT "$1"', 'sh', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watcher.unref();
  return watcher;
}

async function launch(
  binaries: string,
  data_dir: string,
  socket_dir: string,
  settings: Record<string, string>,
): Promise<number> {
  const cluster = join(data_dir, 'cluster');
  const log_path = join(data_dir, 'postgres.log');
  const log_file = await open(log_path, 'w', 0o600);
  const args = Object.entries({ ...SETTINGS, ...settings, unix_socket_directories: socket_dir });
  const outcome: { ended?: number | string } = {};
  try {
    const child = spawn(join(binaries, 'postgres'), ['-D', cluster, ...args.flatMap(([k, v]) => ['-c', `${k}=${v}`])], {
      ...asUser(),
      cwd: '/',
      env: {},
      // A session of its own: Control-C at our terminal is for us, who then stop it when its users are done.
      detached: true,
      stdio: ['ignore', log_file.fd, log_file.fd],
    });
    const exited = exitOf(child).then(
      (code) => (outcome.ended = code),
      (error: unknown) => (outcome.ended = errorText(error)),
    );
    child.unref();
    const end = Date.now() + START_TIMEOUT_MS;
    while (outcome.ended === undefined && Date.now() < end) {
      const postmaster = await readPostmaster(cluster);
      if (postmaster?.pid === child.pid && postmaster?.ready) {
        return postmaster.pid;
      }
      await Promise.race([sleep(20), exited]);
    }
  } finally {
    await log_file.close();
  }
  const written = await readFile(log_path, 'utf8').catch(() => '');
  throw new Error(`PostgreSQL did not start (${outcome.ended ?? 'no answer'}): ${written.trim().slice(-1_000)}`);
}

/**
 * The URL of the server that runs for a folder now, whoever started it; undefined where none does. Starts nothing: for
 * those who look on beside the process whose folder it is.
 */
export async function runningEmbedded(data_dir: string): Promise<string | undefined> {
  const cluster = join(await realpath(data_dir).catch(() => data_dir), 'cluster');
  const postmaster = await readPostmaster(cluster);
  if (postmaster === undefined || !postmaster.ready) return undefined;
  if (!(await servesFolder(postmaster.pid, cluster))) return undefined;
  return urlAt(postmaster.socket_dir);
}

const urlAt = (socket_dir: string): string =>
  `postgresql://${SUPERUSER}@localhost/${DATABASE}?host=${encodeURIComponent(socket_dir)}`;

/** The server left running by a process that was killed, when it is ready to serve. */
async function adopt(cluster: string, log: Log): Promise<Server | undefined> {
  const end = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const postmaster = await readPostmaster(cluster);
    if (postmaster === undefined || (await processIdentity(postmaster.pid)) === undefined) {
      return undefined;
    }
    if (!(await servesFolder(postmaster.pid, cluster))) {
      // Another process has the id now; PostgreSQL itself would take it for a server and refuse to start.
      await rm(join(cluster, 'postmaster.pid'), { force: true });
      return undefined;
    }
    if (postmaster.ready) {
      log.info({ pid: postmaster.pid }, 'took over the PostgreSQL left running by a process that was killed');
      const { pid, socket_dir } = postmaster;
      return { pid, identity: await processIdentity(pid), socket_dir };
    }
    if (Date.now() > end) {
      throw new Error(`the PostgreSQL process ${postmaster.pid} neither becomes ready nor ends`);
    }
    await sleep(50);
  }
}

async function createDatabase(url: string): Promise<void> {
  const maintenance = new URL(url);
  maintenance.pathname = '/postgres';
  const client = new Client({ connectionString: maintenance.href });
  client.on('error', () => {});
  await client.connect();
  try {
    const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [DATABASE]);
    if (found.rowCount === 0) {
      await client.query(`CREATE DATABASE ${escapeIdentifier(DATABASE)}`);
    }
  } finally {
    await client.end();
  }
}

/**
 * Starts the PostgreSQL that comes with the program, on a Unix socket alone, with its data in `data_dir`. A server left
 * running by a process that was killed is taken over; one that dies is started again. Throws one clear line when the
 * folder is in use, naming the process; when the server's user could not reach it; and when there are no binaries.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { log = silentLog, settings = {} } = options;
  const data_dir = await prepareFolder(options.data_dir);
  const cluster = join(data_dir, 'cluster');
  const giveFolderBack = await takeFolder(data_dir);
  try {
    const binaries = await postgresBinaries(data_dir);
    await initialise(binaries, cluster, settings);
    let watcher: ChildProcess | undefined;
    const start = async (last_socket_dir?: string): Promise<Server> => {
      const socket_dir = last_socket_dir ?? (await socketFolder(data_dir));
      const pid = await launch(binaries, data_dir, socket_dir, settings);
      return { pid, identity: await processIdentity(pid), socket_dir };
    };
    const guard = (): void => {
      watcher?.kill();
      watcher = options.stop_with_parent === true ? stopWithParent(server.pid) : undefined;
    };
    let server = (await adopt(cluster, log)) ?? (await start());
    guard();
    const { socket_dir } = server;
    const url = urlAt(socket_dir);

    let restarting: Promise<void> | undefined;
    const restart = async (): Promise<void> => {
      if (await isRunning(server)) {
        return;
      }
      log.error({ pid: server.pid }, 'PostgreSQL has ended, starting it again');
      try {
        // At the same place: those who use it know only that.
        server = await start(socket_dir);
        guard();
      } catch (error) {
        log.error({ error: errorText(error) }, 'cannot start PostgreSQL again');
      }
    };
    const watch = setInterval(() => {
      restarting ??= restart().finally(() => {
        restarting = undefined;
      });
    }, WATCH_INTERVAL_MS).unref();

    const stop = async (): Promise<void> => {
      clearInterval(watch);
      await restarting;
      for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
        if (await isRunning(server)) {
          process.kill(server.pid, signal);
        }
        if (await waitForExit(server, STOP_TIMEOUT_MS)) {
          break;
        }
      }
      watcher?.kill();
      if (socket_dir !== join(data_dir, 'socket')) {
        await rm(socket_dir, { recursive: true, force: true });
      }
      await giveFolderBack();
    };
    await createDatabase(url).catch(async (error: unknown) => {
      await stop();
      throw error;
    });
    let stopping: Promise<void> | undefined;
    return { url, stop: () => (stopping ??= stop()) };
  } catch (error) {
    await giveFolderBack();
    throw error;
  }
}
