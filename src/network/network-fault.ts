/** Neutron's exceptions, with its names and words, that more than one of its resources throws. */
import { badRequest, conflict, type Fault, notFound } from '../http/fault.ts';

export const networkNotFound = (id: string): Fault => notFound(`Network ${id} could not be found.`, 'NetworkNotFound');
export const subnetNotFound = (id: string): Fault => notFound(`Subnet ${id} could not be found.`, 'SubnetNotFound');
export const portNotFound = (id: string): Fault => notFound(`Port ${id} could not be found.`, 'PortNotFound');
export const securityGroupNotFound = (id: string): Fault =>
  notFound(`Security group ${id} does not exist`, 'SecurityGroupNotFound');
export const securityGroupRuleNotFound = (id: string): Fault =>
  notFound(`Security group rule ${id} does not exist`, 'SecurityGroupRuleNotFound');

/** 400 `InvalidInput`: the values contradict each other or the network. */
export const invalidInput = (message: string): Fault =>
  badRequest(`Invalid input for operation: ${message}`, 'InvalidInput');
/** 400 for one attribute, as Neutron's attribute validators say it. */
export const invalidAttribute = (attribute: string, reason: string): Fault =>
  badRequest(`Invalid input for ${attribute}. Reason: ${reason}`, 'HTTPBadRequest');

export const addressTaken = (ip: string, subnetId: string): Fault =>
  conflict(`IP address ${ip} already allocated in subnet ${subnetId}`, 'IpAddressAlreadyAllocated');
export const addressesExhausted = (networkId: string): Fault =>
  conflict(`No more IP addresses available on network ${networkId}.`, 'IpAddressGenerationFailure');
export const macInUse = (networkId: string, mac: string): Fault =>
  conflict(
    `Unable to complete operation for network ${networkId}. The mac address ${mac} is in use.`,
    'MacAddressInUse',
  );
