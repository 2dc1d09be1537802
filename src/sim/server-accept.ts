/** What Nova checks before it accepts a boot. */
import type { Call } from './http.ts';
import { mayUseImage } from './image.ts';
import { portsOf } from './network-port.ts';
import type { BlockDevice, Flavor, Server, WantedPort } from './server.ts';
import { reserveVolume } from './volume.ts';
import {
  isTrue,
  type Json,
  listOf,
  newId,
  nowInSeconds_ms,
  type Row,
  rowOf,
  SimFault,
  textMap,
  textOf,
  textsOf,
  type World,
} from './world.ts';
import { computeUsage, schedule } from './server-life.ts';

let lastNumber = 0;

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
      isLocal: source === 'blank' && entry['destination_type'] !== 'volume',
      guest_format: textOf(entry['guest_format']) || null,
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
