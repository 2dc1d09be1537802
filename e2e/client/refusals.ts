/** What is refused is refused with the status and the words of OpenStack: the same call is put to a child itself. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createCloudClient } from '../../src/openstack/client.ts';
import { loadCloud } from '../../src/openstack/clouds-yaml.ts';
import type { CloudApi, CloudCall } from '../../src/openstack/contract.ts';
import { admin } from '../harness/openstack.ts';
import { api, list, microversion, refusal } from '../harness/rest.ts';
import { stage } from '../harness/stage.ts';
import * as names from './names.ts';

/** The same things by the ids of one cloud. */
interface Place {
  readonly cloud: CloudApi;
  readonly image: string;
  readonly flavor: string;
  readonly network: string;
  readonly subnet: string;
  readonly takenAddress: string;
  readonly foreignNetwork: string;
}

const UNKNOWN = '5ab48a2c-0000-4000-8000-5ab48a2c5ab4';
let parent: Place;
let child: Place;
const undo: (() => Promise<unknown>)[] = [];

const boot =
  (change: (place: Place) => object) =>
  (place: Place): CloudCall => ({
    service: 'compute',
    method: 'POST',
    path: '/servers',
    body: {
      server: { name: 'refused', imageRef: place.image, flavorRef: place.flavor, networks: 'none', ...change(place) },
    },
  });

const CASES: readonly [string, number, (place: Place) => CloudCall][] = [
  ['a zone that does not exist', 400, boot(() => ({ availability_zone: 'nowhere' }))],
  ['an unknown image', 400, boot(() => ({ imageRef: UNKNOWN }))],
  ['an unknown flavor', 400, boot(() => ({ flavorRef: 'nonsense' }))],
  ['an unknown network', 400, boot(() => ({ networks: [{ uuid: UNKNOWN }] }))],
  ["a foreign project's network", 400, boot((place) => ({ networks: [{ uuid: place.foreignNetwork }] }))],
  ['an unknown key', 400, boot(() => ({ key_name: 'nonsense' }))],
  ['an unknown port', 400, boot(() => ({ networks: [{ port: UNKNOWN }] }))],
  [
    "a port in a foreign project's network",
    404,
    (place) => ({
      service: 'network',
      method: 'POST',
      path: '/ports',
      body: { port: { network_id: place.foreignNetwork } },
    }),
  ],
  [
    'a port with an address in use',
    409,
    (place) => ({
      service: 'network',
      method: 'POST',
      path: '/ports',
      body: {
        port: {
          network_id: place.network,
          fixed_ips: [{ subnet_id: place.subnet, ip_address: place.takenAddress }],
        },
      },
    }),
  ],
  [
    'a boot with an address in use',
    400,
    boot((place) => ({ networks: [{ uuid: place.network, fixed_ip: place.takenAddress }] })),
  ],
  ['a server that is not there', 404, () => ({ service: 'compute', method: 'GET', path: `/servers/${UNKNOWN}` })],
  ['a network that is not there', 404, () => ({ service: 'network', method: 'GET', path: `/networks/${UNKNOWN}` })],
  ['a volume that is not there', 404, () => ({ service: 'volume', method: 'GET', path: `/volumes/${UNKNOWN}` })],
  ['an image that is not there', 404, () => ({ service: 'image', method: 'GET', path: `/images/${UNKNOWN}` })],
];

export function refusals(): void {
  beforeAll(async () => {
    const cidrs = { own: '10.88.0.0/24', foreign: '10.89.0.0/24' };
    const [own, foreign] = await Promise.all([memberOf('e2e-plain'), memberOf('e2e-other')]);
    child = await furnished(own, foreign, cidrs);
    parent = await furnished(api('tenant'), api('stranger'), cidrs);
  });

  afterAll(async () => {
    for (const step of undo.toReversed()) await step();
  });

  it.each(CASES)('refuses %s as the child itself does', async (_, status, call) => {
    const [ours, theirs] = [await refusal(parent.cloud, call(parent)), await refusal(child.cloud, call(child))];
    expect(theirs.status).toBe(status);
    expect(ours).toEqual(theirs);
  });

  it('refuses a volume in a zone that does not exist', async () => {
    const body = { volume: { size: 1, availability_zone: 'nowhere' } };
    // The testbed's Cinder falls back to another zone; these are the words of one that does not.
    expect(await refusal(api('tenant'), { service: 'volume', method: 'POST', path: '/volumes', body })).toEqual({
      status: 400,
      message: "Availability zone 'nowhere' is invalid.",
    });
  });

  it('refuses a volume of another zone', async () => {
    const [server] = await names.servers('tenant', { name: names.server('east') });
    const [volume] = await list(api('tenant'), 'volume', '/volumes', 'volumes', { name: names.volume('west') });
    const call: CloudCall = {
      service: 'compute',
      method: 'POST',
      path: `/servers/${server?.id}/os-volume_attachments`,
      body: { volumeAttachment: { volumeId: volume?.id } },
    };
    // A child has but one zone here; these are Nova's words (InvalidVolume, with cross_az_attach off).
    expect(await refusal(api('tenant'), call)).toEqual({
      status: 400,
      message: expect.stringMatching(
        /^Invalid volume: Instance <id> and volume <id> are not in the same availability_zone\. Instance is in east\. Volume is in west/,
      ),
    });
  });
}

/** A plain member of a new project of child1. */
async function memberOf(name: string): Promise<CloudApi> {
  const keystone = api('child1');
  const password = stage.passwords.tenant;
  const make = async (path: string, key: string, attributes: object): Promise<string> => {
    const call: CloudCall = { service: 'identity', method: 'POST', path, body: { [key]: attributes } };
    const { body } = await keystone.call<Record<string, { id: string }>>(call);
    const id = body[key]?.id ?? '';
    undo.push(() => keystone.call({ service: 'identity', method: 'DELETE', path: `${path}/${id}`, accept: [404] }));
    return id;
  };
  const project = await make('/projects', 'project', { name, domain_id: 'default' });
  const user = await make('/users', 'user', { name, domain_id: 'default', password });
  const roles = await list(keystone, 'identity', '/roles', 'roles', { name: 'member' });
  const path = `/projects/${project}/users/${user}/roles/${roles[0]?.id}`;
  await keystone.call({ service: 'identity', method: 'PUT', path });
  const entry = loadCloud('child1', { env: { OS_CLIENT_CONFIG_FILE: stage.cloudsFile } });
  const auth = { ...entry.auth, username: name, password, project_name: name };
  const cloud = createCloudClient({ entry: { ...entry, auth }, name });
  undo.push(async () => {
    const groups = await list(cloud, 'network', '/security-groups', 'security_groups');
    for (const group of groups) await remove(keystone, `/security-groups/${group.id}`);
    await cloud.close();
  });
  return cloud;
}

/** A network with a taken address, and a network of somebody else's; image and flavor are what is there. */
async function furnished(
  cloud: CloudApi,
  other: CloudApi,
  cidrs: { readonly own: string; readonly foreign: string },
): Promise<Place> {
  const own = await networkOf(cloud, cidrs.own);
  const foreign = await networkOf(other, cidrs.foreign);
  const takenAddress = cidrs.own.replace('.0/24', '.77');
  const { body } = await cloud.call<{ port: { id: string } }>({
    service: 'network',
    method: 'POST',
    path: '/ports',
    body: { port: { network_id: own.network, fixed_ips: [{ subnet_id: own.subnet, ip_address: takenAddress }] } },
  });
  undo.push(() => remove(cloud, `/ports/${body.port.id}`));
  const images = await list(cloud, 'image', '/images', 'images');
  const flavors = await list(cloud, 'compute', '/flavors', 'flavors');
  return {
    cloud,
    image: images[0]?.id ?? '',
    flavor: flavors[0]?.id ?? '',
    ...own,
    takenAddress,
    foreignNetwork: foreign.network,
  };
}

async function networkOf(cloud: CloudApi, cidr: string): Promise<{ network: string; subnet: string }> {
  const made = await cloud.call<{ network: { id: string } }>({
    service: 'network',
    method: 'POST',
    path: '/networks',
    body: { network: { name: 'e2e-refusals' } },
  });
  const network = made.body.network.id;
  undo.push(() => remove(cloud, `/networks/${network}`));
  const { body } = await cloud.call<{ subnet: { id: string } }>({
    service: 'network',
    method: 'POST',
    path: '/subnets',
    body: { subnet: { network_id: network, ip_version: 4, cidr } },
  });
  return { network, subnet: body.subnet.id };
}

const remove = (cloud: CloudApi, path: string) =>
  cloud.call({ service: 'network', method: 'DELETE', path, accept: [404], ...microversion('network') });

/** The administrator's names for what the tenant may not see are not told to the tenant. */
export function strangers(): void {
  it('shows a tenant nothing of another', async () => {
    const [server] = await names.servers('tenant', { name: names.server('east') });
    const [volume] = await list(api('tenant'), 'volume', '/volumes', 'volumes');
    const stranger = api('stranger');
    expect(await names.servers('stranger')).toEqual([]);
    expect(await list(stranger, 'volume', '/volumes', 'volumes')).toEqual([]);
    expect(await list(stranger, 'network', '/ports', 'ports')).toEqual([]);
    for (const call of [
      { service: 'compute', method: 'GET', path: `/servers/${server?.id}` },
      { service: 'compute', method: 'DELETE', path: `/servers/${server?.id}` },
      { service: 'volume', method: 'GET', path: `/volumes/${volume?.id}` },
      { service: 'volume', method: 'DELETE', path: `/volumes/${volume?.id}` },
    ] as const) {
      expect((await refusal(stranger, call)).status).toBe(404);
    }
    expect(await admin('server', 'show', server?.id ?? '')).toContain(names.server('east'));
  });
}
