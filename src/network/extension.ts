/**
 * The extensions that this network service has: clients look here before they use what not every cloud offers. Each
 * kind of object announces its own, beside its description; here they come together.
 */
import { notFound } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { chooseFields, chooseItems } from './edge-list.ts';
import type { Extension } from './extension-type.ts';
import { addressGroupExtensions } from './address-group/address-group-resource.ts';
import { addressScopeExtensions } from './address-scope/address-scope-resource.ts';
import { agentExtensions } from './agent.ts';
import { autoTopologyExtensions } from './auto-topology/auto-topology.ts';
import { availabilityZoneExtensions } from './availability-zone.ts';
import { ipAvailabilityExtensions } from './availability/ip-availability.ts';
import { dnsExtensions } from './dns/dns-name.ts';
import { flavorExtensions } from './flavor/flavor-resource.ts';
import { floatingIpPoolExtensions } from './floating-ip-pool.ts';
import { floatingIpExtensions } from './floating-ip-resource.ts';
import { networkExtensions } from './network-resource.ts';
import { portForwardingExtensions } from './port-forwarding/port-forwarding-resource.ts';
import { portExtensions } from './port-resource.ts';
import { qosExtensions } from './qos/qos-policy-resource.ts';
import { quotaExtensions } from './quota.ts';
import { rbacExtensions } from './rbac/rbac-policy-resource.ts';
import { routerExtensions } from './router-resource.ts';
import { securityGroupExtensions } from './security-group-resource.ts';
import { segmentExtensions } from './segment.ts';
import { standardExtensions } from './standard-attributes.ts';
import { subnetPoolExtensions } from './subnet-pool/subnet-pool-resource.ts';
import { subnetExtensions } from './subnet-resource.ts';
import { trunkExtensions } from './trunk/trunk-resource.ts';

/** What holds for all lists and objects. */
const GENERAL: readonly Extension[] = [
  {
    alias: 'filter-validation',
    name: 'Filter parameters validation',
    description: 'Unknown filters are refused.',
    updated: '2018-07-04T10:00:00-00:00',
  },
  {
    alias: 'pagination',
    name: 'Pagination support',
    description: 'Lists come in pages.',
    updated: '2016-06-12T00:00:00-00:00',
  },
  {
    alias: 'project-id',
    name: 'project_id field enabled',
    description: 'project_id beside tenant_id.',
    updated: '2016-09-09T09:09:09-09:09',
  },
  {
    alias: 'sorting',
    name: 'Sorting support',
    description: 'Lists are sorted as asked.',
    updated: '2016-06-12T00:00:00-00:00',
  },
];

/** All that is announced, by alias. */
export const announced: readonly Extension[] = [
  GENERAL,
  addressGroupExtensions,
  addressScopeExtensions,
  agentExtensions,
  autoTopologyExtensions,
  availabilityZoneExtensions,
  ipAvailabilityExtensions,
  dnsExtensions,
  flavorExtensions,
  floatingIpPoolExtensions,
  floatingIpExtensions,
  networkExtensions,
  portForwardingExtensions,
  portExtensions,
  qosExtensions,
  quotaExtensions,
  rbacExtensions,
  routerExtensions,
  securityGroupExtensions,
  segmentExtensions,
  standardExtensions,
  subnetPoolExtensions,
  subnetExtensions,
  trunkExtensions,
]
  .flat()
  .toSorted((one, other) => (one.alias < other.alias ? -1 : 1));

const extensions = announced.map((extension) => ({ ...extension, links: [] }));

const policy = { name: 'get_extension', check: 'rule:public', description: 'List extensions' };

/** `GET /extensions`, `GET /extensions/:alias`, and the list of service providers, which is empty. */
export function extensionOperations(): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/extensions',
      policy,
      status: 200,
      summary: 'List extensions',
      handle: async (call) => ({ extensions: extensions.map((extension) => chooseFields(extension, call.query)) }),
    }),
    operation({
      method: 'GET',
      path: '/extensions/:alias',
      policy,
      status: 200,
      summary: 'Show an extension',
      handle: async (call) => {
        const extension = extensions.find(({ alias }) => alias === call.params.alias);
        if (extension !== undefined) return { extension: chooseFields(extension, call.query) };
        throw notFound(`Extension with alias ${call.params.alias ?? ''} does not exist`, 'HTTPNotFound');
      },
    }),
    operation({
      method: 'GET',
      path: '/service-providers',
      policy: { name: 'get_service_provider', check: 'rule:public', description: 'List service providers' },
      status: 200,
      summary: 'List service providers; there are none',
      handle: async ({ query }) => ({
        service_providers: chooseItems([], query, ['service_type', 'name', 'default']),
      }),
    }),
  ];
}
