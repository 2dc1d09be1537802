/** Simulated trunks. */
import { type Call, type Reply, route, type Service } from './http.ts';
import { addKind, type Kind, standardFields, touch } from './network-kind.ts';
import { isRow, listOf, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

const trunkMissing = (id: string): SimFault => new SimFault(404, `Trunk ${id} could not be found.`, 'TrunkNotFound');
const subPortsOf = (trunk: Row): Row[] => listOf(trunk['sub_ports']).filter(isRow);

/** @throws SimFault 409 for a port that is part of a trunk */
export function refuseTrunkPort(world: World, portId: string): void {
  for (const trunk of world.state.trunks.values()) {
    const id = textOf(trunk['id']);
    if (trunk['port_id'] === portId) {
      const message = `Port ${portId} is currently a parent port for trunk ${id}.`;
      throw new SimFault(409, message, 'PortInUseAsTrunkParent');
    }
    if (subPortsOf(trunk).some((one) => one['port_id'] === portId)) {
      throw new SimFault(409, `Port ${portId} is currently a subport for trunk ${id}.`, 'PortInUseAsSubPort');
    }
  }
}

function refuseUsed(world: World, portId: string): void {
  if (!world.state.ports.has(portId)) {
    throw new SimFault(404, `Port ${portId} could not be found.`, 'PortNotFound');
  }
  for (const trunk of world.state.trunks.values()) {
    if (trunk['port_id'] === portId) {
      const message = `Port ${portId} is currently in use and is not eligible for use as a parent port.`;
      throw new SimFault(409, message, 'ParentPortInUse');
    }
    if (subPortsOf(trunk).some((one) => one['port_id'] === portId)) {
      throw new SimFault(409, `Port ${portId} is in use by another trunk.`, 'TrunkPortInUse');
    }
  }
}

function refuseDisabled(trunk: Row): void {
  if (trunk['admin_state_up'] !== false) return;
  throw new SimFault(409, `Trunk ${textOf(trunk['id'])} is currently disabled.`, 'TrunkDisabled');
}

function trunkKind(world: World): Kind {
  const settable = ['name', 'description', 'admin_state_up'];
  return {
    singular: 'trunk',
    plural: 'trunks',
    rows: world.state.trunks,
    missing: trunkMissing,
    creatable: [...settable, 'port_id', 'sub_ports', 'tags'],
    updatable: settable,
    required: ['port_id'],
    isQuotaed: true,
    isTagged: true,
    create: (_call, given, projectId) => {
      refuseUsed(world, textOf(given['port_id']));
      const sub_ports = listOf(given['sub_ports']).filter(isRow);
      for (const one of sub_ports) refuseUsed(world, textOf(one['port_id']));
      return {
        ...standardFields(projectId, given),
        admin_state_up: given['admin_state_up'] ?? true,
        port_id: given['port_id'] ?? null,
        sub_ports,
        status: 'ACTIVE',
      };
    },
    update: (_call, row, given) => {
      Object.assign(row, given);
    },
    remove: (_call, row) => refuseDisabled(row),
  };
}

/** Registers trunks and the changes of their subports. */
export function addTrunks(world: World, service: Service): void {
  addKind(world, service, trunkKind(world));
  const change = (call: Call, next: (there: Row[], given: Row[]) => Row[]): Reply => {
    const trunk = world.state.trunks.get(call.params['id'] ?? '');
    if (trunk === undefined) throw trunkMissing(call.params['id'] ?? '');
    const given = listOf(rowOf(call.body)['sub_ports']).filter(isRow);
    refuseDisabled(trunk);
    trunk['sub_ports'] = next(subPortsOf(trunk), given);
    touch(trunk);
    return { status: 200, body: trunk };
  };
  route(service, 'PUT', '/trunks/:id/add_subports', (call) =>
    change(call, (there, given) => {
      for (const one of given) refuseUsed(world, textOf(one['port_id']));
      return [...there, ...given];
    }),
  );
  route(service, 'PUT', '/trunks/:id/remove_subports', (call) =>
    change(call, (there, given) => there.filter((one) => !given.some((gone) => gone['port_id'] === one['port_id']))),
  );
}
