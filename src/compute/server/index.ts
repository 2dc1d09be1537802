/** Servers: their operations, their proxy, their feeds. */
import type { Operation, PolicyRule } from '../../http/service.ts';
import { actionOperations } from './actions.ts';
import { askedOperations } from './asked.ts';
import { volumeOperations } from './attachments.ts';
import {
  ATTACH_NETWORK_RULE,
  ATTACH_VOLUME_RULE,
  DESTINATION_RULE,
  FORCED_HOST_RULE,
  TRUSTED_CERTIFICATES_RULE,
  ZERO_DISK_RULE,
} from './boot-lookup.ts';
import type { ServerDependencies } from './dependencies.ts';
import { externalEventOperations } from './external-events.ts';
import { historyOperations } from './history.ts';
import { interfaceOperations } from './interfaces.ts';
import { leavingKind } from './leaving.ts';
import { migrationOperations } from './migrations.ts';
import { serverOperations } from './operations.ts';
import { partOperations } from './parts.ts';
import { serverKind } from './proxy.ts';
import { refreshAddresses, refreshVolumes } from './records.ts';
import { EXTENDED_RULE, EXTRA_SPECS_RULE, server } from './resource.ts';
import { inner } from './rules.ts';
import { serverAudit, serverFeed } from './sync.ts';

export type { ServerDependencies, ServerFlavors, ServerKeypairs } from './dependencies.ts';
export { act } from './act.ts';
export { askChild } from './ask.ts';
export { quotaFault } from './boot.ts';
export { findServer } from './lookup.ts';
export { owned } from './owned.ts';
export { bury } from './records.ts';
export { hostIdOf, type ServerFlavor, type ServerRow, server, serverStore } from './resource.ts';

export interface Servers {
  readonly operations: readonly Operation[];
  /** Rules that no operation carries by itself. */
  readonly rules: readonly PolicyRule[];
}

/** Makes the servers and registers with cascading and with the services whose changes they follow. */
export function createServers(dependencies: ServerDependencies): Servers {
  const { cascade, network, volumes } = dependencies;
  cascade.register({ hosted: serverKind(dependencies), feed: serverFeed(dependencies) });
  cascade.register({ hosted: leavingKind(dependencies), feed: serverAudit(dependencies) });
  network.onChange((tx, ids) => refreshAddresses(tx, dependencies, ids));
  volumes.onChange((tx, ids) => refreshVolumes(tx, dependencies, ids));
  return {
    operations: [
      ...serverOperations(dependencies),
      ...actionOperations(dependencies),
      ...partOperations(dependencies),
      ...volumeOperations(dependencies),
      ...interfaceOperations(dependencies),
      ...historyOperations(dependencies),
      ...askedOperations(dependencies),
      ...migrationOperations(dependencies),
      ...externalEventOperations(dependencies),
    ],
    rules: [
      ...Object.values(inner),
      ...server.fieldRules,
      EXTENDED_RULE,
      EXTRA_SPECS_RULE,
      FORCED_HOST_RULE,
      DESTINATION_RULE,
      ZERO_DISK_RULE,
      ATTACH_VOLUME_RULE,
      ATTACH_NETWORK_RULE,
      TRUSTED_CERTIFICATES_RULE,
    ],
  };
}
