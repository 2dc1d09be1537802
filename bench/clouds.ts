/** What the figures are taken of: the parent in a process of its own, and where there is one, a real cloud beside it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { createSimCloud, type SimCloud } from '../src/sim/cloud.ts';
import { ask, login, pause, type Target } from './measure.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TESTBED_CLOUDS = join(process.env.TESTBED_HOME ?? '/var/tmp/testbed', 'clouds.yaml');
export const ADMIN_PASSWORD = 'bench-admin';

type Auth = Readonly<Record<string, string>>;

/** A cloud with a tenant of its own in it, as the measurements use it. */
export interface Cloud {
  readonly name: string;
  readonly compute: Target;
  readonly network: Target;
  readonly identity: Target;
  readonly auth: Auth;
  readonly projectId: string;
}

/** The testbed's first two clouds, where they are up. */
export async function testbedAuths(): Promise<readonly Auth[]> {
  if (!existsSync(TESTBED_CLOUDS)) return [];
  const { clouds } = parse(readFileSync(TESTBED_CLOUDS, 'utf8')) as { clouds: Record<string, { auth: Auth }> };
  const auths = ['child1', 'child2'].flatMap((name) => {
    const cloud = clouds[name];
    return cloud === undefined ? [] : [cloud.auth];
  });
  for (const auth of auths) {
    try {
      await login(auth);
    } catch {
      return [];
    }
  }
  return auths.length === 2 ? auths : [];
}

/** Logs in, and gives the endpoints with the token in their headers. */
export async function openCloud(name: string, auth: Auth): Promise<Cloud> {
  const { token, service, projectId } = await login(auth);
  const target = (base: string, version?: string): Target => ({
    base,
    headers: { 'x-auth-token': token, ...(version === undefined ? {} : { 'openstack-api-version': version }) },
  });
  const network = service('network');
  return {
    name,
    compute: target(service('compute'), 'compute 2.90'),
    network: target(network.endsWith('/v2.0') ? network : `${network}/v2.0`),
    identity: target(auth.auth_url ?? ''),
    auth,
    projectId,
  };
}

export interface BenchParent {
  readonly auth: Auth;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface ParentFiles {
  readonly config: string;
  readonly clouds: string;
  readonly sims: readonly SimCloud[];
  /** How each child is reached, in the order of their names. */
  readonly auths: readonly Auth[];
}

export interface ParentWishes {
  /** More keys of the configuration. */
  readonly more?: object;
  /** Where the parent is to find each child's network service, instead of where its catalog says. */
  readonly networkAt?: (auth: Auth) => Promise<string>;
}

/** Writes the files of a parent over real or simulated children, in `folder`; gives its configuration's path. */
export async function configureParent(
  folder: string,
  port: number,
  real: readonly Auth[],
  { more = {}, networkAt }: ParentWishes = {},
): Promise<ParentFiles> {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const sims = real.length > 0 ? [] : await Promise.all(['east', 'west'].map((name) => createSimCloud({ name })));
  const auths = real.length > 0 ? real : sims.map((sim) => sim.cloudsYamlEntry.auth);
  const clouds = join(folder, 'clouds.yaml');
  const entries = await Promise.all(
    auths.map(async (auth, at) => {
      const override = networkAt === undefined ? {} : { network_endpoint_override: await networkAt(auth) };
      return [`child${at + 1}`, { auth, region_name: 'RegionOne', ...override }];
    }),
  );
  writeFileSync(clouds, stringify({ clouds: Object.fromEntries(entries) }), { mode: 0o600 });
  const config = join(folder, 'headwater.yaml');
  const children = {
    east: { cloud: 'child1', zones: { east: 'nova' } },
    west: { cloud: 'child2', zones: { west: 'nova' } },
  };
  writeFileSync(
    config,
    stringify({
      listen: `127.0.0.1:${port}`,
      data_dir: folder,
      admin_password_env: 'HEADWATER_ADMIN_PASSWORD',
      log_level: 'warn',
      children,
      ...more,
    }),
  );
  return { config, clouds, sims, auths };
}

/** Starts a parent and waits until it serves. */
export async function startBenchParent(files: { config: string; clouds: string }, port: number): Promise<BenchParent> {
  const env = { ...process.env, OS_CLIENT_CONFIG_FILE: files.clouds, HEADWATER_ADMIN_PASSWORD: ADMIN_PASSWORD };
  const child: ChildProcess = spawn(
    process.execPath,
    [join(ROOT, 'bin/headwater.mjs'), 'serve', '--config', files.config],
    {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const base = `http://127.0.0.1:${port}`;
  for (let tries = 0; ; tries++) {
    if (child.exitCode !== null) throw new Error('the parent ended before it served');
    if (tries > 600) throw new Error('the parent did not serve within a minute');
    try {
      await ask({ base, headers: {} }, 'GET', '/healthcheck');
      break;
    } catch {
      await pause(100);
    }
  }
  return {
    pid: child.pid ?? 0,
    auth: {
      auth_url: `${base}/identity/v3`,
      username: 'admin',
      password: ADMIN_PASSWORD,
      project_name: 'admin',
      user_domain_name: 'Default',
      project_domain_name: 'Default',
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', () => resolve());
        child.kill('SIGINT');
      }),
  };
}
