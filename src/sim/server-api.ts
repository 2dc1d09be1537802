/** Simulated Nova's servers API: lists, create, update, tags, metadata, volume attachments, interfaces. */
import { type Call, type Reply, route, section, type Service } from './http.ts';
import { bindPort, dropPort, portMissing, serverPorts, setPortStatus, unbindPort } from './network-port.ts';
import { page, pageBody, sorted } from './paging.ts';
import { type Server, serverLinks, serverView, statusOf } from './server.ts';
import { act, requireState } from './server-action.ts';
import { acceptServer, addPort, change, deleteServer } from './server-life.ts';
import { attachVolume, detachVolume, reserveVolume, setVolumeStatus } from './volume.ts';
import {
  isTrue,
  micros,
  newId,
  randomText,
  type Row,
  rowOf,
  SimFault,
  textMap,
  textOf,
  textsOf,
  type World,
} from './world.ts';

const missing = (id: string): SimFault => new SimFault(404, `Instance ${id} could not be found.`);
const markerMissing = (id: string): SimFault => new SimFault(400, `marker [${id}] not found`);

function obtain(world: World, call: Call): Server {
  const id = call.params['id'] ?? '';
  const server = world.state.servers.get(id);
  if (server === undefined || server.isDeleted || !(call.isAdmin || server.projectId === call.projectId))
    throw missing(id);
  return server;
}

function readTime(call: Call, name: string): number | undefined {
  const text = call.query.get(name);
  if (text === null) return undefined;
  const at_ms = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
  if (Number.isNaN(at_ms))
    throw new SimFault(
      400,
      `Invalid input for query parameters ${name}. Value: ${text}. '${text}' is not a 'date-time'`,
    );
  return at_ms;
}

function select(call: Call, servers: Iterable<Server>): Server[] {
  const { query, isAdmin } = call;
  const isAll = isTrue(query.get('all_tenants') ?? '') || query.get('all_tenants') === '';
  if (isAll && !isAdmin)
    throw new SimFault(403, "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed.");
  const since = readTime(call, 'changes-since');
  const before = call.minor >= 66 ? readTime(call, 'changes-before') : undefined;
  const isDeleted = isAdmin && isTrue(query.get('deleted') ?? '');
  const project = query.get('project_id') ?? query.get('tenant_id');
  const name = query.get('name');
  const tags = query.get('tags')?.split(',') ?? [];
  const values: Record<string, (server: Server) => string | null> = {
    uuid: (server) => server.id,
    image: (server) => server.imageId,
    flavor: (server) => server.flavor.id,
    host: (server) => server.host,
    vm_state: (server) => server.vmState,
    task_state: (server) => server.taskState,
    availability_zone: (server) => server.zone,
    user_id: (server) => server.userId,
    key_name: (server) => server.keyName,
    locked: (server) => String(server.isLocked),
  };
  const wanted = Object.entries(values).filter(([key]) => query.has(key));
  return [...servers].filter(
    (server) =>
      (isAll ? project === null || server.projectId === project : server.projectId === call.projectId) &&
      // Deleted servers show only where changes are asked for, as in Nova.
      (since !== undefined || before !== undefined ? true : server.isDeleted === isDeleted) &&
      (since === undefined || server.updatedAt_ms >= since) &&
      (before === undefined || server.updatedAt_ms <= before) &&
      (name === null || new RegExp(name, 'i').test(server.name)) &&
      (!query.has('status') || query.getAll('status').some((status) => status.toUpperCase() === statusOf(server))) &&
      tags.every((tag) => server.tags.includes(tag)) &&
      wanted.every(([key, valueOf]) =>
        query.getAll(key).some((one) => one.toLowerCase() === String(valueOf(server)).toLowerCase()),
      ),
  );
}

const sortValue = (server: Server, key: string): string | number => {
  const values: Record<string, string | number> = {
    updated_at: server.updatedAt_ms,
    display_name: server.name,
    vm_state: server.vmState,
    uuid: server.id,
    host: server.host ?? '',
    project_id: server.projectId,
  };
  return values[key] ?? '';
};

function addLists(world: World, service: Service): void {
  for (const isDetail of [true, false]) {
    route(service, 'GET', isDetail ? '/servers/detail' : '/servers', (call) => {
      const found = page(call, sorted(call, select(call, world.state.servers.values()), sortValue), markerMissing);
      const rows = found.page.map(
        (one): Row =>
          isDetail ? serverView(world, call, one) : { id: one.id, name: one.name, links: serverLinks(world, one.id) },
      );
      const self = `${world.root()}/compute/v2.1${call.path}`;
      return { status: 200, body: pageBody(call, 'servers', self, rows, found.page.at(-1)?.id, found.hasMore) };
    });
  }
}

function addTags(world: World, service: Service): void {
  const refuseOld = (call: Call): void => {
    if (call.minor < 26) throw new SimFault(404, 'The resource could not be found.');
  };
  const get = (call: Call): Server => {
    refuseOld(call);
    return obtain(world, call);
  };
  const noTag = (server: Server, tag: string): SimFault => new SimFault(404, `Server ${server.id} has no tag '${tag}'`);
  route(service, 'GET', '/servers/:id/tags', (call) => ({ status: 200, body: { tags: [...get(call).tags] } }));
  route(service, 'PUT', '/servers/:id/tags', (call) => {
    const server = get(call);
    change(server, { tags: [...new Set(textsOf(rowOf(call.body)['tags']))] });
    return { status: 200, body: { tags: [...server.tags] } };
  });
  route(service, 'DELETE', '/servers/:id/tags', (call) => {
    change(get(call), { tags: [] });
    return { status: 204 };
  });
  route(service, 'GET', '/servers/:id/tags/:tag', (call) => {
    const tag = call.params['tag'] ?? '';
    if (!get(call).tags.includes(tag)) throw noTag(get(call), tag);
    return { status: 204 };
  });
  route(service, 'PUT', '/servers/:id/tags/:tag', (call) => {
    const server = get(call);
    const tag = call.params['tag'] ?? '';
    if (server.tags.includes(tag)) return { status: 204 };
    change(server, { tags: [...server.tags, tag] });
    return { status: 201, headers: { location: `${world.root()}/compute/v2.1${call.path}` } };
  });
  route(service, 'DELETE', '/servers/:id/tags/:tag', (call) => {
    const server = get(call);
    const tag = call.params['tag'] ?? '';
    if (!server.tags.includes(tag)) throw noTag(server, tag);
    change(server, { tags: server.tags.filter((one) => one !== tag) });
    return { status: 204 };
  });
}

function addMetadata(world: World, service: Service): void {
  const path = '/servers/:id/metadata';
  const show = (server: Server): Reply => ({ status: 200, body: { metadata: { ...server.metadata } } });
  route(service, 'GET', path, (call) => show(obtain(world, call)));
  for (const method of ['POST', 'PUT']) {
    route(service, method, path, (call) => {
      const server = obtain(world, call);
      const given = textMap(section(call, 'metadata'));
      change(server, { metadata: { ...(method === 'POST' ? server.metadata : {}), ...given } });
      return show(server);
    });
  }
  route(service, 'PUT', `${path}/:key`, (call) => {
    const server = obtain(world, call);
    const meta = textMap(section(call, 'meta'));
    change(server, { metadata: { ...server.metadata, ...meta } });
    return { status: 200, body: { meta } };
  });
  route(service, 'DELETE', `${path}/:key`, (call) => {
    const server = obtain(world, call);
    const { [call.params['key'] ?? '']: gone, ...metadata } = server.metadata;
    if (gone === undefined) throw new SimFault(404, 'Metadata item was not found');
    change(server, { metadata });
    return { status: 204 };
  });
}

function addVolumes(world: World, service: Service): void {
  const path = '/servers/:id/os-volume_attachments';
  const view = (call: Call, server: Server, volumeId: string, isNew = false): Row => {
    const device = server.devices.find((one) => one.volumeId === volumeId);
    const attachment = world.state.volumes.get(volumeId)?.attachments.find((one) => one.server_id === server.id);
    const row: Row = { volumeId, serverId: server.id, device: device?.device ?? null };
    if (call.minor < 89 || isNew) row['id'] = volumeId;
    if (call.minor >= 70) row['tag'] = device?.tag ?? null;
    if (call.minor >= 79) row['delete_on_termination'] = device?.isDeletedWithServer ?? false;
    if (call.minor >= 89 && !isNew)
      Object.assign(row, { attachment_id: attachment?.attachment_id ?? null, bdm_uuid: device?.id ?? null });
    return row;
  };
  const held = (call: Call, server: Server): string => {
    const id = call.params['volume'] ?? '';
    if (!server.devices.some((one) => one.volumeId === id)) throw new SimFault(404, `volume_id not found: ${id}`);
    return id;
  };
  route(service, 'GET', path, (call) => {
    const server = obtain(world, call);
    const ids = server.devices.flatMap((one) => one.volumeId ?? []);
    return { status: 200, body: { volumeAttachments: ids.map((id) => view(call, server, id)) } };
  });
  route(service, 'GET', `${path}/:volume`, (call) => {
    const server = obtain(world, call);
    return { status: 200, body: { volumeAttachment: view(call, server, held(call, server)) } };
  });
  route(service, 'POST', path, (call) => {
    const server = obtain(world, call);
    const given = section(call, 'volumeAttachment');
    const volume = world.state.volumes.get(textOf(given['volumeId']));
    if (volume === undefined) throw new SimFault(404, `Volume ${textOf(given['volumeId'])} could not be found.`);
    requireState(server, 'attach_volume', [
      'active',
      'stopped',
      'paused',
      'suspended',
      'resized',
      'shelved',
      'shelved_offloaded',
    ]);
    if (volume.availability_zone !== server.zone) {
      throw new SimFault(
        400,
        `Invalid volume: Instance ${server.id} and volume ${volume.id} are not in the same availability_zone. Instance is in ${server.zone}. Volume is in ${volume.availability_zone}`,
      );
    }
    reserveVolume(volume);
    const taken = new Set(['/dev/sda', ...server.devices.map((one) => one.device)]);
    const free = [...'abcdefghijklmnopqrstuvwxyz'].map((letter) => `/dev/sd${letter}`).find((one) => !taken.has(one));
    const device = textOf(given['device']) || free || '/dev/sdz';
    server.devices.push({
      source_type: 'volume',
      uuid: volume.id,
      volumeId: volume.id,
      size: undefined,
      volume_type: '',
      isRoot: false,
      isDeletedWithServer: call.minor >= 79 && isTrue(given['delete_on_termination']),
      tag: textOf(given['tag']) || null,
      id: newId(),
      device,
    });
    world.later(world.timing.action_ms / 2, () => {
      if (volume.status === 'reserved') setVolumeStatus(volume, 'attaching');
    });
    world.later(world.timing.action_ms, () => {
      if (volume.status === 'attaching' || volume.status === 'reserved')
        attachVolume(volume, server.id, device, server.host ?? '');
    });
    return { status: 200, body: { volumeAttachment: view(call, server, volume.id, true) } };
  });
  route(service, 'DELETE', `${path}/:volume`, (call) => {
    const server = obtain(world, call);
    const id = held(call, server);
    requireState(server, 'detach_volume', [
      'active',
      'stopped',
      'paused',
      'suspended',
      'resized',
      'shelved',
      'shelved_offloaded',
    ]);
    const volume = world.state.volumes.get(id);
    if (server.devices.some((one) => one.volumeId === id && one.isRoot))
      throw new SimFault(403, 'Cannot detach a root device volume');
    if (volume !== undefined && volume.status !== 'in-use') {
      throw new SimFault(
        400,
        `Invalid volume: Invalid input received: Invalid volume: Volume ${id} status must be in-use to detach, but it is ${volume.status}.`,
      );
    }
    if (volume !== undefined) setVolumeStatus(volume, 'detaching');
    world.later(world.timing.action_ms, () => {
      const at = server.devices.findIndex((one) => one.volumeId === id);
      if (at >= 0) server.devices.splice(at, 1);
      if (volume !== undefined) detachVolume(volume, server.id);
    });
    return { status: 202 };
  });
}

function addInterfaces(world: World, service: Service): void {
  const path = '/servers/:id/os-interface';
  const view = (call: Call, portId: string): Row => {
    const port = world.state.ports.get(portId);
    if (port === undefined) throw portMissing(portId);
    const row: Row = {
      net_id: port.network_id,
      port_id: port.id,
      mac_addr: port.mac_address,
      port_state: port.status,
      fixed_ips: port.fixed_ips,
    };
    if (call.minor >= 70) row['tag'] = null;
    return row;
  };
  route(service, 'GET', path, (call) => {
    const ports = serverPorts(world, obtain(world, call).id);
    return { status: 200, body: { interfaceAttachments: ports.map((one) => view(call, one.id)) } };
  });
  route(service, 'GET', `${path}/:port`, (call) => {
    const server = obtain(world, call);
    const id = call.params['port'] ?? '';
    if (world.state.ports.get(id)?.device_id !== server.id)
      throw new SimFault(404, `Instance ${server.id} does not have a port with id ${id}`);
    return { status: 200, body: { interfaceAttachment: view(call, id) } };
  });
  route(service, 'POST', path, (call) => {
    const server = obtain(world, call);
    requireState(server, 'attach_interface', ['active', 'stopped', 'paused']);
    const given = rowOf(rowOf(call.body)['interfaceAttachment']);
    const portId = textOf(given['port_id']);
    if (portId === '') {
      const fixed = textOf(rowOf(Array.isArray(given['fixed_ips']) ? given['fixed_ips'][0] : null)['ip_address']);
      if (!world.state.networks.has(textOf(given['net_id'])))
        throw new SimFault(400, `Network ${textOf(given['net_id'])} could not be found.`);
      const made = addPort(world, server, textOf(given['net_id']), fixed || undefined);
      const port = world.state.ports.get(made);
      if (port !== undefined) setPortStatus(port, 'ACTIVE');
      return { status: 200, body: { interfaceAttachment: view(call, made) } };
    }
    const port = world.state.ports.get(portId);
    if (port === undefined) throw new SimFault(404, `Port id ${portId} could not be found.`);
    if (port.device_id !== '') throw new SimFault(400, `Port ${portId} is still in use.`);
    bindPort(port, server.id, server.host ?? '', server.zone);
    setPortStatus(port, 'ACTIVE');
    return { status: 200, body: { interfaceAttachment: view(call, portId) } };
  });
  route(service, 'DELETE', `${path}/:port`, (call) => {
    const server = obtain(world, call);
    const port = world.state.ports.get(call.params['port'] ?? '');
    if (port?.device_id !== server.id) throw new SimFault(404, `Port ${call.params['port']} is not attached`);
    requireState(server, 'detach_interface', ['active', 'stopped', 'paused']);
    world.later(world.timing.action_ms, () => {
      if (server.ownPorts.delete(port.id)) dropPort(world, port);
      else if (port.device_id === server.id) unbindPort(port);
    });
    return { status: 202 };
  });
}

/** Registers everything below `/servers`. */
export function addServers(world: World, service: Service): void {
  addLists(world, service);
  route(service, 'POST', '/servers', (call) => {
    const server = acceptServer(world, call, section(call, 'server'));
    server.actions.unshift({
      action: 'create',
      requestId: `req-${newId()}`,
      at_ms: Date.now(),
      userId: call.token.user.id,
    });
    const names = server.securityGroups.length > 0 ? server.securityGroups : ['default'];
    const body = {
      server: {
        id: server.id,
        links: serverLinks(world, server.id),
        'OS-DCF:diskConfig': 'MANUAL',
        security_groups: names.map((name) => ({ name })),
        adminPass: textOf(rowOf(rowOf(call.body)['server'])['adminPass']) || randomText(9),
      },
    };
    return { status: 202, body, headers: { location: `${world.root()}/compute/v2.1/servers/${server.id}` } };
  });
  route(service, 'GET', '/servers/:id', (call) => ({
    status: 200,
    body: { server: serverView(world, call, obtain(world, call)) },
  }));
  route(service, 'PUT', '/servers/:id', (call) => {
    const server = obtain(world, call);
    const { name, description } = section(call, 'server');
    change(server, {
      ...(typeof name === 'string' ? { name } : {}),
      ...(description === undefined || call.minor < 19 ? {} : { description: textOf(description) || null }),
    });
    return { status: 200, body: { server: serverView(world, call, server) } };
  });
  route(service, 'DELETE', '/servers/:id', (call) => {
    const server = obtain(world, call);
    if (server.isLocked && !call.isAdmin) throw new SimFault(409, `Instance ${server.id} is locked`);
    deleteServer(world, server);
    return { status: 204 };
  });
  route(service, 'POST', '/servers/:id/action', (call) => act(world, obtain(world, call), call, `req-${newId()}`));
  route(service, 'POST', '/servers/:id/remote-consoles', (call) => {
    const server = obtain(world, call);
    const { protocol = 'vnc', type = 'novnc' } = rowOf(rowOf(call.body)['remote_console']);
    if (server.vmState !== 'active') throw new SimFault(409, `Instance ${server.id} is not ready`);
    return {
      status: 200,
      body: { remote_console: { protocol, type, url: `${world.root()}/console/${textOf(type)}?token=${newId()}` } },
    };
  });
  route(service, 'GET', '/servers/:id/os-instance-actions', (call) => {
    const server = obtain(world, call);
    const rows = server.actions.map((one) => ({
      action: one.action,
      instance_uuid: server.id,
      request_id: one.requestId,
      user_id: one.userId,
      project_id: server.projectId,
      start_time: micros(one.at_ms),
      message: null,
      updated_at: micros(one.at_ms),
    }));
    return { status: 200, body: { instanceActions: rows } };
  });
  route(service, 'GET', '/servers/:id/diagnostics', (call) => {
    const server = obtain(world, call);
    if (server.vmState !== 'active')
      throw new SimFault(409, `Instance ${server.id} is in an invalid state for 'get_diagnostics'`);
    return {
      status: 200,
      body: { state: 'running', driver: 'libvirt', hypervisor: 'fake', num_cpus: server.flavor.vcpus, uptime: 0 },
    };
  });
  addTags(world, service);
  addMetadata(world, service);
  addVolumes(world, service);
  addInterfaces(world, service);
}
