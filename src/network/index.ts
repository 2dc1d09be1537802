/** The network service: networks, subnets, ports and security groups, and the edge (routers, floating IPs) beside them. */
import type { Logger } from 'pino';
import type { Cascade } from '../cascade/contract.ts';
import type { Db, Tx } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import type { Service } from '../http/service.ts';
import { addressGroupKind } from './address-group/address-group-replica.ts';
import { addressGroupOperations, addressGroupSharing } from './address-group/address-groups.ts';
import { addressScopeOperations, addressScopeRules, addressScopeSharing } from './address-scope/address-scopes.ts';
import { edgeOperations, edgeRules, registerEdgeKinds } from './edge.ts';
import { flavorOperations } from './flavor/flavors.ts';
import { networkKind } from './network-replica.ts';
import { qosPolicyKind } from './qos/qos-policy-replica.ts';
import { qosPolicySharing } from './qos/qos-use.ts';
import { rbacOperations, rbacRules } from './rbac/rbac-policies.ts';
import { networkSharing } from './network-sharing.ts';
import { qosOperations } from './qos/qos-policies.ts';
import { networkResource } from './network-resource.ts';
import { bindNetwork, networkOperations } from './networks.ts';
import { createPortBatches } from './port-batch.ts';
import { createPortEvents } from './port-events.ts';
import { portFeed } from './port-feed.ts';
import { portKind } from './port-replica.ts';
import { portResource } from './port-resource.ts';
import { portOperations, portRules } from './ports.ts';
import { remoteMembersKind } from './remote-member/remote-member-replica.ts';
import { securityGroupKind } from './security-group-replica.ts';
import { forgetDefaultGroup, securityGroupOperations, securityGroupSharing } from './security-groups.ts';
import { leaveChild, movePorts, movePortsBack, obstacle } from './server-move.ts';
import { attachPorts, detachPorts, portsOf } from './server-networks-attach.ts';
import { changeGroups, groupsOf } from './server-groups.ts';
import { ensurePorts } from './server-networks-child.ts';
import { autoAllocate, canAutoAllocate } from './auto-topology/auto-topology.ts';
import { callersProject } from './network-project.ts';
import { hasNetworks, resolveNetworks } from './server-networks-resolve.ts';
import type { ServerNetworks } from './server-networks.ts';
import { stretchedNetworkFeed } from './stretched/feed.ts';
import type { NetworkTopology } from './topology.ts';
import { subnetPoolOperations, subnetPoolRules, subnetPoolSharing } from './subnet-pool/subnet-pools.ts';
import { subnetKind } from './subnet-replica.ts';
import { subnetOperations } from './subnets.ts';

export type { ServerNetworks } from './server-networks.ts';
export { networkQuotas } from './network-quota.ts';

/** What projects may let others use. */
const SHAREABLE = [
  networkSharing,
  subnetPoolSharing,
  addressScopeSharing,
  addressGroupSharing,
  securityGroupSharing,
  qosPolicySharing,
];

export interface NetworkDependencies {
  readonly db: Db;
  readonly cascade: Cascade;
  /** What joins the children's networks. */
  readonly topology: NetworkTopology;
  readonly log: Logger;
}

/**
 * Puts the service together and registers its kinds and feeds with cascading; reads and writes nothing yet.
 * @returns the service, and what compute may ask of it
 */
export function createNetwork({ db, cascade, topology }: NetworkDependencies): {
  readonly service: Service;
  readonly serverNetworks: ServerNetworks;
  /** To be called when a project is deleted, in its transaction. */
  readonly forgetProject: (tx: Tx, projectId: string) => Promise<void>;
} {
  const events = createPortEvents();
  const batches = createPortBatches();
  const parts = { db, cascade, events, topology };
  const edge = {
    ...parts,
    bindNetwork: (tx: Parameters<typeof bindNetwork>[0], networkId: string, child: string) =>
      bindNetwork(tx, parts, networkId, child),
  };

  cascade.register({ replica: networkKind(parts) as never, feed: stretchedNetworkFeed(parts) });
  cascade.register({ replica: subnetKind as never });
  cascade.register({ replica: qosPolicyKind as never });
  cascade.register({ replica: addressGroupKind(cascade) as never });
  cascade.register({ replica: securityGroupKind(cascade) as never });
  cascade.register({ replica: remoteMembersKind(cascade) as never });
  cascade.register({ replica: portKind(batches, cascade) as never, feed: portFeed(cascade) });
  registerEdgeKinds(edge);

  return {
    service: {
      convention,
      operations: [
        ...networkOperations(parts),
        ...subnetOperations(parts),
        ...subnetPoolOperations(db),
        ...addressScopeOperations(db),
        ...portOperations(parts),
        ...securityGroupOperations(parts),
        ...addressGroupOperations(parts),
        ...qosOperations(parts),
        ...rbacOperations(db, SHAREABLE),
        ...flavorOperations(db),
        ...edgeOperations(edge),
      ],
      rules: [
        ...networkResource.fieldRules,
        ...subnetPoolRules,
        ...addressScopeRules,
        ...rbacRules,
        ...portResource.fieldRules,
        ...portRules,
        ...edgeRules,
      ],
    },
    forgetProject: (tx, projectId) => forgetDefaultGroup(tx, cascade, projectId),
    serverNetworks: {
      resolve: async (query, context, wanted) => {
        // As Nova, who has Neutron make a topology for who asks for any network and has none.
        const isBare = wanted === 'auto' && !(await hasNetworks(query, context));
        if (isBare && (await canAutoAllocate(query, context))) {
          await autoAllocate(edge, context, callersProject(context));
        }
        return resolveNetworks(query, topology, context, wanted);
      },
      attach: (tx, context, resolved, to) => attachPorts(tx, parts, context, resolved, to),
      detach: (tx, serverId, portIds) => detachPorts(tx, parts, serverId, portIds),
      obstacle: (query, serverId, child) => obstacle(query, parts, serverId, child),
      move: (tx, serverId, to) => movePorts(tx, parts, serverId, to),
      moveBack: (tx, serverId, to) => movePortsBack(tx, parts, serverId, to),
      leaveChild: (tx, portIds, child) => leaveChild(tx, cascade, portIds, child),
      portsOf,
      changeGroups: (tx, context, serverId, change) => changeGroups(tx, parts, context, serverId, change),
      groupsOf,
      ensurePorts: (context, serverId) => ensurePorts(context, batches, serverId),
      onChange: events.onServersChanged,
    },
  };
}
