/**
 * What routers, floating IPs and external networks need of networks, subnets, ports and addresses. Written as an
 * interface of its own, so that both halves of this service can be read, and tested, apart.
 */
import type { Queryable, Tx } from '../db/database.ts';
import type { RequestContext } from '../http/service.ts';

export interface EdgeNetwork {
  readonly id: string;
  readonly project_id: string;
  readonly name: string;
  /** `router:external`. */
  readonly external: boolean;
}

export interface EdgeSubnet {
  readonly id: string;
  readonly network_id: string;
  readonly project_id: string;
  readonly cidr: string;
  readonly gateway_ip: string | null;
  readonly ip_version: number;
}

export interface EdgePort {
  readonly id: string;
  readonly network_id: string;
  readonly project_id: string;
  readonly name: string;
  readonly mac_address: string;
  readonly admin_state_up: boolean;
  readonly status: string;
  readonly device_id: string;
  readonly device_owner: string;
  readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address: string }[];
}

/** A port that the service makes for itself: no security groups, not counted by the quota unless a project owns it. */
export interface NewEdgePort {
  readonly network_id: string;
  readonly project_id: string;
  readonly device_id: string;
  readonly device_owner: string;
  readonly status?: string;
  /** Addresses to take; without `ip_address` a free one of the subnet. */
  readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address?: string }[];
}

/** An external network of a child as the parent shall have it. */
export interface ExternalNetwork {
  readonly name: string;
  readonly description: string;
  readonly is_default: boolean;
  readonly mtu: number;
}

export interface ExternalSubnet {
  readonly network_id: string;
  readonly name: string;
  readonly cidr: string;
  readonly ip_version: 4 | 6;
  readonly gateway_ip: string | null;
  readonly allocation_pools: readonly { readonly start: string; readonly end: string }[];
}

export interface EdgeCore {
  /** One network, subnet or port. With a context, only what that caller may see. */
  network(query: Queryable, id: string, context?: RequestContext): Promise<EdgeNetwork | undefined>;
  subnet(query: Queryable, id: string, context?: RequestContext): Promise<EdgeSubnet | undefined>;
  port(query: Queryable, id: string, context?: RequestContext): Promise<EdgePort | undefined>;
  subnetsOf(query: Queryable, networkId: string): Promise<readonly EdgeSubnet[]>;
  subnets(query: Queryable, ids: readonly string[]): Promise<readonly EdgeSubnet[]>;
  ports(query: Queryable, ids: readonly string[]): Promise<readonly EdgePort[]>;
  /** Ports of a device with this owner (`network:router_interface`), by id. */
  portsOf(query: Queryable, deviceId: string, owner: string): Promise<readonly EdgePort[]>;
  /** Takes the addresses, counts the quota and stores the port. @throws Fault in Neutron's words */
  addPort(tx: Tx, port: NewEdgePort): Promise<EdgePort>;
  /** Hands an existing port to a device. */
  assignPort(tx: Tx, portId: string, to: { readonly device_id: string; readonly device_owner: string }): Promise<void>;
  /** One more address for a port. */
  addAddress(tx: Tx, portId: string, fixedIp: NewEdgePort['fixed_ips'][number]): Promise<EdgePort>;
  /** The port goes, with its addresses, its quota and its replicas. */
  removePort(tx: Tx, portId: string): Promise<void>;
  /** Children in which each network lives; absent: nowhere yet. */
  childrenOf(query: Queryable, networkIds: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>;
  /** Says that a network which is nowhere yet lives in this child. */
  bindNetwork(tx: Tx, networkId: string, child: string): Promise<void>;
  /** Tells who keeps servers' addresses that floating IPs of these ports changed. */
  addressesChanged(tx: Tx, portIds: readonly string[]): Promise<void>;
  /** External networks: made, or brought up to date where the id is given; the id of it. */
  putExternalNetwork(tx: Tx, id: string | undefined, wanted: ExternalNetwork): Promise<string>;
  putExternalSubnet(tx: Tx, id: string | undefined, wanted: ExternalSubnet): Promise<string>;
  findExternalNetwork(query: Queryable, name: string): Promise<string | undefined>;
  /**
   * Records which addresses of a subnet others use in the child: exactly these are set aside, beside those that the
   * parent gave out itself.
   */
  setForeignAddresses(tx: Tx, subnetId: string, child: string, addresses: readonly string[]): Promise<void>;
  /** Keeps an address that was just given back set aside until the child has let go of it, too. */
  holdAddress(tx: Tx, subnetId: string, child: string, address: string): Promise<void>;
}
