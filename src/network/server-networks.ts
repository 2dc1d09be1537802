/**
 * What servers need of networks: the contract that compute builds on. Everything up to a boot's answer happens in the
 * parent's database; only `ensurePorts` speaks to a child.
 */
import type { ChildContext } from '../cascade/contract.ts';
import type { Queryable, Tx } from '../db/database.ts';
import type { Fault } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';

/** One entry of a boot's `networks`, or one interface to attach. */
export interface NetworkRequest {
  readonly network_id?: string | undefined;
  readonly port_id?: string | undefined;
  readonly fixed_ip?: string | undefined;
  readonly tag?: string | undefined;
}

/** One entry after its checks: either a port that exists, or a network to make one on. */
export interface ResolvedRequest {
  readonly network_id: string;
  readonly port_id: string | undefined;
  readonly fixed_ip: string | undefined;
  readonly tag: string | undefined;
}

export interface ResolvedNetworks {
  readonly requests: readonly ResolvedRequest[];
  /** Children that can host all of them; undefined: any. Never empty: nowhere is a fault of `resolve`. */
  readonly children: readonly string[] | undefined;
  /** Why children that are not among them could not have what these networks and ports ask for, as a fault to be thrown. */
  readonly refusals: ReadonlyMap<string, Fault>;
}

/** A server's port, as its addresses and interfaces are shown. */
export interface ServerPort {
  readonly id: string;
  readonly network_id: string;
  readonly network_name: string;
  readonly mac_address: string;
  readonly status: string;
  readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address: string; readonly version: 4 | 6 }[];
  readonly floating_ips: readonly string[];
  /** Names of its security groups: the server's are those of all its ports. */
  readonly security_groups: readonly string[];
  readonly tag: string | null;
  /** True for a port that was given to the boot: it outlives the server. */
  readonly preserve_on_delete: boolean;
}

/** Where a server's new ports go. */
export interface ServerPlace {
  readonly server_id: string;
  readonly child: string;
  readonly zone: string;
  /** True where the server is only being made, and has no ports yet. */
  readonly is_new?: boolean;
  /** Names or ids; the project's default group where undefined or empty. Only for ports made here. */
  readonly security_groups: readonly string[] | undefined;
}

/** A group by id or name, for all ports of a server. */
export type GroupChange = { readonly add: string } | { readonly remove: string };

/** A rule for what comes in, as Nova shows it. */
export interface ServerGroupRule {
  readonly id: string;
  readonly protocol: string | null;
  readonly from_port: number | null;
  readonly to_port: number | null;
  /** The group whose members may come in; undefined where the rule is about addresses. */
  readonly source: { readonly name: string; readonly project_id: string } | undefined;
  readonly cidr: string;
}

/** A security group as Nova shows those of a server. */
export interface ServerGroup {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly project_id: string;
  readonly rules: readonly ServerGroupRule[];
}

export interface ServerNetworks {
  /**
   * Checks what a boot or an interface attach asks for, changing nothing.
   * @param wanted `auto` and undefined mean the project's only network (or none where it has none, for undefined)
   * @throws Fault in Nova's words: 400 for an unknown or foreign network or port, a fixed address that is taken or fits
   *   no subnet, networks whose children differ; 409 for a port in use and for several possible networks
   */
  resolve(
    query: Queryable,
    context: RequestContext,
    wanted: readonly NetworkRequest[] | 'auto' | 'none' | undefined,
  ): Promise<ResolvedNetworks>;
  /**
   * In the boot's transaction: makes the ports that are to be made, with addresses, groups and quota; binds those that
   * were given; networks that are nowhere yet are bound to that child. Sends nothing to the child.
   * @returns the ports in the order of the requests
   * @throws Fault 400 for an unknown security group, an address that was taken meanwhile or a network that lives in
   *   another child; 403 over the port quota; 409 for a port that came into use meanwhile
   */
  attach(tx: Tx, context: RequestContext, resolved: ResolvedNetworks, to: ServerPlace): Promise<readonly ServerPort[]>;
  /**
   * The server, or these ports of it, goes: ports made for it are deleted with addresses, quota and replicas, given ones
   * are unbound. Twice: the second time finds nothing to do.
   */
  detach(tx: Tx, serverId: string, portIds?: readonly string[]): Promise<void>;
  /**
   * What keeps a server's ports from going to another child, as the end of a sentence about that zone; undefined where
   * nothing does.
   */
  obstacle(query: Queryable, serverId: string, child: string): Promise<string | undefined>;
  /**
   * In the transaction that has a server move: its ports belong there from now on, with MAC and addresses, and their
   * networks are brought there. Their copies in the child they leave stay until `leaveChild`. Twice: the same.
   * @throws Fault 409 where a network does not reach the child
   */
  move(tx: Tx, serverId: string, to: { readonly child: string; readonly zone: string }): Promise<void>;
  /** The same where a move failed; what was tied to the ports meanwhile (a floating IP) is let go. Twice: the same. */
  moveBack(tx: Tx, serverId: string, to: { readonly child: string; readonly zone: string }): Promise<void>;
  /** The server is gone from a child that it left: so go the copies of these ports there, unless they are back. Twice: the same. */
  leaveChild(tx: Tx, portIds: readonly string[], child: string): Promise<void>;
  /** Ports of servers in the order of their boot; a server without ports is absent. */
  portsOf(query: Queryable, serverIds: readonly string[]): Promise<ReadonlyMap<string, readonly ServerPort[]>>;
  /**
   * Adds or removes one of the caller's security groups at all ports of a server; adding it twice changes nothing.
   * @throws Fault in Nova's words: 404 for an unknown group, a server without ports and one that is not in the group to
   *   remove; 409 for a name that several have; 400 for ports without port security or addresses
   */
  changeGroups(tx: Tx, context: RequestContext, serverId: string, change: GroupChange): Promise<void>;
  /** The security groups of a server's ports, in no particular order. */
  groupsOf(query: Queryable, serverId: string): Promise<readonly ServerGroup[]>;
  /**
   * Child side: brings networks, subnets, groups and ports of the server to the child, in as few calls as it can and none
   * where they are there. Twice: the second makes no call.
   * @returns the child's port ids, in the order of the boot
   * @throws CloudError as the child gave it
   */
  ensurePorts(context: ChildContext, serverId: string): Promise<readonly string[]>;
  /**
   * Adds who is told, in the same transaction, that ports or floating IPs of servers changed. Told of removed ports too;
   * not told by `detach` of the server itself where no port is named.
   */
  onChange(listener: (tx: Tx, serverIds: readonly string[]) => Promise<void>): void;
}
