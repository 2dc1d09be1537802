/** Simulated Neutron floating IPs. */
import type { Service } from './http.ts';
import { addForwardings } from './network-forwarding.ts';
import { addKind, type Kind, standardFields } from './network-kind.ts';
import { dropPort, makePort, networkMissing, type Port, portMissing } from './network-port.ts';
import { checkPolicy } from './network-qos.ts';
import { adminOnly, interfaces, routerPorts } from './network-router.ts';
import { type Json, listOf, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

/** The router that joins a port's subnet to an external network. */
function routerBetween(world: World, portId: string, subnetId: string, networkId: string): Json {
  const through = [...world.state.routers.values()].find(
    (router) =>
      rowOf(router['external_gateway_info'])['network_id'] === networkId &&
      interfaces(world, textOf(router['id'])).some((one) => one.fixed_ips.some((ip) => ip.subnet_id === subnetId)),
  );
  if (through === undefined) {
    const message = `External network ${networkId} is not reachable from subnet ${subnetId}.  Therefore, cannot associate Port ${portId} with a Floating IP.`;
    throw new SimFault(404, message, 'ExternalGatewayForFloatingIPNotFound');
  }
  return through['id'] ?? null;
}

const inUseByForwarding = (floating: Row): SimFault =>
  new SimFault(
    409,
    `Floating IP ${textOf(floating['id'])} in use by Port Forwarding resources.`,
    'FipInUseByPortForwarding',
  );

function associate(world: World, floating: Row, portId: Json | undefined, fixed: Json | undefined): void {
  const isForwarding = listOf(floating['port_forwardings']).length > 0;
  if (textOf(portId) !== '' && isForwarding) throw inUseByForwarding(floating);
  if (textOf(portId) === '' && isForwarding) return;
  if (textOf(portId) === '') {
    Object.assign(floating, { port_id: null, fixed_ip_address: null, router_id: null, status: 'DOWN' });
    return;
  }
  const port = world.state.ports.get(textOf(portId));
  if (port === undefined) throw portMissing(textOf(portId));
  const networkId = textOf(floating['floating_network_id']);
  const chosen = port.fixed_ips.find((one) => (textOf(fixed) === '' ? true : one.ip_address === fixed));
  if (chosen === undefined) {
    const why = textOf(fixed) === '' ? 'has no fixed IPv4 address' : `does not have fixed ip ${textOf(fixed)}`;
    throw new SimFault(400, `Bad floatingip request: Port ${port.id} ${why}.`, 'BadRequest');
  }
  const twin = [...world.state.floatingips.values()].find(
    (one) =>
      one !== floating &&
      one['port_id'] === port.id &&
      one['fixed_ip_address'] === chosen.ip_address &&
      one['floating_network_id'] === networkId,
  );
  if (twin !== undefined) {
    const message = `Cannot associate floating IP ${textOf(floating['floating_ip_address'])} (${textOf(floating['id'])}) with port ${port.id} using fixed IP ${chosen.ip_address}, as that fixed IP already has a floating IP on external network ${networkId}.`;
    throw new SimFault(409, message, 'FloatingIPPortAlreadyAssociated');
  }
  const router_id = routerBetween(world, port.id, chosen.subnet_id, networkId);
  Object.assign(floating, { port_id: port.id, fixed_ip_address: chosen.ip_address, router_id, status: 'DOWN' });
  // The backend reports it up a moment after the API has answered.
  world.later(world.timing.action_ms, () => {
    if (floating['port_id'] === port.id) floating['status'] = 'ACTIVE';
  });
}

const floatingPort = (world: World, floating: Row): Port | undefined =>
  routerPorts(world, textOf(floating['id']), 'network:floatingip')[0];

function floatingKind(world: World): Kind {
  const settable = ['port_id', 'fixed_ip_address', 'description'];
  return {
    singular: 'floatingip',
    plural: 'floatingips',
    rows: world.state.floatingips,
    missing: (id) => new SimFault(404, `Floating IP ${id} could not be found`, 'FloatingIPNotFound'),
    creatable: [
      ...settable,
      'floating_network_id',
      'subnet_id',
      'floating_ip_address',
      'dns_name',
      'dns_domain',
      'qos_policy_id',
      'tags',
    ],
    updatable: [...settable, 'qos_policy_id'],
    required: ['floating_network_id'],
    isQuotaed: true,
    isTagged: true,
    view: (row) => {
      const port = world.state.ports.get(textOf(row['port_id']));
      if (port === undefined) return { ...row, port_details: null };
      const { network_id, mac_address, status, device_id, device_owner } = port;
      const { name = '', admin_state_up = true } = port as Row;
      return {
        ...row,
        port_details: { name, network_id, mac_address, admin_state_up, status, device_id, device_owner },
      };
    },
    create: (call, given, projectId) => {
      if (textOf(given['floating_ip_address']) !== '') adminOnly(call, 'create_floatingip:floating_ip_address');
      const networkId = textOf(given['floating_network_id']);
      const network = world.state.networks.get(networkId);
      if (network === undefined) throw networkMissing(networkId);
      if (network['router:external'] !== true) {
        const message = `Bad floatingip request: Network ${networkId} is not a valid external network.`;
        throw new SimFault(400, message, 'BadRequest');
      }
      checkPolicy(world, given);
      const { name: _name, ...base } = standardFields(projectId, given);
      const asked: Row = {};
      if (textOf(given['subnet_id']) !== '') asked['subnet_id'] = given['subnet_id'] ?? null;
      if (textOf(given['floating_ip_address']) !== '') asked['ip_address'] = given['floating_ip_address'] ?? null;
      const port = makePort(world, '', {
        network_id: networkId,
        device_id: base['id'] ?? '',
        device_owner: 'network:floatingip',
        ...(Object.keys(asked).length === 0 ? {} : { fixed_ips: [asked] }),
      });
      const floating: Row = {
        ...base,
        floating_ip_address: port.fixed_ips[0]?.ip_address ?? null,
        floating_network_id: networkId,
        router_id: null,
        port_id: null,
        fixed_ip_address: null,
        status: 'DOWN',
        qos_policy_id: given['qos_policy_id'] ?? null,
        dns_domain: textOf(given['dns_domain']),
        dns_name: textOf(given['dns_name']),
        port_forwardings: [],
      };
      try {
        if (textOf(given['port_id']) !== '') associate(world, floating, given['port_id'], given['fixed_ip_address']);
      } catch (error) {
        dropPort(world, port);
        throw error;
      }
      return floating;
    },
    update: (_call, row, given) => {
      checkPolicy(world, given);
      if ('qos_policy_id' in given) row['qos_policy_id'] = given['qos_policy_id'] ?? null;
      if ('port_id' in given) associate(world, row, given['port_id'], given['fixed_ip_address']);
      if (typeof given['description'] === 'string') row['description'] = given['description'];
    },
    remove: (_call, row) => {
      if (listOf(row['port_forwardings']).length > 0) throw inUseByForwarding(row);
      const port = floatingPort(world, row);
      if (port !== undefined) dropPort(world, port);
    },
  };
}

/** Registers floating IPs, with port forwardings. */
export function addFloatingIps(world: World, service: Service): void {
  addKind(world, service, floatingKind(world));
  addForwardings(world, service, (floating, portId, address) => {
    const subnet = world.state.ports.get(portId)?.fixed_ips.find(({ ip_address }) => ip_address === address)?.subnet_id;
    if (subnet === undefined) throw portMissing(portId);
    return routerBetween(world, portId, subnet, textOf(floating['floating_network_id']));
  });
}
