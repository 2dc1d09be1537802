/** The extensions that old clients look for before they use a feature; there are no others in Nova's API any more. */
import { notFound } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { ANYBODY, computeRule } from './rules.ts';

const ALIASES: Readonly<Record<string, string>> = {
  NMN: 'Multinic',
  'OS-DCF': 'DiskConfig',
  'OS-EXT-AZ': 'ExtendedAvailabilityZone',
  'OS-EXT-IMG-SIZE': 'ImageSize',
  'OS-EXT-IPS': 'ExtendedIps',
  'OS-EXT-IPS-MAC': 'ExtendedIpsMac',
  'OS-EXT-SRV-ATTR': 'ExtendedServerAttributes',
  'OS-EXT-STS': 'ExtendedStatus',
  'OS-FLV-DISABLED': 'FlavorDisabled',
  'OS-FLV-EXT-DATA': 'FlavorExtraData',
  'OS-SCH-HNT': 'SchedulerHints',
  'OS-SRV-USG': 'ServerUsage',
  'os-access-ips': 'AccessIPs',
  'os-admin-actions': 'AdminActions',
  'os-admin-password': 'AdminPassword',
  'os-aggregates': 'Aggregates',
  'os-attach-interfaces': 'AttachInterfaces',
  'os-availability-zone': 'AvailabilityZone',
  'os-block-device-mapping': 'BlockDeviceMapping',
  'os-block-device-mapping-v2-boot': 'BlockDeviceMappingV2Boot',
  'os-config-drive': 'ConfigDrive',
  'os-console-output': 'ConsoleOutput',
  'os-consoles': 'Consoles',
  'os-create-backup': 'CreateBackup',
  'os-create-server-ext': 'Createserverext',
  'os-deferred-delete': 'DeferredDelete',
  'os-evacuate': 'Evacuate',
  'os-extended-evacuate-find-host': 'ExtendedEvacuateFindHost',
  'os-extended-floating-ips': 'ExtendedFloatingIps',
  'os-extended-hypervisors': 'ExtendedHypervisors',
  'os-extended-quotas': 'ExtendedQuotas',
  'os-extended-rescue-with-image': 'ExtendedRescueWithImage',
  'os-extended-services': 'ExtendedServices',
  'os-extended-services-delete': 'ExtendedServicesDelete',
  'os-extended-status': 'ExtendedStatus',
  'os-extended-volumes': 'ExtendedVolumes',
  'os-flavor-access': 'FlavorAccess',
  'os-flavor-extra-specs': 'FlavorExtraSpecs',
  'os-flavor-manage': 'FlavorManage',
  'os-flavor-rxtx': 'FlavorRxtx',
  'os-flavor-swap': 'FlavorSwap',
  'os-floating-ip-pools': 'FloatingIpPools',
  'os-floating-ips': 'FloatingIps',
  'os-hide-server-addresses': 'HideServerAddresses',
  'os-hosts': 'Hosts',
  'os-hypervisor-status': 'HypervisorStatus',
  'os-hypervisors': 'Hypervisors',
  'os-instance-actions': 'InstanceActions',
  'os-instance_usage_audit_log': 'OSInstanceUsageAuditLog',
  'os-keypairs': 'Keypairs',
  'os-lock-server': 'LockServer',
  'os-migrate-server': 'MigrateServer',
  'os-migrations': 'Migrations',
  'os-multiple-create': 'MultipleCreate',
  'os-networks': 'Networks',
  'os-pause-server': 'PauseServer',
  'os-personality': 'Personality',
  'os-quota-class-sets': 'QuotaClasses',
  'os-quota-sets': 'Quotas',
  'os-rescue': 'Rescue',
  'os-security-groups': 'SecurityGroups',
  'os-server-diagnostics': 'ServerDiagnostics',
  'os-server-external-events': 'ServerExternalEvents',
  'os-server-group-quotas': 'ServerGroupQuotas',
  'os-server-groups': 'ServerGroups',
  'os-server-list-multi-status': 'ServerListMultiStatus',
  'os-server-password': 'ServerPassword',
  'os-server-sort-keys': 'ServerSortKeys',
  'os-server-start-stop': 'ServerStartStop',
  'os-services': 'Services',
  'os-shelve': 'Shelve',
  'os-simple-tenant-usage': 'SimpleTenantUsage',
  'os-suspend-server': 'SuspendServer',
  'os-tenant-networks': 'OSTenantNetworks',
  'os-used-limits': 'UsedLimits',
  'os-used-limits-for-admin': 'UsedLimitsForAdmin',
  'os-user-data': 'UserData',
  'os-volume-attachment-update': 'VolumeAttachmentUpdate',
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
