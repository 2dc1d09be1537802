/** What Nova hands on to the services that do it, and what is left of what it once did itself. */
import type { Operation } from '../../http/service.ts';
import type { ServerDependencies } from '../server/index.ts';
import { floatingIpOperations } from './floating-ips.ts';
import { goneOperations } from './gone.ts';
import { imageOperations } from './images.ts';
import { networkOperations } from './networks.ts';
import { securityGroupOperations } from './security-groups.ts';
import { addressActions } from './server-addresses.ts';
import type { Forwarding } from './services.ts';
import { volumeOperations } from './volumes.ts';

export type { Forwarding } from './services.ts';

/** All of it. */
export function forwardedOperations(servers: ServerDependencies, forwarding: Forwarding): Operation[] {
  return [
    ...imageOperations(forwarding),
    ...volumeOperations(forwarding),
    ...networkOperations(forwarding),
    ...securityGroupOperations(forwarding),
    ...floatingIpOperations(forwarding),
    ...addressActions(servers, forwarding),
    ...goneOperations(),
  ];
}
