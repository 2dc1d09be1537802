/** Everything of compute beside servers: flavors, keypairs, quotas and the operator's lists. */
import type { Cascade } from '../cascade/contract.ts';
import type { Operation } from '../http/service.ts';
import type { ComputeDependencies } from './dependencies.ts';
import { flavorOperations } from './flavor/operations.ts';
import { flavorKind } from './flavor/replica.ts';
import { keypairOperations } from './keypair/operations.ts';
import { keypairKind } from './keypair/replica.ts';

/** The operations of all that is not a server. */
export function computeAdminOperations(deps: ComputeDependencies): Operation[] {
  return [...flavorOperations(deps), ...keypairOperations(deps)];
}

/** Tells cascading how children hold flavors and keypairs. */
export function registerComputeKinds(cascade: Cascade): void {
  cascade.register({ replica: flavorKind });
  cascade.register({ replica: keypairKind });
}
