/** The physical networks that the configuration says join a child with others, against what the child says of them. */
import type { ChildAbility } from '../../network/ability.ts';
import type { PhysicalNetwork, VlanRange } from '../../network/topology.ts';
import { type CloudApi, CloudError } from '../../openstack/contract.ts';
import { type Finding, holds, lacking, unknown } from './finding.ts';
import type { NetworkingParts } from './networking.ts';

interface ChildNetwork {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
  readonly mtu?: number;
  readonly 'provider:network_type'?: string;
  readonly 'provider:segmentation_id'?: number | null;
}

interface SegmentRange {
  readonly minimum: number;
  readonly maximum: number;
  readonly physical_network?: string | null;
}

/** The name of the network that is made and taken away to see whether the child takes it. */
const TRIED = 'headwater-check';

/** One or more findings for each physical network of the child, and what it means to have none. */
export async function physicalNetworks(parts: NetworkingParts, known: ChildAbility): Promise<Finding[]> {
  const { child, topology, children } = parts;
  const own = topology.physical_networks.filter((physical) => child.name in physical.children);
  const findings = await Promise.all(own.map((physical) => physicalNetwork(parts, known, physical)));
  const others = children.filter((name) => name !== child.name);
  const joined = new Set(own.filter(({ transit_vlans }) => transit_vlans !== undefined).flatMap(namesOf));
  const apart = others.filter((name) => !joined.has(name));
  if (apart.length === 0) return findings.flat();
  return [
    ...findings.flat(),
    lacking('transit', 'missing', `no physical network with transit_vlans joins it with ${apart.join(', ')}`, {
      lost: `routers with networks here and in ${apart.join(' or ')}: refused when the interface is added`,
      mend: '`physical_networks` in the configuration, where there is such a wire',
    }),
  ];
}

const namesOf = ({ children }: PhysicalNetwork): string[] => Object.keys(children);

async function physicalNetwork(
  parts: NetworkingParts,
  known: ChildAbility,
  physical: PhysicalNetwork,
): Promise<Finding[]> {
  const { api, child } = parts;
  const topic = `physical network ${physical.name}`;
  const there = physical.children[child.name] ?? '';
  const others = namesOf(physical).filter((name) => name !== child.name);
  const uses = [
    ...(physical.transit_vlans === undefined ? [] : (['transit'] as const)),
    ...(physical.vlans === undefined && !physical.flat ? [] : (['stretched'] as const)),
  ];
  const refusals = uses.flatMap((use) => known.refusal(use, there) ?? []);
  const lost = `routers and networks over this child and ${others.join(', ') || 'others'}: refused`;
  if (refusals.length > 0) return refusals.map(({ operator }) => lacking(topic, 'essential', operator, { lost }));
  if (uses.length === 0) {
    return [lacking(topic, 'missing', 'it has neither vlans, transit_vlans nor flat', { lost, mend: 'one of these' })];
  }
  const says = `there ${there}; joins it with ${others.join(', ') || 'nobody else'}`;
  const isTold = known.facts?.physical_networks != null;
  const wired = isTold
    ? holds(topic, says)
    : unknown(topic, `${says}; its agents do not tell whether they are wired to it`);
  const used = await networksOn(api, there);
  return [
    wired,
    ...vlans(topic, physical, used),
    ...(await poolOfTheChild(api, known, topic, physical, there)),
    ...mtu(topic, physical, used),
    ...(parts.tries ? await tryThem(api, topic, physical, there, used, lost) : []),
  ];
}

async function networksOn(api: CloudApi, physicalNetwork: string): Promise<ChildNetwork[]> {
  const query = { 'provider:physical_network': physicalNetwork };
  const networks: ChildNetwork[] = [];
  const pages = api.pages<ChildNetwork>({ service: 'network', method: 'GET', path: '/networks', query }, 'networks');
  for await (const page of pages) networks.push(...page);
  return networks;
}

/** VLANs of ours that something else in the child lies on. */
function vlans(topic: string, physical: PhysicalNetwork, used: readonly ChildNetwork[]): Finding[] {
  const foreign = used.filter(({ description }) => description?.startsWith('Headwater: ') !== true);
  const findings = rangesOf(physical).map(([key, range]) => {
    const says = `${key} ${range.first}-${range.last}`;
    const taken = foreign.filter((network) => contains(range, network['provider:segmentation_id']));
    if (taken.length === 0) return holds(topic, `${says}: not used by others in the child`);
    const who = taken.map((network) => `${network['provider:segmentation_id']} by ${network.name || network.id}`);
    const isFull = taken.length >= range.last - range.first + 1;
    return lacking(topic, isFull ? 'essential' : 'missing', `${says}: used by others in the child: ${who.join(', ')}`, {
      lost: isFull ? 'all that this range is for' : `${taken.length} of these VLANs: others are taken instead`,
      mend: 'another range in the configuration, or other VLANs for these networks',
    });
  });
  const flat = foreign.find((network) => network['provider:network_type'] === 'flat');
  if (!physical.flat || flat === undefined) return findings;
  return [
    ...findings,
    lacking(topic, 'essential', `flat: its untagged segment is used by ${flat.name || flat.id}`, {
      lost: 'the flat network over this child',
      mend: '`flat: false` in the configuration',
    }),
  ];
}

const rangesOf = ({ vlans: own, transit_vlans }: PhysicalNetwork): (readonly [string, VlanRange])[] => [
  ...(own === undefined ? [] : [['vlans', own] as const]),
  ...(transit_vlans === undefined ? [] : [['transit_vlans', transit_vlans] as const]),
];

const contains = ({ first, last }: VlanRange, id: number | null | undefined): boolean =>
  id != null && id >= first && id <= last;

/** An administrator may name any VLAN; but the child must not hand the same ones to its own tenants. */
async function poolOfTheChild(
  api: CloudApi,
  known: ChildAbility,
  topic: string,
  physical: PhysicalNetwork,
  there: string,
): Promise<Finding[]> {
  const ranges = rangesOf(physical);
  if (ranges.length === 0) return [];
  if (known.facts?.extensions.includes('network-segment-range') !== true) {
    const which = ranges.map(([key]) => key).join(' and ');
    return [
      unknown(
        topic,
        `whether the child gives ${which} to its own tenants: see that its network_vlan_ranges leave them out`,
      ),
    ];
  }
  const { status, body } = await api.call<{ network_segment_ranges: SegmentRange[] }>({
    service: 'network',
    method: 'GET',
    path: '/network_segment_ranges',
    query: { network_type: 'vlan', physical_network: there },
    accept: [403, 404],
  });
  if (status >= 300) return [unknown(topic, `the account may not see its VLAN ranges (${status})`)];
  const pools = body.network_segment_ranges.filter(({ physical_network }) => physical_network === there);
  return ranges.map(([key, { first, last }]) => {
    const shared = pools.filter(({ minimum, maximum }) => minimum <= last && first <= maximum);
    if (shared.length === 0)
      return holds(topic, `${key} ${first}-${last}: the child gives none of them to its own tenants`);
    const which = shared.map(({ minimum, maximum }) => `${minimum}-${maximum}`).join(', ');
    return lacking(topic, 'missing', `${key} ${first}-${last}: the child's own tenants get VLANs from ${which}, too`, {
      lost: 'VLANs that the child has given away: others are taken instead',
      mend: `leave ${first}-${last} out of the child's VLAN ranges`,
    });
  });
}

function mtu(topic: string, physical: PhysicalNetwork, used: readonly ChildNetwork[]): Finding[] {
  const smaller = used.find((network) => network.mtu !== undefined && network.mtu < physical.mtu);
  if (smaller === undefined) return [];
  return [
    lacking(topic, 'missing', `mtu ${physical.mtu}, but ${smaller.name || smaller.id} on it has ${smaller.mtu}`, {
      lost: 'large packets between children, if the wire itself carries no more than that',
      mend: '`mtu` in the configuration',
    }),
  ];
}

/** Makes a network on a free VLAN of each range and takes it away again: only the child knows what it accepts. */
async function tryThem(
  api: CloudApi,
  topic: string,
  physical: PhysicalNetwork,
  there: string,
  used: readonly ChildNetwork[],
  lost: string,
): Promise<Finding[]> {
  for (const { id } of used.filter(({ name }) => name === TRIED)) await takeAway(api, id);
  const findings: Finding[] = [];
  for (const [key, { first, last }] of rangesOf(physical)) {
    const taken = new Set(used.map((network) => network['provider:segmentation_id']));
    const free = Array.from({ length: last - first + 1 }, (_, at) => last - at).find((id) => !taken.has(id));
    if (free === undefined) continue;
    try {
      const { body } = await api.call<{ network: { id: string } }>({
        service: 'network',
        method: 'POST',
        path: '/networks',
        body: {
          network: {
            name: TRIED,
            description: 'Headwater: made by a check, and taken away at once',
            'provider:network_type': 'vlan',
            'provider:physical_network': there,
            'provider:segmentation_id': free,
          },
        },
      });
      await takeAway(api, body.network.id);
      findings.push(holds(topic, `${key}: the child took a network on VLAN ${free}`));
    } catch (error) {
      if (!(error instanceof CloudError) || error.failure === 'down') throw error;
      findings.push(
        lacking(topic, 'essential', `${key}: the child refused a network on VLAN ${free}: ${error.message}`, { lost }),
      );
    }
  }
  return findings;
}

async function takeAway(api: CloudApi, id: string): Promise<void> {
  await api.call({ service: 'network', method: 'DELETE', path: `/networks/${id}`, accept: [404] });
}
