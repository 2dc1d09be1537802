/** `headwater demo` (and `npm start`): a parent over two simulated children, ready for a first boot. */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { parse, stringify } from 'yaml';
import { startEmbedded } from '../db/embedded.ts';
import { createCloudClient } from '../openstack/client.ts';
import type { CloudEntry } from '../openstack/clouds-yaml.ts';
import type { CloudApi } from '../openstack/contract.ts';
import { NO_TOPOLOGY, type NetworkTopology } from '../network/topology.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { type Config, ConfigError } from './config.ts';
import { lockFolder } from './folder-lock.ts';
import { startParent } from './parent.ts';
import { untilStopped } from './serve.ts';

const CHILDREN = ['east', 'west'] as const;
const SERVER_LIFE_MS = { boot_ms: 1500, action_ms: 500, volume_ms: 500 };

/** What joins the two, so that routers and networks span both. */
const TOPOLOGY: NetworkTopology = {
  ...NO_TOPOLOGY,
  physical_networks: [
    {
      name: 'wan',
      children: { east: 'physnet1', west: 'physnet1' },
      vlans: { first: 100, last: 199 },
      transit_vlans: { first: 200, last: 299 },
      flat: true,
      mtu: 1500,
    },
  ],
};

interface CloudsFile {
  clouds: Record<string, { auth: Record<string, string>; region_name: string; identity_api_version: number }>;
}

/**
 * Serves until a signal.
 * @throws ConfigError for a port or data folder that is taken
 */
export async function demo(options: {
  readonly listen: string;
  readonly dataDir: string;
  readonly reset?: boolean;
}): Promise<void> {
  const data_dir = dataFolder(options.dataDir);
  const unlock = await lockFolder(data_dir);
  try {
    if (options.reset === true) await emptyFolder(data_dir);
    await serveDemo(options.listen, data_dir);
  } finally {
    unlock();
  }
}

/** Everything but the lock, which is ours by now. A database server that outlived a killed demo is ended first. */
async function emptyFolder(data_dir: string): Promise<void> {
  const database = join(data_dir, 'postgres');
  if (existsSync(database)) await (await startEmbedded({ data_dir: database })).stop();
  for (const name of readdirSync(data_dir)) {
    if (name !== 'process') rmSync(join(data_dir, name), { recursive: true, force: true });
  }
}

async function serveDemo(listen: string, data_dir: string): Promise<void> {
  const cloudsFile = join(data_dir, 'clouds.yaml');
  const url = `http://${listen}`;
  const clouds = readClouds(cloudsFile) ?? newClouds(url);
  for (const cloud of Object.values(clouds.clouds)) cloud.auth.auth_url = `${url}/identity/v3`;
  const config = configOf(listen, data_dir);
  const sims = await startChildren(data_dir);
  try {
    const parent = await startParent(config, {
      log: pino({ level: 'warn' }, pino.destination({ dest: join(data_dir, 'headwater.log'), mkdir: true })),
      clouds: Object.fromEntries(sims.map((sim) => [sim.name, simEntry(sim)])),
      adminPassword: clouds.clouds['headwater-admin']?.auth.password,
    });
    try {
      await furnish(clouds);
      writeFileSync(cloudsFile, stringify(clouds), { mode: 0o600 });
      chmodSync(cloudsFile, 0o600);
      process.stdout.write(welcome(url, cloudsFile, data_dir));
      await untilStopped(parent);
    } catch (error) {
      await parent.stop();
      throw error;
    }
  } finally {
    await Promise.all(sims.map((sim) => sim.close()));
  }
  process.stdout.write('headwater: stopped; the data is kept\n');
}

/** The embedded database runs as another user where we are root, who must be able to reach the folder. */
function dataFolder(asked: string): string {
  const folder = resolve(asked);
  return process.getuid?.() !== 0 || othersReach(dirname(folder))
    ? folder
    : join('/var/tmp', `headwater${folder.replaceAll('/', '-')}`);
}

/** Whether every folder down to this one lets every user pass. */
function othersReach(folder: string): boolean {
  const passable = !existsSync(folder) || (statSync(folder).mode & 0o001) !== 0;
  return passable && (folder === dirname(folder) || othersReach(dirname(folder)));
}

function configOf(listen: string, data_dir: string): Config {
  const match = /^(.+):(\d{1,5})$/.exec(listen);
  if (match === null) throw new ConfigError(`--listen ${listen}: write an address and a port, as in 127.0.0.1:8080`);
  return {
    listen: { host: match[1] as string, port: Number(match[2]) },
    public_url: `http://${listen}`,
    database: { url: undefined, max_connections: 20 },
    data_dir,
    admin_password_env: undefined,
    log_level: 'warn',
    children: CHILDREN.map((name) => ({
      name,
      cloud: name,
      zones: { [name]: 'nova' },
      tenancy: 'mirrored',
      concurrency: 16,
      timeout_ms: 60_000,
    })),
    default_zone: undefined,
    topology: TOPOLOGY,
    policy: {},
    identity: {},
    keystone: undefined,
  };
}

/** Each child is kept in a file, so that what was booted is still there after a restart. */
async function startChildren(data_dir: string): Promise<SimCloud[]> {
  const sims: SimCloud[] = [];
  for (const [at, name] of CHILDREN.entries()) {
    sims.push(
      await createSimCloud({
        name,
        timing: SERVER_LIFE_MS,
        stateFile: join(data_dir, 'children', `${name}.json`),
        externalNetworks: [{ name: 'public', cidr: `172.24.${at + 4}.0/24` }],
      }),
    );
  }
  return sims;
}

function simEntry(sim: SimCloud): CloudEntry {
  const { auth, region_name } = sim.cloudsYamlEntry;
  return { name: sim.name, auth_type: 'password', auth, region_name };
}

function readClouds(path: string): CloudsFile | undefined {
  return existsSync(path) ? (parse(readFileSync(path, 'utf8')) as CloudsFile) : undefined;
}

function newClouds(url: string): CloudsFile {
  const cloud = (name: string) => ({
    auth: {
      auth_url: `${url}/identity/v3`,
      username: name,
      password: randomBytes(12).toString('base64url'),
      project_name: name,
      user_domain_name: 'Default',
      project_domain_name: 'Default',
    },
    region_name: 'RegionOne',
    identity_api_version: 3,
  });
  return { clouds: { headwater: cloud('demo'), 'headwater-admin': cloud('admin') } };
}

/** A tenant, three flavors and an image, by the parent's own API; what is there already stays as it is. */
async function furnish(clouds: CloudsFile): Promise<void> {
  const { auth_url = '', ...credentials } = clouds.clouds['headwater-admin']?.auth ?? {};
  const entry: CloudEntry = {
    name: 'headwater-admin',
    auth_type: 'password',
    auth: { auth_url, ...credentials },
    region_name: 'RegionOne',
  };
  const admin = createCloudClient({ entry, name: 'headwater-admin' });
  try {
    await furnishTenant(admin, clouds.clouds.headwater?.auth.password ?? '');
    const flavors = [
      { id: '1', name: 'm1.tiny', ram: 512, vcpus: 1, disk: 1 },
      { id: '2', name: 'm1.small', ram: 2048, vcpus: 1, disk: 20 },
      { id: '3', name: 'm1.medium', ram: 4096, vcpus: 2, disk: 40 },
    ];
    for (const flavor of flavors) {
      await admin.call({ service: 'compute', method: 'POST', path: '/flavors', body: { flavor }, accept: [409] });
    }
    await furnishImage(admin);
  } finally {
    await admin.close();
  }
}

async function furnishTenant(admin: CloudApi, password: string): Promise<void> {
  const find = async (collection: string, name: string): Promise<string | undefined> => {
    const { body } = await admin.call<Record<string, { id: string }[]>>({
      service: 'identity',
      method: 'GET',
      path: `/${collection}`,
      query: { name },
    });
    return body[collection]?.[0]?.id;
  };
  const make = async (collection: string, key: string, attributes: object): Promise<string> => {
    const { body } = await admin.call<Record<string, { id: string }>>({
      service: 'identity',
      method: 'POST',
      path: `/${collection}`,
      body: { [key]: attributes },
    });
    return body[key]?.id ?? '';
  };
  const project = (await find('projects', 'demo')) ?? (await make('projects', 'project', { name: 'demo' }));
  const user = (await find('users', 'demo')) ?? (await make('users', 'user', { name: 'demo', password }));
  const role = await find('roles', 'member');
  await admin.call({ service: 'identity', method: 'PUT', path: `/projects/${project}/users/${user}/roles/${role}` });
}

async function furnishImage(admin: CloudApi): Promise<void> {
  const listed = await admin.call<{ images: { id: string; status: string }[] }>({
    service: 'image',
    method: 'GET',
    path: '/images',
    query: { name: 'demo' },
  });
  let image = listed.body.images[0];
  if (image === undefined) {
    const body = { name: 'demo', visibility: 'public', disk_format: 'raw', container_format: 'bare' };
    image = (
      await admin.call<{ id: string; status: string }>({ service: 'image', method: 'POST', path: '/images', body })
    ).body;
  }
  if (image.status !== 'queued') return;
  await admin.call({
    service: 'image',
    method: 'PUT',
    path: `/images/${image.id}/file`,
    stream: Readable.from([Buffer.alloc(64 * 1024, 'headwater demo image\n')]),
    contentType: 'application/octet-stream',
  });
}

function welcome(url: string, cloudsFile: string, data_dir: string): string {
  return `
Headwater serves on ${url}, over two simulated clouds: zones east and west.
Its data is in ${data_dir}; Ctrl-C stops it, and \`npm start -- --reset\` starts over.

To use it, paste into another terminal:

  export OS_CLIENT_CONFIG_FILE=${cloudsFile}
  export OS_CLOUD=headwater

and then, for example:

  openstack availability zone list
  openstack network create net1
  openstack subnet create --network net1 --subnet-range 10.0.0.0/24 subnet1
  openstack server create --image demo --flavor m1.tiny --network net1 --availability-zone east --wait first
  openstack server list

\`--os-cloud headwater-admin\` is the administrator.
`;
}
