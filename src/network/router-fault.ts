/** Neutron's refusals around routers and floating IPs, with its names and words. */
import { badRequest, conflict, type Fault, notFound } from '../http/fault.ts';

export const routerNotFound = (id: string): Fault => notFound(`Router ${id} could not be found`, 'RouterNotFound');
export const floatingIpNotFound = (id: string): Fault =>
  notFound(`Floating IP ${id} could not be found`, 'FloatingIPNotFound');

export const badRouter = (message: string): Fault => badRequest(`Bad router request: ${message}.`, 'BadRequest');
export const badFloatingIp = (message: string): Fault =>
  badRequest(`Bad floatingip request: ${message}.`, 'BadRequest');

export const routerInUse = (id: string, portIds: readonly string[]): Fault =>
  conflict(`Router ${id} has ports still attached: ${portIds.join(', ')}`, 'RouterInUse');
export const gatewayInUse = (id: string, networkId: string): Fault =>
  conflict(
    `Gateway cannot be updated for router ${id}, since a gateway to external network ${networkId} is required by one or more floating IPs.`,
    'RouterExternalGatewayInUseByFloatingIp',
  );
export const interfaceInUse = (id: string, subnetId: string, by: 'floating IPs' | 'routes'): Fault =>
  conflict(
    `Router interface for subnet ${subnetId} on router ${id} cannot be deleted, as it is required by one or more ${by}.`,
    by === 'routes' ? 'RouterInterfaceInUseByRoute' : 'RouterInterfaceInUseByFloatingIP',
  );
export const noInterface = (id: string, portId: string): Fault =>
  notFound(`Router ${id} does not have an interface with id ${portId}`, 'RouterInterfaceNotFound');
export const noInterfaceOnSubnet = (id: string, subnetId: string): Fault =>
  notFound(`Router ${id} has no interface on subnet ${subnetId}`, 'RouterInterfaceNotFoundForSubnet');
export const portInUse = (port: { id: string; network_id: string; device_id: string }): Fault =>
  conflict(
    `Unable to complete operation on port ${port.id} for network ${port.network_id}. Port already has an attached device ${port.device_id}.`,
    'PortInUse',
  );
export const notReachable = (networkId: string, subnetId: string, portId: string): Fault =>
  notFound(
    `External network ${networkId} is not reachable from subnet ${subnetId}.  Therefore, cannot associate Port ${portId} with a Floating IP.`,
    'ExternalGatewayForFloatingIPNotFound',
  );
