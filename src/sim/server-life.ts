/** The life of a simulated server: accepted, scheduled, booted, given volumes and ports, deleted. */
import { bindPort, dropPort, makePort, serverPorts, setPortStatus, unbindPort } from './network-port.ts';
import type { Flavor, Server, ServerFault } from './server.ts';
import { attachVolume, deleteVolume, detachVolume, makeVolume, setVolumeStatus } from './volume.ts';
import { nowInSeconds_ms, seconds, SimFault, textOf, type World } from './world.ts';

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

export function schedule(world: World, server: Server, wantedHost: string | undefined): void {
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
  const isWithVolumes = server.devices.some(({ isLocal }) => !isLocal);
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
      if (device.isLocal || device.volumeId !== undefined) continue;
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
  const volumes = server.devices
    .filter(({ isLocal }) => !isLocal)
    .map((one) => world.state.volumes.get(one.volumeId ?? ''));
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
