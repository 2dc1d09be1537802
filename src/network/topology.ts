/**
 * What joins the children's networks, as the operator configured it: physical networks that several children share.
 * A child names its end of a physical network as it likes; the parent's name stands for all of them.
 */

/** Segmentation ids, both ends included. */
export interface VlanRange {
  readonly first: number;
  readonly last: number;
}

export interface PhysicalNetwork {
  /** The parent's name: what administrators see as `provider:physical_network`. */
  readonly name: string;
  /** Each child that is joined by it, and what it is called there. */
  readonly children: Readonly<Record<string, string>>;
  /** VLANs that the parent hands out to networks that stretch over the children; undefined: none by itself. */
  readonly vlans: VlanRange | undefined;
  /** VLANs that carry routed traffic between children, one a router; undefined: it is no transit. */
  readonly transit_vlans: VlanRange | undefined;
  /** Whether a flat network may lie on it. */
  readonly flat: boolean;
  readonly mtu: number;
}

export interface NetworkTopology {
  readonly physical_networks: readonly PhysicalNetwork[];
  /** Addresses of the routers' ends in the transit networks, from which each router takes a small piece. */
  readonly transit_cidr: string;
  /** Where tenants' networks live: in one child each (`local`), or stretched over those that share a physical network. */
  readonly tenant_network_type: 'local' | 'vlan';
}

/** Children with nothing between them. */
export const NO_TOPOLOGY: NetworkTopology = {
  physical_networks: [],
  transit_cidr: '100.64.0.0/10',
  tenant_network_type: 'local',
};
