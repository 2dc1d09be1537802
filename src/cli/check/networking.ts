/** What a child's networking can do, and what it lacks for what the parent offers. Changes nothing there. */
import { askAbility } from '../../network/ability-feed.ts';
import { type Capability, type ChildAbility, ability, MAX_ROUTES, PREFIXES_MAX } from '../../network/ability.ts';
import type { NetworkTopology } from '../../network/topology.ts';
import type { CloudApi } from '../../openstack/contract.ts';
import type { ConfiguredChild } from '../config.ts';
import { type Finding, holds, lacking, unknown } from './finding.ts';
import { physicalNetworks } from './physical-network.ts';

/** What tenants lose in this child without each of these; transits and stretched networks depend on the wires, too. */
const LOST: Readonly<Record<Exclude<Capability, 'transit' | 'stretched'>, string>> = {
  address_groups: `nothing within bounds: each prefix is a rule of its own there, at most ${PREFIXES_MAX} for a group`,
  tags: 'nothing that they see: tags are kept by the parent',
  trunks: 'trunks on servers in its zones: refused',
  qos: 'QoS policies on networks, ports, gateways and floating IPs in its zones: refused',
  port_forwarding: 'port forwarding of floating IPs in its zones: refused',
  floating_ips: 'floating IPs in its zones: refused',
  gateways_without_snat: 'routers without SNAT in its zones: refused',
  external_networks: 'external networks that are made in the parent, in its zones: refused',
  extra_dhcp_options: 'extra DHCP options of ports in its zones',
};

export interface NetworkingParts {
  readonly api: CloudApi;
  readonly child: ConfiguredChild;
  readonly topology: NetworkTopology;
  /** Names of all children of the configuration. */
  readonly children: readonly string[];
  /** Whether networks may be made and taken away again, to see what the child accepts. */
  readonly tries: boolean;
}

/** @throws CloudError where the child does not answer */
export async function networking(parts: NetworkingParts): Promise<Finding[]> {
  const { api, child } = parts;
  if (!(await api.offers('network'))) return [];
  const facts = await askAbility(api, child);
  const known = ability({ name: child.name, zones: child.zones, asked_at: null, facts });
  return [
    await agents(api),
    ...capabilities(known),
    ...(await routers(api, child, known)),
    ...(await externalNetworks(api, child)),
    ...(await physicalNetworks(parts, known)),
  ];
}

async function agents(api: CloudApi): Promise<Finding> {
  const { status, body } = await api.call<{ agents: { agent_type: string; host: string; alive: boolean }[] }>({
    service: 'network',
    method: 'GET',
    path: '/agents',
    accept: [403, 404],
  });
  if (status >= 300) return unknown('agents', `the account may not see them (${status})`);
  const dead = body.agents.filter(({ alive }) => !alive).map(({ agent_type, host }) => `${agent_type} on ${host}`);
  const types = [...new Set(body.agents.map(({ agent_type }) => agent_type))].sort();
  if (types.length === 0) return unknown('agents', 'it shows none: it has none, or the account may not see them');
  if (dead.length === 0) return holds('agents', types.join(', '));
  return lacking('agents', 'missing', `down: ${dead.slice(0, 5).join(', ')}${dead.length > 5 ? ', ...' : ''}`, {
    lost: 'what these hosts carry: ports bind there no more',
  });
}

function capabilities(known: ChildAbility): Finding[] {
  return Object.entries(LOST).map(([capability, lost]) => {
    const topic = capability.replaceAll('_', ' ');
    const refusal = known.refusal(capability as Capability);
    if (refusal === undefined) return holds(topic, 'can take part');
    if (capability === 'address_groups' && known.facts?.extensions.includes('address-group') === true) {
      return { ...unknown(topic, refusal.operator), lost, mend: 'say so in the configuration, where it keeps to them' };
    }
    const isRole = /role admin/.test(refusal.operator);
    const mend = isRole ? 'give the account the role admin there' : 'enable the extension in its Neutron';
    return lacking(topic, 'missing', refusal.operator, { lost, mend });
  });
}

/** How many routes, and whether they are distributed over the hosts. */
async function routers(api: CloudApi, child: ConfiguredChild, known: ChildAbility): Promise<Finding[]> {
  const whence = child.max_routes === undefined ? `Neutron's default` : 'as configured';
  const routes = holds(
    'max_routes',
    `${child.max_routes ?? MAX_ROUTES} a router, ${whence}; no API tells what the child has`,
  );
  if (!known.has_distributed_routers) return [routes, holds('DVR', 'its routers are not distributed')];
  if (known.facts?.provider_networks !== true) {
    const says = 'its routers may be distributed, and the account may not choose';
    return [
      routes,
      lacking('DVR', 'missing', says, {
        lost: 'routers that span: a distributed one cannot end a transit',
        mend: 'the role admin',
      }),
    ];
  }
  const { body } = await api.call<{ routers: { id: string; description?: string }[] }>({
    service: 'network',
    method: 'GET',
    path: '/routers',
    query: { distributed: true, fields: ['id', 'description'] },
  });
  const ours = body.routers.filter(isOurs);
  if (ours.length === 0)
    return [routes, holds('DVR', 'it has distributed routers; copies of ours are made centralized')];
  return [
    routes,
    lacking('DVR', 'missing', `${ours.length} copies of our routers are distributed, e.g. ${ours[0]?.id}`, {
      lost: 'nothing as long as these routers do not span; they are centralized when they come to, with a short break',
    }),
  ];
}

async function externalNetworks(api: CloudApi, child: ConfiguredChild): Promise<Finding[]> {
  const topic = 'external networks';
  const { body } = await api.call<{ networks: { id: string; name: string; subnets: string[] }[] }>({
    service: 'network',
    method: 'GET',
    path: '/networks',
    query: { 'router:external': true, fields: ['id', 'name', 'subnets'] },
  });
  const visible = await withSubnets(api);
  const there = body.networks.map(({ name }) => name);
  const wanted = child.external_networks ?? Object.fromEntries(there.map((name) => [name, name]));
  if (Object.keys(wanted).length === 0) {
    return [
      lacking(
        topic,
        'missing',
        child.external_networks === undefined ? 'it has none' : 'the configuration leaves all out',
        {
          lost: 'gateways and floating IPs in its zones: nothing in them can be reached from outside',
        },
      ),
    ];
  }
  return Object.entries(wanted).map(([name, own]) => {
    const found = body.networks.find((network) => network.name === own);
    if (found === undefined) {
      const says = `${name} is to be the child's ${own}, which it does not have (it has: ${there.join(', ') || 'none'})`;
      const lost = `gateways and floating IPs on ${name} in its zones`;
      return lacking(topic, 'essential', says, { lost, mend: '`external_networks` in the configuration' });
    }
    if (found.subnets.length > 0 && !visible.has(found.id)) return unseen(name);
    if (found.subnets.length > 0) return holds(topic, name === own ? name : `${name} (there ${own})`);
    return lacking(topic, 'missing', `${own} has no subnet`, {
      lost: `gateways and floating IPs on ${name} in its zones`,
    });
  });
}

/** Neutron shows the subnets of an external network to administrators, and to others only where it is shared as well. */
const unseen = (name: string): Finding => ({
  ...unknown('external networks', `the account does not see the subnets of ${name}`),
  lost: 'nothing but the sight of it: the address of a gateway on it is not shown',
  mend: 'share the network in the child',
});

/** Networks of which the account sees a subnet. */
async function withSubnets(api: CloudApi): Promise<ReadonlySet<string>> {
  const call = {
    service: 'network',
    method: 'GET',
    path: '/subnets',
    query: { fields: ['id', 'network_id'] },
  } as const;
  const seen = new Set<string>();
  for await (const page of api.pages<{ network_id: string }>(call, 'subnets')) {
    for (const { network_id } of page) seen.add(network_id);
  }
  return seen;
}

const isOurs = ({ description }: { readonly description?: string }): boolean =>
  description?.startsWith('Headwater: ') === true;
