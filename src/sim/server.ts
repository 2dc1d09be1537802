/** Simulated Nova's servers: what is stored of one, and how it shows at each microversion. */
import { createHash } from 'node:crypto';
import type { Call } from './http.ts';
import { serverPorts } from './network-port.ts';
import { micros, type Row, seconds, SimFault, textOf, type World } from './world.ts';

export interface Flavor {
  readonly id: string;
  name: string;
  ram: number;
  vcpus: number;
  disk: number;
  ephemeral: number;
  swap: number;
  rxtx_factor: number;
  is_public: boolean;
  description: string | null;
  extra_specs: Record<string, string>;
}

export interface Keypair {
  readonly name: string;
  readonly user_id: string;
  readonly type: string;
  readonly public_key: string;
  readonly fingerprint: string;
  readonly createdAt_ms: number;
}

export interface BlockDevice {
  readonly source_type: string;
  /** Volume, snapshot or image to take; the volume once there is one. */
  uuid: string;
  volumeId: string | undefined;
  readonly size: number | undefined;
  readonly volume_type: string;
  readonly isRoot: boolean;
  isDeletedWithServer: boolean;
  readonly tag: string | null;
  /** A disk of the host's own, of which there is no volume. */
  readonly isLocal: boolean;
  /** Of a local disk: `swap`, or a file system. */
  readonly guest_format: string | null;
  readonly id: string;
  device: string;
}

/** A network asked for at boot: a port of the caller's own, or one that Nova makes. */
export interface WantedPort {
  readonly portId: string | undefined;
  readonly networkId: string;
  readonly fixedIp: string | undefined;
  readonly tag: string | null;
}

export interface ServerFault {
  readonly code: number;
  readonly message: string;
  readonly created: string;
  readonly details?: string;
}

export interface Server {
  readonly id: string;
  readonly number: number;
  readonly projectId: string;
  readonly userId: string;
  name: string;
  description: string | null;
  metadata: Record<string, string>;
  tags: string[];
  flavor: Flavor;
  /** The flavor before a resize that is not yet confirmed, and the state to come back to. */
  beforeResize: { flavor: Flavor; vmState: string } | undefined;
  imageId: string;
  readonly keyName: string | null;
  readonly userData: string | null;
  readonly hostname: string;
  readonly wantedZone: string | undefined;
  zone: string;
  /** Null until scheduled. */
  host: string | null;
  vmState: string;
  taskState: string | null;
  powerState: number;
  readonly createdAt_ms: number;
  updatedAt_ms: number;
  launchedAt_ms: number | undefined;
  terminatedAt_ms: number | undefined;
  isDeleted: boolean;
  isLocked: boolean;
  lockedReason: string | null;
  readonly securityGroups: string[];
  readonly isConfigDrive: boolean;
  readonly wantedPorts: WantedPort[];
  /** Ports that Nova made and takes with the server. */
  readonly ownPorts: Set<string>;
  readonly devices: BlockDevice[];
  fault: ServerFault | undefined;
  readonly actions: {
    readonly action: string;
    readonly requestId: string;
    readonly at_ms: number;
    readonly userId: string;
  }[];
}

const task_statuses: Record<string, Record<string, string>> = {
  active: {
    rebooting: 'REBOOT',
    rebooting_hard: 'HARD_REBOOT',
    updating_password: 'PASSWORD',
    rebuilding: 'REBUILD',
    rebuild_spawning: 'REBUILD',
    migrating: 'MIGRATING',
    resize_prep: 'RESIZE',
    resize_migrating: 'RESIZE',
    resize_migrated: 'RESIZE',
    resize_finish: 'RESIZE',
  },
  stopped: {
    resize_prep: 'RESIZE',
    resize_migrating: 'RESIZE',
    resize_migrated: 'RESIZE',
    resize_finish: 'RESIZE',
    rebuilding: 'REBUILD',
  },
  resized: { resize_reverting: 'REVERT_RESIZE' },
  error: { rebuilding: 'REBUILD', rebuild_spawning: 'REBUILD' },
};
const vm_statuses: Record<string, string> = {
  active: 'ACTIVE',
  building: 'BUILD',
  stopped: 'SHUTOFF',
  resized: 'VERIFY_RESIZE',
  paused: 'PAUSED',
  suspended: 'SUSPENDED',
  rescued: 'RESCUE',
  error: 'ERROR',
  deleted: 'DELETED',
  shelved: 'SHELVED',
  shelved_offloaded: 'SHELVED_OFFLOADED',
};

/** The status that Nova makes of vm_state and task_state. */
export const statusOf = (server: Server): string =>
  task_statuses[server.vmState]?.[server.taskState ?? ''] ?? vm_statuses[server.vmState] ?? 'UNKNOWN';

/** The vm_state that shows as this status. */
export const vmStateOf = (status: string): string =>
  Object.entries(vm_statuses).find(([, one]) => one === status)?.[0] ?? 'active';

export const serverLinks = (world: World, id: string): Row[] => [
  { rel: 'self', href: `${world.root()}/compute/v2.1/servers/${id}` },
  { rel: 'bookmark', href: `${world.root()}/compute/servers/${id}` },
];

/** `{ network: [{ addr, version, ... }] }` from the ports that the server holds, floating addresses included. */
export function addressesOf(world: World, server: Server): Row {
  const addresses: Record<string, Row[]> = {};
  for (const port of server.host === null || server.isDeleted ? [] : serverPorts(world, server.id)) {
    const name = textOf(world.state.networks.get(port.network_id)?.['name']);
    const list = (addresses[name] ??= []);
    const entry = (addr: string, type: string): Row => ({
      version: addr.includes(':') ? 6 : 4,
      addr,
      'OS-EXT-IPS:type': type,
      'OS-EXT-IPS-MAC:mac_addr': port.mac_address,
    });
    for (const one of port.fixed_ips) list.push(entry(one.ip_address, 'fixed'));
    for (const floating of world.state.floatingips.values()) {
      if (floating['port_id'] === port.id) list.push(entry(textOf(floating['floating_ip_address']), 'floating'));
    }
  }
  return addresses;
}

function flavorView(
  world: World,
  call: Call,
  { id, name, ram, vcpus, disk, ephemeral, swap, extra_specs }: Flavor,
): Row {
  if (call.minor < 47) return { id, links: [{ rel: 'bookmark', href: `${world.root()}/compute/flavors/${id}` }] };
  return { vcpus, ram, disk, ephemeral, swap, original_name: name, extra_specs: { ...extra_specs } };
}

function groupNames(world: World, server: Server): Row[] {
  const ids = new Set(serverPorts(world, server.id).flatMap((port) => port.security_groups));
  const names = [...ids].map((id) => textOf(world.state.securityGroups.get(id)?.['name']));
  return [...new Set(names)].filter((name) => name !== '').map((name) => ({ name }));
}

/** One server as `GET /servers/{id}` or a detail list shows it at the call's microversion. */
export function serverView(world: World, call: Call, server: Server): Row {
  const { minor } = call;
  const time = (at_ms: number | undefined): string | null => (at_ms === undefined ? null : micros(at_ms));
  const root = server.devices.find((one) => one.isRoot);
  const view: Row = {
    id: server.id,
    name: server.name,
    status: statusOf(server),
    tenant_id: server.projectId,
    user_id: server.userId,
    metadata: { ...server.metadata },
    hostId:
      server.host === null
        ? ''
        : createHash('sha224')
            .update(server.projectId + server.host)
            .digest('hex'),
    image:
      server.imageId === ''
        ? ''
        : {
            id: server.imageId,
            links: [{ rel: 'bookmark', href: `${world.root()}/compute/images/${server.imageId}` }],
          },
    flavor: flavorView(world, call, server.flavor),
    created: seconds(server.createdAt_ms),
    updated: seconds(server.updatedAt_ms),
    addresses: addressesOf(world, server),
    accessIPv4: '',
    accessIPv6: '',
    links: serverLinks(world, server.id),
    'OS-DCF:diskConfig': 'MANUAL',
  };
  const status = textOf(view['status']);
  if (server.fault !== undefined && (status === 'ERROR' || status === 'DELETED')) {
    const { details, ...fault } = server.fault;
    view['fault'] = call.isAdmin && details !== undefined ? { ...fault, details } : fault;
  }
  if (['ACTIVE', 'BUILD', 'REBUILD', 'RESIZE', 'VERIFY_RESIZE', 'MIGRATING'].includes(status)) view['progress'] = 0;
  Object.assign(view, {
    'OS-EXT-AZ:availability_zone': server.zone,
    config_drive: server.isConfigDrive ? 'True' : '',
    key_name: server.keyName,
    'OS-SRV-USG:launched_at': time(server.launchedAt_ms),
    'OS-SRV-USG:terminated_at': time(server.terminatedAt_ms),
  });
  const groups = groupNames(world, server);
  if (groups.length > 0) view['security_groups'] = groups;
  if (call.isAdmin) {
    Object.assign(view, {
      'OS-EXT-SRV-ATTR:host': server.host,
      'OS-EXT-SRV-ATTR:instance_name': `instance-${server.number.toString(16).padStart(8, '0')}`,
      'OS-EXT-SRV-ATTR:hypervisor_hostname': server.host,
    });
    if (minor >= 3) {
      Object.assign(view, {
        'OS-EXT-SRV-ATTR:reservation_id': `r-${server.id.slice(0, 8)}`,
        'OS-EXT-SRV-ATTR:launch_index': 0,
        'OS-EXT-SRV-ATTR:hostname': server.hostname,
        'OS-EXT-SRV-ATTR:kernel_id': '',
        'OS-EXT-SRV-ATTR:ramdisk_id': '',
        'OS-EXT-SRV-ATTR:root_device_name': server.host === null ? null : (root?.device ?? '/dev/sda'),
        'OS-EXT-SRV-ATTR:user_data': server.userData,
      });
    }
  }
  const volumes = server.isDeleted ? [] : server.devices.filter((one) => one.volumeId !== undefined);
  Object.assign(view, {
    'OS-EXT-STS:task_state': server.taskState,
    'OS-EXT-STS:vm_state': server.vmState,
    'OS-EXT-STS:power_state': server.powerState,
    'os-extended-volumes:volumes_attached': volumes.map((one) =>
      minor >= 3
        ? { id: one.volumeId ?? '', delete_on_termination: one.isDeletedWithServer }
        : { id: one.volumeId ?? '' },
    ),
  });
  if (minor >= 9) view['locked'] = server.isLocked;
  if (minor >= 73) view['locked_reason'] = server.lockedReason;
  if (minor >= 19) view['description'] = server.description;
  if (minor >= 26) view['tags'] = [...server.tags];
  if (minor >= 63) view['trusted_image_certificates'] = null;
  if (minor >= 16 && call.isAdmin) view['host_status'] = server.host === null || server.isDeleted ? '' : 'UP';
  if (minor >= 71 && call.params['id'] !== undefined) view['server_groups'] = [];
  if (minor >= 90) view['OS-EXT-SRV-ATTR:hostname'] = server.hostname;
  return view;
}

const missing = (id: string): SimFault => new SimFault(404, `Instance ${id} could not be found.`);

/** The server that the path names, where the caller may see it; Nova's 404 otherwise. */
export function obtainServer(world: World, call: Call): Server {
  const id = call.params['id'] ?? '';
  const server = world.state.servers.get(id);
  if (server === undefined || server.isDeleted || !(call.isAdmin || server.projectId === call.projectId))
    throw missing(id);
  return server;
}
