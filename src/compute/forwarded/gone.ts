/** What Nova itself has taken out: whoever asks is told so by a 410, and not by a 404 that could mean a wrong id. */
import { Fault } from '../../http/fault.ts';
import { type Method, type Operation, operation } from '../../http/service.ts';
import { ANYBODY, computeRule } from '../rules.ts';

const RULE = computeRule('gone', ANYBODY);

const GONE: Readonly<Record<string, readonly Method[]>> = {
  '/os-agents': ['GET', 'POST'],
  '/os-agents/:gone_id': ['PUT', 'DELETE'],
  '/os-cells': ['GET', 'POST'],
  '/os-cells/:gone_id': ['GET', 'PUT', 'DELETE'],
  '/os-cells/sync_instances': ['POST'],
  '/os-cells/:gone_id/capacities': ['GET'],
  '/os-certificates': ['POST'],
  '/os-certificates/:gone_id': ['GET'],
  '/os-cloudpipe': ['GET', 'POST'],
  '/os-cloudpipe/:gone_id': ['PUT'],
  '/os-fixed-ips/:gone_id': ['GET'],
  '/os-fixed-ips/:gone_id/action': ['POST'],
  '/os-floating-ip-dns': ['GET'],
  '/os-floating-ip-dns/:gone_id': ['PUT', 'DELETE'],
  '/os-floating-ip-dns/:gone_id/entries/:entry_id': ['GET', 'PUT', 'DELETE'],
  '/os-floating-ips-bulk': ['GET', 'POST'],
  '/os-floating-ips-bulk/:gone_id': ['GET', 'PUT'],
  '/os-fping': ['GET'],
  '/os-fping/:gone_id': ['GET'],
  '/os-networks': ['POST'],
  '/os-networks/add': ['POST'],
  '/os-networks/:network_id': ['DELETE'],
  '/os-networks/:network_id/action': ['POST'],
  '/os-security-group-default-rules': ['GET', 'POST'],
  '/os-security-group-default-rules/:gone_id': ['GET', 'DELETE'],
  '/os-tenant-networks': ['POST'],
  '/os-tenant-networks/:network_id': ['DELETE'],
  '/servers/:server_id/consoles': ['GET', 'POST'],
  '/servers/:server_id/consoles/:gone_id': ['GET', 'DELETE'],
  '/servers/:server_id/os-virtual-interfaces': ['GET'],
};

/** One operation for each, all of them alike. */
export function goneOperations(): Operation[] {
  return Object.entries(GONE).flatMap(([path, methods]) =>
    methods.map((method) =>
      operation({
        method,
        path,
        policy: RULE,
        status: 410,
        summary: 'Removed from Nova',
        handle: async () => {
          throw new Fault(410, 'This resource is no longer available. No forwarding address is given.');
        },
      }),
    ),
  );
}
