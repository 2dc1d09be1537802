/** Everything of compute beside servers: flavors, keypairs, quotas and the operator's lists. */
import type { Cascade } from '../cascade/contract.ts';
import type { Operation, PolicyRule } from '../http/service.ts';
import { aggregateImageOperations } from './aggregate/images.ts';
import { aggregateOperations } from './aggregate/operations.ts';
import { availabilityZoneOperations } from './availability-zone/operations.ts';
import type { ComputeDependencies } from './dependencies.ts';
import { extensionOperations } from './extensions.ts';
import { flavorOperations } from './flavor/operations.ts';
import { flavorKind } from './flavor/replica.ts';
import { hostOperations } from './host/operations.ts';
import { usageAuditLogOperations } from './host/usage-audit-log.ts';
import { capacityFeed } from './hypervisor/capacity.ts';
import { hypervisorOperations } from './hypervisor/operations.ts';
import { keypairOperations } from './keypair/operations.ts';
import { keypairKind } from './keypair/replica.ts';
import { otherProjectLimits, quotaOperations } from './quota-set/operations.ts';
import { tenantUsageOperations } from './quota-set/tenant-usage.ts';
import { allProjects, serverGroupOperations } from './server-group/operations.ts';
import { serviceOperations } from './service/operations.ts';

/** The operations of all that is not a server. */
export function computeAdminOperations(deps: ComputeDependencies): Operation[] {
  return [
    ...flavorOperations(deps),
    ...keypairOperations(deps),
    ...quotaOperations(deps),
    ...tenantUsageOperations(deps),
    ...serviceOperations(deps),
    ...hypervisorOperations(deps),
    ...hostOperations(deps),
    ...usageAuditLogOperations(deps),
    ...aggregateOperations(deps),
    ...aggregateImageOperations(deps),
    ...availabilityZoneOperations(deps),
    ...serverGroupOperations(deps),
    ...extensionOperations(),
  ];
}

/** Rules that those operations ask beyond their own. */
export const computeAdminRules: readonly PolicyRule[] = [otherProjectLimits, allProjects];

/** Tells cascading how children hold flavors and keypairs, and how their sizes are read. */
export function registerComputeKinds(cascade: Cascade): void {
  cascade.register({ replica: flavorKind });
  cascade.register({ replica: keypairKind });
  cascade.register({ feed: capacityFeed(cascade) });
}
