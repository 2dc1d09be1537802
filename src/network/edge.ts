/**
 * The edge of the network service: routers, floating IPs, external networks, agents, zones, quotas, extensions and
 * tags; and what of it the children are told.
 */
import type { Operation, PolicyRule } from '../http/service.ts';
import { abilityFeed } from './ability-feed.ts';
import { agentOperations } from './agent.ts';
import { autoTopologyOperations } from './auto-topology/auto-topology.ts';
import { ipAvailabilityOperations } from './availability/ip-availability.ts';
import { floatingIpPoolOperations } from './floating-ip-pool.ts';
import { segmentOperations } from './segment.ts';
import { availabilityZoneOperations } from './availability-zone.ts';
import type { EdgeParts } from './edge-core.ts';
import { extensionOperations } from './extension.ts';
import { externalNetworkFeed } from './external-network-feed.ts';
import { floatingIps, visibleFloatingIps } from './floating-ip-resource.ts';
import { floatingIpOperations, floatingIpRules, releaseFloatingIps, removeUntied } from './floating-ip.ts';
import { floatingIpFeed, floatingIpKind } from './floating-ip-replica.ts';
import { visibleNetworks } from './network-project.ts';
import { networkStore } from './network-resource.ts';
import { portStore } from './port-resource.ts';
import { qosPolicyStore } from './qos/qos-policy-resource.ts';
import { securityGroupStore } from './security-group-resource.ts';
import { subnetPoolStore } from './subnet-pool/subnet-pool-resource.ts';
import { subnetStore } from './subnet-resource.ts';
import { networkQuotas } from './network-quota.ts';
import { visiblePorts } from './ports.ts';
import { ownOrShared } from './sharing.ts';
import { visibleSubnets } from './subnets.ts';
import { portForwardingOperations } from './port-forwarding/port-forwarding.ts';
import { dropForwardingsOfAddresses, dropForwardingsOfPorts } from './port-forwarding/port-forwarding-state.ts';
import { visiblePolicies } from './qos/qos-use.ts';
import { quotaOperations } from './quota.ts';
import { resourceListOperations } from './resource-list.ts';
import { routerInterfaceOperations } from './router-interface.ts';
import { routerKind } from './router-replica.ts';
import { routers, visibleRouters } from './router-resource.ts';
import { extraRouteOperations, routerOperations, routerRules } from './router.ts';
import { type TaggedKind, tagOperations } from './tag.ts';
import { trunkFeed, trunkKind } from './trunk/trunk-replica.ts';
import { trunkStore, visibleTrunks } from './trunk/trunk-resource.ts';
import { forgetTrunkPorts, trunkOperations } from './trunk/trunks.ts';

export type { EdgeParts } from './edge-core.ts';

/** Rules beside those of the operations. */
export const edgeRules: readonly PolicyRule[] = [...routerRules, ...floatingIpRules];

/** All operations of the edge. */
export function edgeOperations(parts: EdgeParts): Operation[] {
  const { db, cascade } = parts;
  return [
    ...routerOperations(parts),
    ...routerInterfaceOperations(parts),
    ...extraRouteOperations(parts),
    ...floatingIpOperations(parts),
    ...portForwardingOperations(parts),
    ...trunkOperations(parts),
    ...autoTopologyOperations(parts),
    ...segmentOperations(db),
    ...ipAvailabilityOperations(db),
    ...floatingIpPoolOperations(db),
    ...agentOperations(cascade),
    ...availabilityZoneOperations(cascade),
    ...quotaOperations(db, networkQuotas),
    ...extensionOperations(),
    ...resourceListOperations(),
    ...tagOperations(db, TAGGED),
  ];
}

/** Registers routers, floating IPs, external networks and abilities with cascading, and listens to what happens to ports. */
export function registerEdgeKinds(parts: EdgeParts): void {
  const { db, cascade, events } = parts;
  cascade.register({ replica: routerKind(parts) as never });
  cascade.register({ replica: trunkKind as never, feed: trunkFeed });
  cascade.register({ replica: floatingIpKind as never, feed: floatingIpFeed(db) });
  cascade.register({ feed: externalNetworkFeed(db, cascade) });
  cascade.register({ feed: abilityFeed(cascade) });
  events.onRemoving(async (tx, ports) => {
    const ids = ports.map(({ id }) => id);
    await releaseFloatingIps(tx, parts, ids);
    await dropForwardingsOfPorts(tx, cascade, ids);
    await forgetTrunkPorts(tx, parts, ports);
  });
  events.onNetworkRemoving((tx, networkId, requestId) => removeUntied(tx, parts, networkId, requestId));
  events.onUpdated((tx, port) => dropForwardingsOfAddresses(tx, cascade, port));
}

/** What can be tagged. */
const TAGGED: readonly TaggedKind[] = [
  { resource: trunkStore.resource, visible: visibleTrunks },
  { resource: qosPolicyStore.resource, visible: visiblePolicies },
  { resource: networkStore.resource, visible: visibleNetworks },
  { resource: subnetStore.resource, visible: visibleSubnets },
  { resource: subnetPoolStore.resource, visible: ownOrShared },
  { resource: portStore.resource, visible: visiblePorts },
  { resource: routers.resource, visible: visibleRouters },
  { resource: floatingIps.resource, visible: visibleFloatingIps },
  { resource: securityGroupStore.resource, visible: ownOrShared },
];
