/**
 * The provider attributes of a network: which of them a request may choose, and what they mean. A network either lives
 * in one child, as an overlay of that child's own, or on a physical network that several children share.
 */
import { type Fault } from '../../http/fault.ts';
import { invalidInput } from '../network-fault.ts';
import type { NetworkTopology, PhysicalNetwork, VlanRange } from '../topology.ts';

/** What a network that lives in one child is called; the ids of the tunnels are that child's own affair. */
export const OVERLAY = 'geneve';
const VLAN_MIN = 1;
const VLAN_MAX = 4094;

export interface ProviderRequest {
  readonly provider_network_type?: string | null | undefined;
  readonly provider_physical_network?: string | null | undefined;
  /** Clients send the number as text, too. */
  readonly provider_segmentation_id?: number | string | null | undefined;
}

/** A segment of a physical network. */
export type Wire =
  | { readonly type: 'flat'; readonly physical: PhysicalNetwork }
  | {
      readonly type: 'vlan';
      /** Where it may lie; the first that has a VLAN left is taken. */
      readonly physical: readonly PhysicalNetwork[];
      /** Undefined: one is chosen. */
      readonly segmentation_id: number | undefined;
    };

/** A segment as it was asked for. */
export type Segment = { readonly type: typeof OVERLAY } | Wire;

/**
 * Reads what a request says of the segment; undefined where it says nothing.
 * @throws Fault 400 `InvalidInput` in Neutron's words for what cannot be
 */
export function segmentAsked(topology: NetworkTopology, given: ProviderRequest): Segment | undefined {
  const type = given.provider_network_type ?? undefined;
  const name = given.provider_physical_network || undefined;
  const segmentation_id = numberOf(given.provider_segmentation_id);
  if (type === undefined) {
    if (name === undefined && segmentation_id === undefined) return undefined;
    throw invalidInput('network_type required.');
  }
  // A cloud without physical networks has no such type.
  const isServed = type === OVERLAY || topology.physical_networks.length > 0;
  switch (isServed ? type : '') {
    case OVERLAY:
      if (name !== undefined) throw invalidInput(`provider:physical_network specified for ${type} network.`);
      if (segmentation_id !== undefined) {
        throw invalidInput(
          `segmentation_id prohibited for ${type} provider network: its availability zone chooses its own.`,
        );
      }
      return { type: OVERLAY };
    case 'flat':
      return { type: 'flat', physical: flatNetwork(topology, name, segmentation_id) };
    case 'vlan':
      return { type: 'vlan', physical: vlanNetworks(topology, name, segmentation_id), segmentation_id };
    default:
      throw invalidInput(`network_type value '${type}' not supported.`);
  }
}

/** The segment of a tenant's network where these stretch by default; undefined where they do not. */
export function segmentByDefault(topology: NetworkTopology): Wire | undefined {
  if (topology.tenant_network_type !== 'vlan') return undefined;
  return { type: 'vlan', physical: withPool(topology), segmentation_id: undefined };
}

/**
 * Holds an update against what the network is: provider attributes stay as they are.
 * @throws Fault 400 `InvalidInput` for one that differs
 */
export function refuseProviderChange(row: Required<ProviderRequest>, given: ProviderRequest): void {
  const asked: [string, unknown, unknown][] = [
    ['provider:network_type', given.provider_network_type, row.provider_network_type],
    ['provider:physical_network', given.provider_physical_network, row.provider_physical_network],
    [
      'provider:segmentation_id',
      given.provider_segmentation_id == null ? undefined : numberOf(given.provider_segmentation_id),
      row.provider_segmentation_id,
    ],
  ];
  const changed = asked.filter(([, wanted, held]) => wanted != null && wanted !== held).map(([name]) => name);
  if (changed.length === 0) return;
  throw invalidInput(
    `Plugin does not support updating the following provider network attributes: ${changed.join(', ')}.`,
  );
}

function flatNetwork(topology: NetworkTopology, name: string | undefined, id: number | undefined): PhysicalNetwork {
  if (name === undefined) throw invalidInput('physical_network required for flat provider network.');
  const found = topology.physical_networks.find((one) => one.name === name && one.flat);
  if (found === undefined) throw invalidInput(`physical_network '${name}' unknown for flat provider network.`);
  if (id !== undefined) throw invalidInput('segmentation_id prohibited for flat provider network.');
  return found;
}

function vlanNetworks(
  topology: NetworkTopology,
  name: string | undefined,
  id: number | undefined,
): readonly PhysicalNetwork[] {
  if (name === undefined) {
    if (id === undefined) return withPool(topology);
    throw invalidInput('segmentation_id requires physical_network for VLAN provider network.');
  }
  const found = topology.physical_networks.find((one) => one.name === name);
  if (found === undefined) throw invalidInput(`physical_network '${name}' unknown for VLAN provider network.`);
  if (id !== undefined && (id < VLAN_MIN || id > VLAN_MAX)) {
    throw invalidInput(`segmentation_id out of range (${VLAN_MIN} through ${VLAN_MAX}).`);
  }
  if (id !== undefined && contains(found.transit_vlans, id)) throw setAside(name, id);
  return [found];
}

const withPool = (topology: NetworkTopology): readonly PhysicalNetwork[] =>
  topology.physical_networks.filter(({ vlans }) => vlans !== undefined);

const contains = (range: VlanRange | undefined, id: number): boolean =>
  range !== undefined && id >= range.first && id <= range.last;

const setAside = (name: string, id: number): Fault =>
  invalidInput(
    `segmentation_id ${id} on physical network '${name}' is set aside for routed traffic between availability zones.`,
  );

function numberOf(value: number | string | null | undefined): number | undefined {
  if (value == null) return undefined;
  const number = typeof value === 'number' ? value : /^-?\d{1,9}$/.test(value.trim()) ? Number(value) : Number.NaN;
  if (Number.isInteger(number)) return number;
  throw invalidInput(`'${String(value).slice(0, 64)}' is not an integer.`);
}
