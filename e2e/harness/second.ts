/** Another parent beside the one of the run, over clouds of its own, and the accounts that play with it. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { runHeadwater } from './headwater.ts';
import { endParent, parentServes, spawnParent } from './parent.ts';
import { makePlace, type Place } from './place.ts';
import { stage } from './stage.ts';
import { TESTBED_HOME } from './testbed.ts';

/** An entry of a clouds.yaml. */
export interface Entry {
  readonly auth: Readonly<Record<string, string>>;
  readonly [option: string]: unknown;
}

export interface Second extends Place {
  /** Starts its process, and waits until it serves. */
  start(): Promise<void>;
  /** Ends it, and takes its folder away. */
  stop(): Promise<void>;
  /** The command with its configuration and its clouds. */
  headwater(...args: string[]): Promise<{ readonly status: number | null; readonly stdout: string }>;
}

/**
 * Makes a parent's place; nothing runs yet.
 * @param children what its configuration says of children and identity
 * @param clouds its clouds.yaml
 */
export async function secondParent(children: string, clouds: Readonly<Record<string, Entry>>): Promise<Second> {
  const place = await makePlace('/var/tmp/headwater-e2e-second-', '', children);
  const cloudsFile = join(place.folder, 'clouds.yaml');
  writeFileSync(cloudsFile, stringify({ clouds }), { mode: 0o600 });
  return {
    ...place,
    async start() {
      spawnParent(place, cloudsFile);
      await parentServes(place);
    },
    async stop() {
      await endParent(place, 'SIGTERM').catch(() => endParent(place, 'SIGKILL'));
      if (process.env.HEADWATER_E2E_KEEP === undefined) rmSync(place.folder, { recursive: true, force: true });
    },
    headwater: (...args) => runHeadwater(place.configFile, args, cloudsFile),
  };
}

const read = (file: string) => parse(readFileSync(file, 'utf8')) as { clouds: Record<string, Entry> };

/** The administrator's entry of one of the testbed's clouds. */
export function childEntry(cloud: 'child1' | 'child2'): Entry {
  const entry = read(join(TESTBED_HOME, 'clouds.yaml')).clouds[cloud];
  if (entry === undefined) throw new Error(`the testbed has no ${cloud}`);
  return entry;
}

/** The same cloud, for another account of it. */
export function entryAs(entry: Entry, username: string, password: string, project_name = username): Entry {
  const { project_id: _, ...auth } = entry.auth;
  return { ...entry, auth: { ...auth, username, password, project_name } };
}

/** The entry of a user of a parent with the built-in Keystone. */
export function parentEntry(url: string, username: string, password: string, project_name = username): Entry {
  const domains = { user_domain_name: 'Default', project_domain_name: 'Default' };
  return {
    auth: { auth_url: `${url}/identity/v3`, username, password, project_name, ...domains },
    region_name: 'RegionOne',
    identity_api_version: 3,
    compute_api_version: '2.90',
    volume_api_version: '3.70',
  };
}

/** Adds entries to the clouds.yaml of the run, for the client and for `api`; one of the same name is replaced. */
export function addClouds(clouds: Readonly<Record<string, Entry>>): void {
  const known = read(stage.cloudsFile);
  writeFileSync(stage.cloudsFile, stringify({ clouds: { ...known.clouds, ...clouds } }), { mode: 0o600 });
}
