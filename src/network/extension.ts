/** The extensions that this network service has: clients look here before they use what not every cloud offers. */
import { notFound } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { chooseFields } from './edge-list.ts';

/** Alias, name, description, and the day the extension came to be. */
const EXTENSIONS: readonly (readonly [string, string, string, string])[] = [
  ['address-group', 'Address group', 'Lists of addresses that security group rules name.', '2020-07-15'],
  ['address-scope', 'Address scope', 'Scopes within which prefixes are unique.', '2015-07-26'],
  ['default-subnetpools', 'Default Subnetpools', 'Subnets out of the default subnet pool.', '2016-02-18'],
  ['subnet_allocation', 'Subnet Allocation', 'Subnets out of subnet pools.', '2015-03-30'],
  ['subnet_onboard', 'Subnet Onboard', 'Subnets are taken into a subnet pool.', '2018-12-18'],
  [
    'subnetpool-prefix-ops',
    'Subnet Pool Prefix Operations',
    'Single prefixes are added to a subnet pool and removed.',
    '2019-02-08',
  ],
  ['agent', 'agent', 'Network agents; here, the proxies of the children.', '2013-02-03'],
  ['allowed-address-pairs', 'Allowed Address Pairs', 'Further addresses that a port may send from.', '2013-07-23'],
  [
    'auto-allocated-topology',
    'Auto Allocated Topology Services',
    'A network behind a router, without asking for its parts.',
    '2016-01-01',
  ],
  ['floatingip-pools', 'Floating IP Pools Extension', 'Where floating IPs can come from.', '2018-03-21'],
  ['network-ip-availability', 'Network IP Availability', 'How many addresses of networks are in use.', '2015-09-24'],
  [
    'revision-if-match',
    'If-Match constraints based on revision_number',
    'Changes that hold for one revision.',
    '2016-12-11',
  ],
  ['segment', 'Segment', 'The segments of networks, one each.', '2016-02-24'],
  [
    'standard-attr-segment',
    'Standard Attribute Segment Extension',
    'Segments tell when they were made and changed.',
    '2018-04-09',
  ],
  ['availability_zone', 'Availability Zone', 'Availability zones.', '2015-01-01'],
  ['binding', 'Port Binding', 'How and where a port is bound.', '2014-02-03'],
  ['ext-gw-mode', 'Neutron L3 Configurable external gateway mode', 'SNAT at a gateway, or none.', '2013-03-28'],
  ['external-net', 'Neutron external network', 'Networks that lead outside.', '2013-01-14'],
  ['extra_dhcp_opt', 'Neutron Extra DHCP options', 'Further DHCP options of a port.', '2013-03-17'],
  ['extraroute', 'Neutron Extra Route', 'Extra routes of a router.', '2013-02-01'],
  ['extraroute-atomic', 'Atomically add/remove extra routes', 'Adding and removing single extra routes.', '2019-07-10'],
  ['fip-port-details', 'Floating IP Port Details Extension', 'The port behind a floating IP.', '2018-04-09'],
  [
    'floating-ip-port-forwarding',
    'Floating IP Port Forwarding',
    'Single ports of a floating IP lead to ports of servers.',
    '2018-01-19',
  ],
  [
    'floating-ip-port-forwarding-description',
    'Floating IP Port Forwarding new attribute description',
    'Port forwardings have a description.',
    '2019-11-01',
  ],
  [
    'floating-ip-port-forwarding-detail',
    'Floating IP port forwarding detail',
    'A floating IP shows the ids of its port forwardings and their ports.',
    '2022-05-06',
  ],
  [
    'floating-ip-port-forwarding-port-ranges',
    'Floating IP Port Forwarding support port ranges',
    'Port forwardings of ranges of ports.',
    '2020-07-01',
  ],
  [
    'expose-port-forwarding-in-fip',
    'Expose Floating IP port forwardings',
    'A floating IP shows its port forwardings.',
    '2019-04-09',
  ],
  ['flavors', 'Neutron Service Flavors', 'Flavors of services and the profiles behind them.', '2015-09-17'],
  ['dns-domain-ports', 'dns_domain for ports', 'Ports have a DNS domain of their own.', '2017-06-25'],
  ['dns-integration', 'DNS Integration', 'Names of ports, networks and floating IPs.', '2015-08-15'],
  ['filter-validation', 'Filter parameters validation', 'Unknown filters are refused.', '2018-03-21'],
  ['ip_allocation', 'IP Allocation', 'When a port gets its addresses: at once.', '2016-06-10'],
  ['l2_adjacency', 'L2 Adjacency', 'Whether all ports of a network are on one segment.', '2016-04-12'],
  ['net-mtu-writable', 'Network MTU (writable)', 'The MTU of a network is chosen.', '2017-07-12'],
  ['port-mac-address-regenerate', 'Neutron Port MAC address regenerate', 'A port is given another MAC.', '2018-05-03'],
  [
    'port-numa-affinity-policy',
    'Port NUMA affinity policy',
    'How near to its NUMA node a port has to be.',
    '2020-07-08',
  ],
  ['rbac-policies', 'RBAC Policies', 'Objects are shared with other projects.', '2015-06-17'],
  ['rbac-address-group', 'Add address_group type to RBAC', 'Address groups are shared.', '2020-08-24'],
  ['rbac-address-scope', 'Add address_scope type to RBAC', 'Address scopes are shared.', '2020-02-12'],
  ['rbac-security-groups', 'Add security_group type to network RBAC', 'Security groups are shared.', '2019-02-14'],
  ['rbac-subnetpool', 'Add subnetpool type to RBAC', 'Subnet pools are shared.', '2020-02-22'],
  ['quota-check-limit', 'Quota engine limit check', 'A limit below what is used is refused on request.', '2021-07-01'],
  [
    'security-groups-normalized-cidr',
    'Normalized CIDR field for security group rules',
    'Prefixes in their usual form.',
    '2020-06-10',
  ],
  [
    'security-groups-shared-filtering',
    'Security group filtering on the shared field',
    'Which groups are shared.',
    '2021-10-05',
  ],
  ['stateful-security-group', 'Stateful security group', 'Groups that track no connections.', '2019-11-26'],
  ['subnet-service-types', 'Subnet service types', 'Subnets for certain owners of ports.', '2016-03-15'],
  ['net-mtu', 'Network MTU', 'The MTU of a network.', '2015-03-25'],
  ['network_availability_zone', 'Network Availability Zone', 'Availability zones of networks.', '2015-01-01'],
  ['pagination', 'Pagination support', 'Lists come in pages.', '2016-06-12'],
  ['port-security', 'Port Security', 'Ports whose traffic is not filtered.', '2012-07-23'],
  ['project-id', 'project_id field enabled', 'project_id beside tenant_id.', '2016-09-09'],
  ['provider', 'Provider Network', 'How a network lies on physical ones.', '2012-09-07'],
  ['qos', 'Quality of Service', 'Policies and their rules for networks and ports.', '2015-06-08'],
  ['qos-bw-limit-direction', 'Direction for QoS bandwidth limit rule', 'Limits for what comes in, too.', '2017-04-10'],
  [
    'qos-bw-minimum-ingress',
    'Ingress direction for QoS minimum bandwidth rule',
    'Guarantees for what comes in, too.',
    '2018-07-09',
  ],
  ['qos-default', 'QoS default policy', 'A policy for the networks of a project that ask for none.', '2017-04-10'],
  ['qos-fip', 'Floating IP QoS', 'Policies of floating IPs.', '2017-07-20'],
  ['qos-gateway-ip', 'Router gateway IP QoS', 'Policies of the gateways of routers.', '2018-09-17'],
  ['qos-port-network-policy', 'QoS port network policy ID', 'A port shows the policy of its network.', '2020-05-19'],
  ['qos-pps', 'QoS Rule Type Packet per Second Extension', 'Limits of packets a second.', '2020-12-01'],
  ['qos-pps-minimum', 'QoS minimum packet rate rule', 'Guarantees of packets a second.', '2021-07-12'],
  [
    'qos-pps-minimum-rule-alias',
    'QoS minimum packet rate rule alias',
    'These by the id of the rule alone.',
    '2021-08-13',
  ],
  ['qos-rule-type-details', 'Details of QoS rule types', 'What a type of rules takes.', '2017-06-22'],
  [
    'qos-rule-type-filter',
    'Allow to filter the list of QoS rule types',
    'All types, or those that are enforced.',
    '2021-12-01',
  ],
  ['qos-rules-alias', 'Quality of Service rules alias API', 'Rules by their ids alone.', '2018-12-12'],
  ['quota_details', 'Quota details management support', 'How much of a quota is used.', '2017-02-10'],
  ['quotas', 'Quota management support', 'Quotas of projects.', '2012-07-29'],
  ['router', 'Neutron L3 Router', 'Routers, gateways and floating IPs.', '2012-07-20'],
  ['router_availability_zone', 'Router Availability Zone', 'Availability zones of routers.', '2015-01-01'],
  ['security-group', 'security-group', 'Security groups and their rules.', '2012-10-05'],
  [
    'security-groups-remote-address-group',
    'Remote address group id field for security group rules',
    'Rules that admit an address group.',
    '2020-08-25',
  ],
  ['service-type', 'Neutron Service Type Management', 'Providers of advanced services: none.', '2013-01-20'],
  ['sorting', 'Sorting support', 'Lists are sorted as asked.', '2016-06-12'],
  ['standard-attr-description', 'standard-attr-description', 'Every object has a description.', '2016-02-10'],
  ['standard-attr-revisions', 'Resource revision numbers', 'Every object counts its changes.', '2016-04-11'],
  [
    'standard-attr-tag',
    'Tag support for resources with standard attribute: port, subnet, network, security_group, router, floatingip',
    'Objects can be tagged.',
    '2017-01-01',
  ],
  ['standard-attr-timestamp', 'Resource timestamps', 'Every object tells when it was made and changed.', '2016-09-12'],
  ['trunk', 'Trunk Extension', 'Ports that carry the traffic of others, tagged.', '2016-01-01'],
  ['trunk-details', 'Trunk port details', 'A parent port shows the subports of its trunk.', '2016-01-01'],
];

const extensions = EXTENSIONS.map(([alias, name, description, day]) => ({
  name,
  alias,
  description,
  updated: `${day}T10:00:00-00:00`,
  links: [],
}));

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
        if (extension !== undefined) return { extension };
        throw notFound(`Extension with alias ${call.params.alias ?? ''} does not exist`, 'HTTPNotFound');
      },
    }),
    operation({
      method: 'GET',
      path: '/service-providers',
      policy: { name: 'get_service_provider', check: 'rule:public', description: 'List service providers' },
      status: 200,
      summary: 'List service providers; there are none',
      handle: async () => ({ service_providers: [] }),
    }),
  ];
}
