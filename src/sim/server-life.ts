/** The life of a simulated server: accepted, scheduled, booted, given volumes and ports, deleted. */
import type { Call } from './http.ts';
import { mayUseImage } from './image.ts';
import { bindPort, dropPort, makePort, portsOf, serverPorts, setPortStatus, unbindPort } from './network-port.ts';
import type { BlockDevice, Flavor, Server, ServerFault, WantedPort } from './server.ts';
import { attachVolume, deleteVolume, detachVolume, makeVolume, reserveVolume, setVolumeStatus } from './volume.ts';
import {
  isTrue,
  type Json,
  listOf,
  newId,
  nowInSeconds_ms,
  type Row,
  rowOf,
  seconds,
  SimFault,
  textMap,
  textOf,
  textsOf,
  type World,
} from './world.ts';

export const default_compute_quota: Readonly<Record<string, number>> = {
  instances: 10,
  cores: 20,
  ram: 51_200,
  key_pairs: 100,
  metadata_items: 128,
  server_groups: 10,
  server_group_members: 10,
};
// Nova's default overcommit of CPUs; memory and disk are as they are.
const cpu_allocation_ratio = 16;
const volume_poll_ms = 10;

let lastNumber = 0;

/** Changes a server and its `updated` time, to the second as Nova's. */
export function change(server: Server, fields: Partial<Server>): void {
  Object.assign(server, fields, { updatedAt_ms: nowInSeconds_ms() });
}

/** Fails a server the way Nova shows it. */
export function fail(server: Server, code: number, message: string, details = ''): void {
  const fault: ServerFault = { code, message, created: seconds(Date.now()), details };
  change(server, { vmState: 'error', taskState: null, fault });
}

/** What the project's servers use, and what it may. */
export function computeUsage(
  world: World,
  projectId: string,
): { limit: Record<string, number>; used: Record<string, number> } {
  const mine = [...world.state.servers.values()].filter((one) => one.projectId === projectId && !one.isDeleted);
  return {
    limit: { ...default_compute_quota, ...world.state.computeQuotas.get(projectId) },
    used: {
      instances: mine.length,
      cores: mine.reduce((sum, one) => sum + one.flavor.vcpus, 0),
      ram: mine.reduce((sum, one) => sum + one.flavor.ram, 0),
    },
  };
}

function checkQuota(world: World, projectId: string, flavor: Flavor): void {
  const { limit, used } = computeUsage(world, projectId);
  const wanted: Record<string, number> = { instances: 1, cores: flavor.vcpus, ram: flavor.ram };
  const over = Object.keys(wanted).filter(
    (name) => (limit[name] ?? -1) >= 0 && (used[name] ?? 0) + (wanted[name] ?? 0) > (limit[name] ?? 0),
  );
  if (over.length === 0) return;
  const say = (from: Record<string, number>): string => over.map((name) => String(from[name])).join(', ');
  throw new SimFault(
    403,
    `Quota exceeded for ${over.join(', ')}: Requested ${say(wanted)}, but already used ${say(used)} of ${say(limit)} ${over.join(', ')}`,
  );
}

function checkImage(world: World, call: Call, imageId: string): void {
  const image = world.state.images.get(imageId);
  if (image === undefined || !mayUseImage(image, call.projectId, call.isAdmin))
    throw new SimFault(400, 'Can not find requested image');
  if (image.fields['status'] !== 'active') throw new SimFault(400, `Image ${imageId} is not active.`);
}

function readNetworks(world: World, call: Call, asked: Json | undefined): WantedPort[] {
  if (asked === 'none') return [];
  if (asked === undefined || asked === 'auto') {
    if (call.minor >= 37 && asked === undefined) {
      throw new SimFault(400, "Invalid input for field/attribute server. 'networks' is a required property");
    }
    const mine = [...world.state.networks.values()].filter(
      (one) => one['project_id'] === call.projectId && one['router:external'] !== true,
    );
    if (mine.length > 1)
      throw new SimFault(409, 'Multiple possible networks found, use a Network ID to be more specific.');
    return mine.map((one) => ({ portId: undefined, networkId: textOf(one['id']), fixedIp: undefined, tag: null }));
  }
  return listOf(asked).map((entry) => {
    const { port, uuid, fixed_ip, tag } = rowOf(entry);
    const portId = textOf(port);
    if (portId !== '') {
      const found = world.state.ports.get(portId);
      if (found === undefined) throw new SimFault(400, `Port id ${portId} could not be found.`);
      if (found.device_id !== '') throw new SimFault(409, `Port ${portId} is still in use.`);
      return { portId, networkId: found.network_id, fixedIp: undefined, tag: textOf(tag) || null };
    }
    const network = world.state.networks.get(textOf(uuid));
    if (network === undefined) throw new SimFault(400, `Network ${textOf(uuid)} could not be found.`);
    const hasSubnet = [...world.state.subnets.values()].some((one) => one.network_id === network['id']);
    if (!hasSubnet) throw new SimFault(400, `Network ${textOf(uuid)} requires a subnet in order to boot instances on.`);
    const address = textOf(fixed_ip);
    if (
      address !== '' &&
      portsOf(world, textOf(uuid)).some((one) => one.fixed_ips.some((ip) => ip.ip_address === address))
    ) {
      throw new SimFault(400, `Fixed IP address ${address} is already in use on instance.`);
    }
    return { portId: undefined, networkId: textOf(uuid), fixedIp: address || undefined, tag: textOf(tag) || null };
  });
}

function readDevices(world: World, call: Call, given: Row): BlockDevice[] {
  const devices: BlockDevice[] = [];
  for (const [index, entry] of listOf(given['block_device_mapping_v2']).map(rowOf).entries()) {
    const source = textOf(entry['source_type']);
    const isRoot = String(entry['boot_index'] ?? '') === '0';
    if (source === 'blank' || (source === 'image' && entry['destination_type'] !== 'volume')) {
      if (source === 'image') continue;
    }
    const uuid = textOf(entry['uuid']);
    const invalid = (what: string): SimFault =>
      new SimFault(400, `Block Device Mapping is Invalid: failed to get ${what} ${uuid}.`);
    if (source === 'volume') {
      const volume = world.state.volumes.get(uuid);
      if (volume === undefined) throw invalid('volume');
      if (isRoot && !volume.bootable) throw new SimFault(400, `Block Device ${uuid} is not bootable.`);
    }
    if (source === 'snapshot' && !world.state.snapshots.has(uuid)) throw invalid('snapshot');
    if (source === 'image') {
      checkImage(world, call, uuid);
      if (Number(entry['volume_size'] ?? 0) <= 0) {
        throw new SimFault(
          400,
          'Block Device Mapping is Invalid: Images with destination_type "volume" need to have a non-zero size specified',
        );
      }
    }
    devices.push({
      source_type: source,
      uuid,
      volumeId: source === 'volume' ? uuid : undefined,
      size:
        entry['volume_size'] === undefined || entry['volume_size'] === null ? undefined : Number(entry['volume_size']),
      volume_type: textOf(entry['volume_type']),
      isRoot,
      isDeletedWithServer: isTrue(entry['delete_on_termination']),
      tag: textOf(entry['tag']) || null,
      id: newId(),
      device:
        textOf(entry['device_name']) || `/dev/sd${String.fromCharCode(97 + index + (isRoot || index > 0 ? 0 : 1))}`,
    });
  }
  for (const one of devices) {
    const volume = one.volumeId === undefined ? undefined : world.state.volumes.get(one.volumeId);
    if (volume !== undefined) reserveVolume(volume);
  }
  return devices;
}

/** Accepts a boot: checks all that Nova's API checks, stores the server in BUILD, and starts its life. */
export function acceptServer(world: World, call: Call, given: Row): Server {
  const name = textOf(given['name']);
  if (given['name'] === undefined) {
    throw new SimFault(
      400,
      `Invalid input for field/attribute server. Value: ${JSON.stringify(given)}. 'name' is a required property`,
    );
  }
  if (name.trim() === '' || name.length > 255)
    throw new SimFault(400, `Invalid input for field/attribute name. Value: ${name}.`);
  const flavor = world.state.flavors.get(textOf(given['flavorRef']));
  if (flavor === undefined) throw new SimFault(400, `Flavor ${textOf(given['flavorRef'])} could not be found.`);
  const imageId = textOf(given['imageRef']).split('/').at(-1) ?? '';
  if (imageId !== '') checkImage(world, call, imageId);
  else if (listOf(given['block_device_mapping_v2']).length === 0) {
    throw new SimFault(400, 'Invalid imageRef provided.');
  }
  const keyName = textOf(given['key_name']) || null;
  if (keyName !== null && !world.state.keypairs.has(`${call.token.user.id}/${keyName}`))
    throw new SimFault(400, 'Invalid key_name provided.');
  const [wantedZone, wantedHost] = textOf(given['availability_zone']).split(':');
  if (wantedZone !== undefined && wantedZone !== '' && !world.zones.includes(wantedZone)) {
    throw new SimFault(400, 'The requested availability zone is not available');
  }
  const groups = listOf(given['security_groups']).map((one) => textOf(rowOf(one)['name']));
  for (const one of groups) {
    const isKnown =
      one === 'default' ||
      [...world.state.securityGroups.values()].some(
        (group) => (group['name'] === one && group['project_id'] === call.projectId) || group['id'] === one,
      );
    if (!isKnown) throw new SimFault(400, `Unable to find security_group with name or id '${one}'`);
  }
  const tags = textsOf(given['tags']);
  if (tags.length > 0 && call.minor < 52) {
    throw new SimFault(
      400,
      `Invalid input for field/attribute server. Additional properties are not allowed ('tags' was unexpected)`,
    );
  }
  const wantedPorts = readNetworks(world, call, given['networks']);
  checkQuota(world, call.projectId, flavor);
  lastNumber += 1;
  const now = nowInSeconds_ms();
  const server: Server = {
    id: newId(),
    number: lastNumber,
    projectId: call.projectId,
    userId: call.token.user.id,
    name,
    description: textOf(given['description']) || (call.minor >= 19 ? null : name),
    metadata: textMap(given['metadata']),
    tags,
    flavor: structuredClone(flavor),
    beforeResize: undefined,
    imageId,
    keyName,
    userData: textOf(given['user_data']) || null,
    hostname: textOf(given['hostname']) || name.toLowerCase().replaceAll(/[^a-z0-9.-]+/g, '-'),
    wantedZone: wantedZone === '' ? undefined : wantedZone,
    zone: '',
    host: null,
    vmState: 'building',
    taskState: 'scheduling',
    powerState: 0,
    createdAt_ms: now,
    updatedAt_ms: now,
    launchedAt_ms: undefined,
    terminatedAt_ms: undefined,
    isDeleted: false,
    isLocked: false,
    lockedReason: null,
    securityGroups: groups,
    isConfigDrive: isTrue(given['config_drive']),
    wantedPorts,
    ownPorts: new Set(),
    devices: readDevices(world, call, given),
    fault: undefined,
    actions: [],
  };
  world.state.servers.set(server.id, server);
  world.later(world.timing.boot_ms * 0.2, () => schedule(world, server, wantedHost));
  return server;
}

const isBuilding = (world: World, server: Server): boolean =>
  world.state.servers.get(server.id) === server && server.vmState === 'building' && server.taskState !== 'deleting';

/** What is in use on a host. */
export function hostUsage(
  world: World,
  host: string,
): { vcpus: number; memory_mb: number; disk_gb: number; servers: number } {
  const there = [...world.state.servers.values()].filter(
    (one) => one.host === host && !one.isDeleted && one.vmState !== 'shelved_offloaded',
  );
  const sum = (value: (flavor: Flavor) => number): number => there.reduce((total, one) => total + value(one.flavor), 0);
  return {
    vcpus: sum((one) => one.vcpus),
    memory_mb: sum((one) => one.ram),
    disk_gb: sum((one) => one.disk),
    servers: there.length,
  };
}

function schedule(world: World, server: Server, wantedHost: string | undefined): void {
  if (!isBuilding(world, server)) return;
  const { flavor } = server;
  const { capacity } = world;
  const zone = (server.wantedZone === undefined ? world.zones : [server.wantedZone]).find((one) => {
    const host = `${world.name}-${one}-1`;
    const disabled = world.state.computeServices.get(host)?.['status'] === 'disabled';
    const used = hostUsage(world, host);
    const fits =
      used.vcpus + flavor.vcpus <= capacity.vcpus * cpu_allocation_ratio &&
      used.memory_mb + flavor.ram <= capacity.memory_mb &&
      used.disk_gb + flavor.disk <= capacity.disk_gb;
    return !disabled && fits && (wantedHost ?? host) === host;
  });
  if (zone === undefined) {
    fail(server, 500, 'No valid host was found. There are not enough hosts available.');
    releaseVolumes(world, server);
    return;
  }
  change(server, { host: `${world.name}-${zone}-1`, zone, taskState: 'networking' });
  try {
    wire(world, server);
  } catch (error) {
    fail(
      server,
      500,
      `Build of instance ${server.id} aborted: ${error instanceof Error ? error.message : String(error)}`,
    );
    releaseVolumes(world, server);
    return;
  }
  const isWithVolumes = server.devices.length > 0;
  world.later(world.timing.boot_ms * 0.3, () => {
    if (!isBuilding(world, server)) return;
    change(server, { taskState: isWithVolumes ? 'block_device_mapping' : 'spawning' });
    if (isWithVolumes) giveVolumes(world, server);
    else world.later(world.timing.boot_ms * 0.5, () => spawn(world, server));
  });
}

/** Binds the caller's ports and makes those that Nova is to make. */
function wire(world: World, server: Server): void {
  const host = server.host ?? '';
  for (const wanted of server.wantedPorts) {
    if (wanted.portId !== undefined) {
      const port = world.state.ports.get(wanted.portId);
      if (port === undefined) throw new SimFault(400, `Port id ${wanted.portId} could not be found.`);
      if (port.device_id !== '' && port.device_id !== server.id)
        throw new SimFault(409, `Port ${port.id} is still in use.`);
      bindPort(port, server.id, host, server.zone);
      continue;
    }
    addPort(world, server, wanted.networkId, wanted.fixedIp);
  }
}

/** Makes a port of Nova's own on the network for the server. Gives its id. */
export function addPort(world: World, server: Server, networkId: string, fixedIp: string | undefined): string {
  const groups = [...world.state.securityGroups.values()].filter((one) =>
    server.securityGroups.some(
      (name) => one['id'] === name || (one['name'] === name && one['project_id'] === server.projectId),
    ),
  );
  const port = makePort(world, server.projectId, {
    network_id: networkId,
    ...(fixedIp === undefined ? {} : { fixed_ips: [{ ip_address: fixedIp }] }),
    ...(groups.length === 0 ? {} : { security_groups: groups.map((one) => textOf(one['id'])) }),
  });
  bindPort(port, server.id, server.host ?? '', server.zone);
  server.ownPorts.add(port.id);
  return port.id;
}

function giveVolumes(world: World, server: Server): void {
  try {
    for (const device of server.devices) {
      if (device.volumeId !== undefined) continue;
      const source = { image: 'imageRef', snapshot: 'snapshot_id' }[device.source_type];
      const made = makeVolume(world, server.projectId, server.userId, true, {
        ...(source === undefined ? {} : { [source]: device.uuid }),
        ...(device.size === undefined ? {} : { size: device.size }),
        volume_type: device.volume_type,
        availability_zone: server.zone,
        name: '',
        description: '',
      });
      device.volumeId = made.id;
    }
  } catch (error) {
    fail(
      server,
      500,
      `Build of instance ${server.id} aborted: ${error instanceof Error ? error.message : String(error)}`,
    );
    return;
  }
  awaitVolumes(world, server);
}

function awaitVolumes(world: World, server: Server): void {
  if (!isBuilding(world, server)) return;
  const volumes = server.devices.map((one) => world.state.volumes.get(one.volumeId ?? ''));
  if (volumes.some((one) => one === undefined || one.status === 'error')) {
    fail(server, 500, `Build of instance ${server.id} aborted: Volume is not ready.`);
    return;
  }
  if (volumes.some((one) => one?.status === 'creating')) {
    world.later(volume_poll_ms, () => awaitVolumes(world, server));
    return;
  }
  for (const device of server.devices) {
    const volume = world.state.volumes.get(device.volumeId ?? '');
    if (volume !== undefined) attachVolume(volume, server.id, device.device, server.host ?? '');
  }
  change(server, { taskState: 'spawning' });
  world.later(world.timing.boot_ms * 0.5, () => spawn(world, server));
}

function spawn(world: World, server: Server): void {
  if (!isBuilding(world, server)) return;
  for (const port of serverPorts(world, server.id)) setPortStatus(port, 'ACTIVE');
  change(server, { vmState: 'active', taskState: null, powerState: 1, launchedAt_ms: nowInSeconds_ms() });
}

function releaseVolumes(world: World, server: Server): void {
  for (const device of server.devices) {
    const volume = world.state.volumes.get(device.volumeId ?? '');
    if (volume === undefined) continue;
    if (volume.status === 'reserved') setVolumeStatus(volume, volume.attachments.length > 0 ? 'in-use' : 'available');
    else if (volume.attachments.some((one) => one.server_id === server.id)) detachVolume(volume, server.id);
    if (device.isDeletedWithServer && volume.status === 'available') {
      try {
        deleteVolume(world, volume);
      } catch (error) {
        // Nova logs it and leaves a volume that can't be deleted (it has snapshots).
        if (!(error instanceof SimFault)) throw error;
      }
    }
  }
}

/** Takes a server down at once, with all that Nova cleans up: ports, volumes; it stays listed as DELETED. */
export function destroyServer(world: World, server: Server): void {
  if (server.isDeleted) return;
  for (const port of serverPorts(world, server.id)) {
    if (server.ownPorts.has(port.id)) dropPort(world, port);
    else unbindPort(port);
  }
  releaseVolumes(world, server);
  change(server, {
    isDeleted: true,
    vmState: 'deleted',
    taskState: null,
    powerState: 0,
    metadata: {},
    tags: [],
    terminatedAt_ms: nowInSeconds_ms(),
  });
}

/** `DELETE /servers/{id}`: `deleting` for a while; a server not yet scheduled goes without a trace, as in Nova. */
export function deleteServer(world: World, server: Server): void {
  if (server.taskState === 'deleting') return;
  if (server.host === null && server.vmState === 'building') {
    releaseVolumes(world, server);
    world.state.servers.delete(server.id);
    return;
  }
  change(server, { taskState: 'deleting' });
  world.later(world.timing.action_ms, () => destroyServer(world, server));
}
