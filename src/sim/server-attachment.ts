/** Simulated Nova: volumes and ports put on servers and taken off. */
import { type Call, route, section, type Service } from './http.ts';
import { bindPort, dropPort, portMissing, serverPorts, setPortStatus, unbindPort } from './network-port.ts';
import { type Server, obtainServer } from './server.ts';
import { requireState } from './server-action.ts';
import { addPort } from './server-life.ts';
import { attachVolume, detachVolume, reserveVolume, setVolumeStatus } from './volume.ts';
import { isTrue, newId, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

export function addVolumes(world: World, service: Service): void {
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
    const server = obtainServer(world, call);
    const ids = server.devices.flatMap((one) => one.volumeId ?? []);
    return { status: 200, body: { volumeAttachments: ids.map((id) => view(call, server, id)) } };
  });
  route(service, 'GET', `${path}/:volume`, (call) => {
    const server = obtainServer(world, call);
    return { status: 200, body: { volumeAttachment: view(call, server, held(call, server)) } };
  });
  route(service, 'POST', path, (call) => {
    const server = obtainServer(world, call);
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
      isLocal: false,
      guest_format: null,
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
  route(service, 'PUT', `${path}/:volume`, (call) => {
    const server = obtainServer(world, call);
    const id = held(call, server);
    const wanted = textOf(section(call, 'volumeAttachment')['volumeId']);
    if (wanted === id) return { status: 202 };
    if (!call.isAdmin) throw new SimFault(403, "Policy doesn't allow os_compute_api:os-volumes-attachments:swap");
    const [before, after] = [world.state.volumes.get(id), world.state.volumes.get(wanted)];
    if (before === undefined || after === undefined) throw new SimFault(400, `Volume ${wanted} could not be found.`);
    requireState(server, 'swap_volume', ['active', 'paused', 'resized']);
    reserveVolume(after);
    setVolumeStatus(before, 'detaching');
    world.later(world.timing.action_ms, () => {
      const device = server.devices.find((one) => one.volumeId === id);
      if (device === undefined) return;
      Object.assign(device, { volumeId: wanted, uuid: wanted });
      detachVolume(before, server.id);
      attachVolume(after, server.id, device.device, server.host ?? '');
    });
    return { status: 202 };
  });
  route(service, 'DELETE', `${path}/:volume`, (call) => {
    const server = obtainServer(world, call);
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

export function addInterfaces(world: World, service: Service): void {
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
    const ports = serverPorts(world, obtainServer(world, call).id);
    return { status: 200, body: { interfaceAttachments: ports.map((one) => view(call, one.id)) } };
  });
  route(service, 'GET', `${path}/:port`, (call) => {
    const server = obtainServer(world, call);
    const id = call.params['port'] ?? '';
    if (world.state.ports.get(id)?.device_id !== server.id)
      throw new SimFault(404, `Instance ${server.id} does not have a port with id ${id}`);
    return { status: 200, body: { interfaceAttachment: view(call, id) } };
  });
  route(service, 'POST', path, (call) => {
    const server = obtainServer(world, call);
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
    const server = obtainServer(world, call);
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
