/** Simulated child clouds: whole OpenStack clouds in memory behind one HTTP port each, for tests and the demonstration. */
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { openConsole } from './console.ts';
import { computeService } from './compute.ts';
import { createHttp, type Reply, type SimFaults, type SimRequests } from './http.ts';
import { identityService } from './identity.ts';
import { seedIdentity } from './identity-token.ts';
import { fillImage, imageService, makeImage } from './image.ts';
import { networkService, seedExternalNetwork } from './network.ts';
import { vmStateOf } from './server.ts';
import { change, destroyServer } from './server-life.ts';
import { seedVolumeTypes, setVolumeStatus } from './volume.ts';
import { volumeService } from './volume-api.ts';
import { keepState, loadState } from './state-file.ts';
import {
  emptyState,
  nowInSeconds_ms,
  type Row,
  seconds,
  type SimCapacity,
  type SimNetworking,
  type SimState,
  type SimTiming,
  type World,
} from './world.ts';

export interface SimCloudOptions {
  readonly name: string;
  /** Default 127.0.0.1, and any free port. */
  readonly host?: string;
  readonly port?: number;
  /** The cloud's own availability zones, one compute host in each; default `['nova']`. */
  readonly zones?: readonly string[];
  /** Default 20 ms each. */
  readonly timing?: Partial<SimTiming>;
  /** Per zone; default 1000 vCPUs, 800 GB of memory, 600 TB of disk. */
  readonly capacity?: Partial<SimCapacity>;
  /** Default one, `public`, 172.24.4.0/24. */
  readonly externalNetworks?: readonly { readonly name: string; readonly cidr: string }[];
  /** Highest microversions, `{ compute: '2.93', volume: '3.70' }` by default (Zed's). */
  readonly maximumMicroversion?: { readonly compute?: string; readonly volume?: string };
  /** Default: all usual extensions, and agents that do not tell what they are wired to. */
  readonly networking?: Partial<SimNetworking>;
  readonly password?: string;
  readonly region?: string;
  /** True: a flavor `m1.tiny` (id 1) and a public image `cirros` are there from the start; default false. */
  readonly isFurnished?: boolean;
  /** Where the cloud is kept between runs; absent: nowhere. */
  readonly stateFile?: string;
}

export interface SimCloud {
  readonly name: string;
  readonly authUrl: string;
  /** The cloud's entry of a clouds.yaml. */
  readonly cloudsYamlEntry: {
    readonly auth: Readonly<
      Record<'auth_url' | 'username' | 'password' | 'project_name' | 'user_domain_name' | 'project_domain_name', string>
    >;
    readonly region_name: string;
  };
  readonly requests: SimRequests;
  readonly faults: SimFaults;
  /** May be changed between calls. */
  readonly timing: SimTiming;
  readonly state: SimState;
  /** Connections are refused from now on, open ones cut; what runs in the cloud goes on. */
  stop(): Promise<void>;
  /** Listens again on the same port. */
  start(): Promise<void>;
  /** Stops for good and drops all that was still to happen. */
  close(): Promise<void>;
  /** Behind the parent's back: the server shows this status (`ERROR` with the fault). Throws where there is none. */
  setServerStatus(id: string, status: string, fault?: { code: number; message: string }): void;
  /** Behind the parent's back: the server is deleted as by its owner. To leave no trace, delete it from `state.servers`. */
  deleteServer(id: string): void;
  /** Behind the parent's back: the volume shows this status. */
  setVolumeStatus(id: string, status: string): void;
}

const versionLinks = (href: string): Row[] => [{ rel: 'self', href }];

function versionDocuments(world: World): (path: string) => Reply | undefined {
  const root = world.root();
  const identity: Row = {
    id: 'v3.14',
    status: 'stable',
    updated: '2020-04-07T00:00:00Z',
    links: versionLinks(`${root}/identity/v3/`),
    'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.identity-v3+json' }],
  };
  const compute: Row = {
    id: 'v2.1',
    status: 'CURRENT',
    version: `2.${world.maximum.compute}`,
    min_version: '2.1',
    updated: '2013-07-23T11:33:21Z',
    links: versionLinks(`${root}/compute/v2.1/`),
  };
  const media = [{ base: 'application/json', type: 'application/vnd.openstack.compute+json;version=2.1' }];
  const volume: Row = {
    id: 'v3.0',
    status: 'CURRENT',
    version: `3.${world.maximum.volume}`,
    min_version: '3.0',
    updated: '2022-08-31T00:00:00Z',
    links: versionLinks(`${root}/volume/v3/`),
    'media-types': [{ base: 'application/json', type: 'application/vnd.openstack.volume+json;version=3' }],
  };
  const network: Row = { id: 'v2.0', status: 'CURRENT', links: versionLinks(`${root}/network/v2.0/`) };
  const images = ['v2.15', 'v2.9', 'v2.7', 'v2.6', 'v2.5', 'v2.4', 'v2.3', 'v2.2', 'v2.1', 'v2.0'].map((id, index) => ({
    id,
    status: index === 0 ? 'CURRENT' : 'SUPPORTED',
    links: versionLinks(`${root}/image/v2/`),
  }));
  const documents = new Map<string, Reply>([
    ['/identity', { status: 300, body: { versions: { values: [identity] } } }],
    ['/identity/v3', { status: 200, body: { version: identity } }],
    ['/compute', { status: 200, body: { versions: [compute] } }],
    ['/compute/v2.1', { status: 200, body: { version: { ...compute, 'media-types': media } } }],
    ['/volume', { status: 300, body: { versions: [volume] } }],
    ['/network', { status: 200, body: { versions: [network] } }],
    ['/image', { status: 300, body: { versions: images } }],
    ['/image/versions', { status: 200, body: { versions: images } }],
  ]);
  return (path) => documents.get(path.replace(/\/$/, ''));
}

function createWorld(options: SimCloudOptions, pending: Set<NodeJS.Timeout>, root: () => string): World {
  const minor = (text: string | undefined, usual: number): number =>
    text === undefined ? usual : Number(text.split('.')[1]);
  return {
    name: options.name,
    region: options.region ?? 'RegionOne',
    zones: options.zones ?? ['nova'],
    timing: { boot_ms: 20, action_ms: 20, volume_ms: 20, ...options.timing },
    capacity: { vcpus: 1000, memory_mb: 800_000, disk_gb: 600_000, ...options.capacity },
    maximum: {
      compute: minor(options.maximumMicroversion?.compute, 93),
      volume: minor(options.maximumMicroversion?.volume, 70),
    },
    networking: { without: [], beside: [], physicalNetworks: undefined, ...options.networking },
    state: emptyState(),
    root,
    later: (delay_ms, step) => {
      const timer = setTimeout(() => {
        pending.delete(timer);
        step();
      }, delay_ms);
      // A forgotten simulator must not keep a test process alive.
      timer.unref();
      pending.add(timer);
    },
  };
}

function furnish(world: World, projectId: string): void {
  const common = { ephemeral: 0, swap: 0, rxtx_factor: 1, is_public: true, description: null, extra_specs: {} };
  world.state.flavors.set('1', { id: '1', name: 'm1.tiny', ram: 512, vcpus: 1, disk: 1, ...common });
  const given = { name: 'cirros', visibility: 'public', disk_format: 'raw', container_format: 'bare' };
  fillImage(makeImage(world, projectId, given), Buffer.from(`a small image of ${world.name}\n`));
}

function seedCloud(world: World, options: SimCloudOptions, password: string): void {
  const { project } = seedIdentity(world, password);
  for (const one of options.externalNetworks ?? [{ name: 'public', cidr: '172.24.4.0/24' }]) {
    seedExternalNetwork(world, project.id, one.name, one.cidr);
  }
  seedVolumeTypes(world);
  if (options.isFurnished === true) furnish(world, project.id);
}

/** Starts one simulated cloud and resolves when it listens; rejects where the port is taken. */
export async function createSimCloud(options: SimCloudOptions): Promise<SimCloud> {
  const host = options.host ?? '127.0.0.1';
  const password = options.password ?? 'simulated';
  let port = options.port ?? 0;
  const pending = new Set<NodeJS.Timeout>();
  const sockets = new Set<Socket>();
  const world = createWorld(options, pending, () => `http://${host}:${port}`);
  const services = [
    identityService(world),
    computeService(world),
    networkService(world),
    volumeService(world),
    imageService(world),
  ];
  const isKept = options.stateFile !== undefined && loadState(options.stateFile, world.state);
  if (!isKept) seedCloud(world, options, password);
  const saveLast = options.stateFile === undefined ? undefined : keepState(options.stateFile, world.state);
  // The documents name the port, which is known only once the cloud listens.
  const http = createHttp(world, services, (path) => versionDocuments(world)(path));

  let listener: HttpServer | undefined;
  const start = async (): Promise<void> => {
    if (listener !== undefined) return;
    const created = http.createListener();
    created.keepAliveTimeout = 60_000;
    created.on('upgrade', (request, socket) => openConsole(world, request, socket));
    created.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      created.once('error', reject);
      created.listen(port, host, resolve);
    });
    port = (created.address() as AddressInfo).port;
    listener = created;
  };
  const stop = async (): Promise<void> => {
    const stopping = listener;
    if (stopping === undefined) return;
    listener = undefined;
    const closed = new Promise<void>((resolve) => stopping.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await start();

  const serverOf = (id: string) => {
    const server = world.state.servers.get(id);
    if (server === undefined) throw new Error(`no server ${id} in ${world.name}`);
    return server;
  };
  const authUrl = `${world.root()}/identity/v3`;
  return {
    name: options.name,
    authUrl,
    cloudsYamlEntry: {
      auth: {
        auth_url: authUrl,
        username: 'admin',
        password,
        project_name: 'admin',
        user_domain_name: 'Default',
        project_domain_name: 'Default',
      },
      region_name: world.region,
    },
    requests: http.requests,
    faults: http.faults,
    timing: world.timing,
    state: world.state,
    stop,
    start,
    close: async () => {
      await stop();
      saveLast?.();
      for (const timer of pending) clearTimeout(timer);
      pending.clear();
    },
    setServerStatus: (id, status, fault) => {
      const shown = fault === undefined ? undefined : { ...fault, created: seconds(nowInSeconds_ms()) };
      change(serverOf(id), {
        vmState: vmStateOf(status),
        taskState: null,
        powerState: status === 'ACTIVE' ? 1 : 4,
        fault: shown,
      });
    },
    deleteServer: (id) => destroyServer(world, serverOf(id)),
    setVolumeStatus: (id, status) => {
      const volume = world.state.volumes.get(id);
      if (volume === undefined) throw new Error(`no volume ${id} in ${world.name}`);
      setVolumeStatus(volume, status);
    },
  };
}
