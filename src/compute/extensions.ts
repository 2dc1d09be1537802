/** The extensions that old clients look for before they use a feature; there are no others in Nova's API any more. */
import { notFound } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { ANYBODY, computeRule } from './rules.ts';

const ALIASES: Readonly<Record<string, string>> = {
  NMN: 'Multinic',
  'OS-DCF': 'DiskConfig',
  'OS-EXT-AZ': 'ExtendedAvailabilityZone',
  'OS-EXT-IPS': 'ExtendedIps',
  'OS-EXT-IPS-MAC': 'ExtendedIpsMac',
  'OS-EXT-SRV-ATTR': 'ExtendedServerAttributes',
  'OS-EXT-STS': 'ExtendedStatus',
  'OS-FLV-DISABLED': 'FlavorDisabled',
  'OS-FLV-EXT-DATA': 'FlavorExtraData',
  'OS-SRV-USG': 'ServerUsage',
  'os-admin-actions': 'AdminActions',
  'os-aggregates': 'Aggregates',
  'os-attach-interfaces': 'AttachInterfaces',
  'os-availability-zone': 'AvailabilityZone',
  'os-block-device-mapping-v2-boot': 'BlockDeviceMappingV2Boot',
  'os-console-output': 'ConsoleOutput',
  'os-consoles': 'Consoles',
  'os-extended-volumes': 'ExtendedVolumes',
  'os-flavor-access': 'FlavorAccess',
  'os-flavor-extra-specs': 'FlavorExtraSpecs',
  'os-flavor-manage': 'FlavorManage',
  'os-flavor-rxtx': 'FlavorRxtx',
  'os-flavor-swap': 'FlavorSwap',
  'os-hypervisors': 'Hypervisors',
  'os-instance-actions': 'InstanceActions',
  'os-keypairs': 'Keypairs',
  'os-multiple-create': 'MultipleCreate',
  'os-quota-class-sets': 'QuotaClasses',
  'os-quota-sets': 'Quotas',
  'os-rescue': 'Rescue',
  'os-server-groups': 'ServerGroups',
  'os-services': 'Services',
  'os-shelve': 'Shelve',
  'os-simple-tenant-usage': 'SimpleTenantUsage',
  'os-used-limits': 'UsedLimits',
  'os-used-limits-for-admin': 'UsedLimitsForAdmin',
  'os-user-data': 'UserData',
  'os-volumes': 'Volumes',
};

const rule = computeRule('extensions', ANYBODY);

const view = ([alias, name]: readonly [string, string]) => ({
  alias,
  name,
  description: `${name} support.`,
  links: [],
  namespace: 'http://docs.openstack.org/compute/ext/fake_xml',
  updated: '2014-12-03T00:00:00Z',
});

/** `/extensions` and one of them. */
export function extensionOperations(): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/extensions',
      policy: rule,
      status: 200,
      summary: 'List extensions',
      handle: async () => ({ extensions: Object.entries(ALIASES).map(view) }),
    }),
    operation({
      method: 'GET',
      path: '/extensions/:alias',
      policy: rule,
      status: 200,
      summary: 'Show an extension',
      handle: async ({ params }) => {
        const alias = params.alias as string;
        const name = Object.hasOwn(ALIASES, alias) ? ALIASES[alias] : undefined;
        if (name === undefined) throw notFound('The resource could not be found.');
        return { extension: view([alias, name]) };
      },
    }),
  ];
}
