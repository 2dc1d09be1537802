/** `/os-networks` and `/os-tenant-networks`: the names of Neutron's networks, in the shape of a service long gone. */
import { type Call, type Operation, operation, type RequestContext } from '../../http/service.ts';
import { computeRule, READER } from '../rules.ts';
import { type Forwarding, missingAs, pathOf, PROXIES_UNTIL, reworded } from './services.ts';

interface NeutronNetwork {
  readonly id: string;
  readonly name: string;
}

/** What nova-network knew of a network; only its id and label are left. */
const FIELDS = 'cidr netmask gateway broadcast dns1 dns2 cidr_v6 gateway_v6 netmask_v6'.split(' ');
const ADMIN_FIELDS = `created_at updated_at deleted_at deleted injected bridge vlan vpn_public_address vpn_public_port
  vpn_private_address dhcp_start project_id host bridge_interface multi_host priority rxtx_base mtu dhcp_server
  enable_dhcp share_address`.split(/\s+/);

const blank = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, null]));

const networkView = ({ identity }: RequestContext, { id, name }: NeutronNetwork) => ({
  ...blank(FIELDS),
  ...(identity.isAdmin ? blank(ADMIN_FIELDS) : {}),
  id,
  label: name,
});
// 'None' is the text that Nova shows here.
const tenantNetworkView = (_context: RequestContext, { id, name }: NeutronNetwork) => ({
  id,
  cidr: 'None',
  label: name,
});

/** Lists and shows of both. */
export function networkOperations({ network }: Forwarding): Operation[] {
  // All that the caller sees in Neutron, as Nova asks for them.
  const list = async (context: RequestContext): Promise<NeutronNetwork[]> =>
    ((await network(context, { method: 'GET', path: '/networks' })) as { networks: NeutronNetwork[] }).networks;
  const show = async (call: Call): Promise<NeutronNetwork> => {
    const answer = network(call.context, { method: 'GET', path: `/networks/${pathOf(call, 'network_id')}` });
    return ((await reworded(answer, missingAs('Network not found'))) as { network: NeutronNetwork }).network;
  };
  return [
    { path: '/os-networks', view: networkView, rule: 'os-networks', check: READER, what: 'network' },
    {
      path: '/os-tenant-networks',
      view: tenantNetworkView,
      rule: 'os-tenant-networks',
      check: 'rule:project_reader',
      what: 'network of the project',
    },
  ].flatMap(({ path, view, rule, check, what }) => [
    operation({
      method: 'GET',
      path,
      until: PROXIES_UNTIL,
      policy: computeRule(`${rule}:list`, check),
      status: 200,
      summary: `List ${what.replace('network', 'networks')}`,
      handle: async ({ context }) => ({ networks: (await list(context)).map((one) => view(context, one)) }),
    }),
    operation({
      method: 'GET',
      path: `${path}/:network_id`,
      until: PROXIES_UNTIL,
      policy: computeRule(`${rule}:show`, check),
      status: 200,
      summary: `Show a ${what}`,
      handle: async (call) => ({ network: view(call.context, await show(call)) }),
    }),
  ]);
}
