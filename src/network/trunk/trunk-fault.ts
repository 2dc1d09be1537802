/** Neutron's refusals around trunks, with its names and words. */
import { conflict, type Fault, notFound } from '../../http/fault.ts';
import type { SubPort } from './trunk-resource.ts';

export const trunkNotFound = (id: string): Fault => notFound(`Trunk ${id} could not be found.`, 'TrunkNotFound');
export const subPortNotFound = (trunkId: string, portId: string): Fault =>
  notFound(`SubPort ${portId} on trunk ${trunkId} could not be found.`, 'SubPortNotFound');
export const parentInUse = (portId: string): Fault =>
  conflict(`Port ${portId} is currently in use and is not eligible for use as a parent port.`, 'ParentPortInUse');
export const usedByTrunk = (portId: string): Fault =>
  conflict(`Port ${portId} is in use by another trunk.`, 'TrunkPortInUse');
export const trunkDisabled = (id: string): Fault => conflict(`Trunk ${id} is currently disabled.`, 'TrunkDisabled');
export const trunkInError = (id: string): Fault =>
  conflict(
    `Trunk ${id} is in error state. Attempt to resolve the error condition before proceeding.`,
    'TrunkInErrorState',
  );
export const segmentTaken = (trunkId: string, { segmentation_type, segmentation_id }: SubPort): Fault =>
  conflict(
    `segmentation_type ${segmentation_type} and segmentation_id ${segmentation_id} already in use on trunk ${trunkId}.`,
    'DuplicateSubPort',
  );
export const isParent = (portId: string, trunkId: string): Fault =>
  conflict(`Port ${portId} is currently a parent port for trunk ${trunkId}.`, 'PortInUseAsTrunkParent');
export const isSubPort = (portId: string, trunkId: string): Fault =>
  conflict(`Port ${portId} is currently a subport for trunk ${trunkId}.`, 'PortInUseAsSubPort');
export const mtuTooLarge = (portId: string, mtu: number, trunkPortId: string, trunkMtu: number): Fault =>
  conflict(
    `MTU ${mtu} of subport ${portId} cannot be greater than MTU ${trunkMtu} of trunk ${trunkPortId}.`,
    'SubPortMtuGreaterThanTrunkPortMtu',
  );
/** A trunk is one wire: its ports cannot be in several availability zones. */
export const elsewhere = (portId: string, parentId: string): Fault =>
  conflict(
    `Port ${portId} is in another availability zone than the parent port ${parentId} of the trunk.`,
    'TrunkPortInOtherAvailabilityZone',
  );
