/** Which services a child has, how recent they are, and whether it has the zones that the configuration names. */
import type { CloudApi, CloudCall, CloudService } from '../../openstack/contract.ts';
import { compareMicroversions } from '../../openstack/microversion.ts';
import type { ConfiguredChild } from '../config.ts';
import { type Finding, holds, lacking } from './finding.ts';

interface Expected {
  readonly service: CloudService;
  readonly name: string;
  readonly small: Pick<CloudCall, 'path' | 'query'>;
  readonly state: 'missing' | 'essential';
  readonly lost: string;
}

const EXPECTED: readonly Expected[] = [
  {
    service: 'compute',
    name: 'Nova',
    small: { path: '/servers', query: { limit: 1 } },
    state: 'essential',
    lost: 'servers in its zones',
  },
  {
    service: 'network',
    name: 'Neutron',
    small: { path: '/networks', query: { limit: 1 } },
    state: 'essential',
    lost: 'networks in its zones, and with them servers',
  },
  {
    service: 'image',
    name: 'Glance',
    small: { path: '/images', query: { limit: 1 } },
    state: 'essential',
    lost: 'boots from images in its zones',
  },
  {
    service: 'volume',
    name: 'Cinder',
    small: { path: '/volumes', query: { limit: 1 } },
    state: 'missing',
    lost: 'volumes in its zones',
  },
];

/** Nova's highest microversion in each release that raised it. */
const RELEASES: readonly (readonly [string, string])[] = [
  ['2.60', 'Queens'],
  ['2.65', 'Rocky'],
  ['2.72', 'Stein'],
  ['2.79', 'Train'],
  ['2.87', 'Ussuri or Victoria'],
  ['2.88', 'Wallaby'],
  ['2.90', 'Xena or Yoga'],
  ['2.93', 'Zed'],
  ['2.95', '2023.1 or 2023.2'],
  ['2.96', '2024.1 or 2024.2'],
];

/** Microversions that something of ours is written for, from the oldest. */
const WANTED: readonly (readonly [string, string])[] = [
  ['2.52', 'tags on servers as marks; a server carries its mark as an item of its metadata instead'],
  ['2.55', 'descriptions of flavors, by which ours are told from others'],
];

/** The services and, where there is a Nova, the zones. @throws CloudError where Keystone does not answer */
export async function services(api: CloudApi, child: ConfiguredChild): Promise<Finding[]> {
  const found = await Promise.all(EXPECTED.map((expected) => service(api, expected)));
  return [...found.flat(), ...((await api.offers('compute')) ? await zones(api, child) : [])];
}

async function service(api: CloudApi, { service, name, small, state, lost }: Expected): Promise<Finding[]> {
  if (!(await api.offers(service))) {
    const mend = 'an endpoint in its catalog, in the region and interface that clouds.yaml names';
    return [lacking(name, state, 'not in its catalog', { lost, mend })];
  }
  try {
    await api.call({ service, method: 'GET', ...small });
    const maximum = await api.maximumMicroversion(service);
    if (service === 'compute') return novas(name, maximum);
    return [holds(name, maximum === undefined ? 'answers' : `answers; microversions up to ${maximum}`)];
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [lacking(name, state, `in its catalog, but: ${reason}`, { lost })];
  }
}

function novas(name: string, maximum: string | undefined): Finding[] {
  if (maximum === undefined) {
    return [lacking(name, 'missing', 'answers, without microversions', { lost: 'whatever is newer than API 2.1' })];
  }
  const says = holds(name, `answers; microversions up to ${maximum} (${releaseOf(maximum)})`);
  const lacks = WANTED.filter(([wanted]) => compareMicroversions(maximum, wanted) < 0);
  return [
    says,
    ...lacks.map(([wanted, what]) =>
      lacking(name, 'missing', `it lacks microversion ${wanted}: ${what}`, { lost: 'nothing that they see' }),
    ),
  ];
}

function releaseOf(maximum: string): string {
  const exact = RELEASES.find(([version]) => version === maximum);
  if (exact !== undefined) return exact[1];
  const older = RELEASES.findLast(([version]) => compareMicroversions(version, maximum) < 0);
  return older === undefined ? `older than ${RELEASES[0]?.[1]}` : `newer than ${older[1]}`;
}

async function zones(api: CloudApi, child: ConfiguredChild): Promise<Finding[]> {
  const { body } = await api.call<{
    availabilityZoneInfo: { zoneName: string; zoneState?: { available?: boolean } }[];
  }>({
    service: 'compute',
    method: 'GET',
    path: '/os-availability-zone',
  });
  const there = body.availabilityZoneInfo.map(({ zoneName }) => zoneName);
  return Object.entries(child.zones).map(([zone, own]) => {
    const found = body.availabilityZoneInfo.find(({ zoneName }) => zoneName === own);
    const lost = `servers in the zone ${zone}`;
    if (found === undefined) {
      const says = `${zone} is to be the child's ${own}, which it does not have (it has: ${there.join(', ') || 'none'})`;
      return lacking('zones', 'essential', says, { lost, mend: '`zones` in the configuration' });
    }
    if (found.zoneState?.available === false) {
      const says = `${zone} is the child's ${own}, where no compute service is up`;
      return lacking('zones', 'missing', says, { lost: `${lost}, until one is` });
    }
    return holds('zones', `${zone} is the child's ${own}`);
  });
}
