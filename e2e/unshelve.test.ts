/** Shelved servers: unshelved where they were, and in the zone of the other child, also by a parent that is killed meanwhile. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CloudCall } from '../src/openstack/contract.ts';
import { addressesOf, type Server, servers, settles } from './client/names.ts';
import { clear, furnish, type Furnished } from './harness/furnish.ts';
import { endParent, parentServes, spawnParent } from './harness/parent.ts';
import { api, list, refusal } from './harness/rest.ts';
import { CHILDREN, stage } from './harness/stage.ts';
import { until } from './harness/until.ts';
import { boot, copyIn, have, patiently, remove } from './harness/wiring.ts';

const NAME = 'e2e-unshelve';
/** On a network that is in its zone alone. */
const LOCAL = `${NAME}-local`;
const [EAST, WEST] = CHILDREN;
type Child = (typeof CHILDREN)[number]['cloud'];

let furniture: Furnished;
let network = '';

beforeAll(async () => {
  furniture = await furnish();
  const { projectId } = await api('tenant').account();
  const provider = { 'provider:network_type': 'vlan', 'provider:physical_network': 'wan' };
  network = await have('admin', 'networks', 'network', { name: NAME, project_id: projectId, ...provider });
  const subnet = { name: NAME, network_id: network, ip_version: 4, cidr: '10.84.0.0/24' };
  await have('tenant', 'subnets', 'subnet', subnet);
});

afterAll(async () => {
  await parentServes(stage);
  await clear();
});

const action = (id: string, body: object): CloudCall => ({
  service: 'compute',
  method: 'POST',
  path: `/servers/${id}/action`,
  body,
  microversion: '2.90',
});
const act = (id: string, body: object) => api('tenant').call(action(id, body));
const copiesOf = async (cloud: Child, id: string): Promise<Server[]> =>
  (await servers(cloud)).filter(({ tags }) => tags.includes(`headwater:${id}`));
const portsOf = async (cloud: Child) =>
  (await copyIn(cloud, network))?.ports.filter(({ device_owner }) => device_owner.startsWith('compute:')) ?? [];
const shelvedImages = (where: Child | 'tenant') =>
  list<{ id: string; name: string; status: string }>(api(where), 'image', '/images', 'images', {
    name: `${NAME}-shelved`,
  });

async function dataOf(cloud: Child): Promise<string> {
  const [image] = await shelvedImages(cloud);
  const { body } = await api(cloud).download({ service: 'image', method: 'GET', path: `/images/${image?.id}/file` });
  const pieces: Buffer[] = [];
  for await (const piece of body) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('latin1');
}

async function shelve(id: string, name = NAME): Promise<Server> {
  await act(id, { shelve: null });
  return settles(name, 'SHELVED_OFFLOADED');
}

/** The server is up in one child as it was, and nothing of it is in the other. */
async function isOnlyIn(here: Child, there: Child, before: Server): Promise<void> {
  const after = await settles(NAME, 'ACTIVE');
  const same = ({ id, addresses, metadata, tags }: Server) => ({ id, addresses, metadata, tags });
  expect(same(after)).toEqual(same(before));
  const [copy, ...more] = await copiesOf(here, before.id);
  expect([copy?.status, copy?.metadata, more]).toEqual(['ACTIVE', before.metadata, []]);
  const [port, ...others] = await portsOf(here);
  expect([port?.device_id, port?.fixed_ips[0]?.ip_address, others]).toEqual([copy?.id, addressesOf(before)[0], []]);
  await patiently('nothing is left where it was', async () => {
    const left = [await copiesOf(there, before.id), await portsOf(there), await shelvedImages(there)];
    return left.every((found) => found.length === 0);
  });
  expect(await shelvedImages('tenant')).toEqual([]);
}

describe('a shelved server', () => {
  let server: Server;

  it('is shelved, and unshelved where it was', async () => {
    const more = { metadata: { content: 'this' }, tags: ['blue'] };
    const [id, near] = await Promise.all([
      boot(furniture, NAME, EAST.zone, network, more),
      boot(furniture, LOCAL, EAST.zone, furniture.networks[EAST.zone] ?? ''),
    ]);
    [server] = await Promise.all([settles(NAME, 'ACTIVE'), settles(LOCAL, 'ACTIVE')]);
    await Promise.all([shelve(id), shelve(near, LOCAL)]);
    expect(await refusal(api('tenant'), action(near, { unshelve: { availability_zone: WEST.zone } }))).toEqual({
      status: 409,
      message:
        'Instance <id> cannot be unshelved in the availability zone west: network <id> is in the availability zone that the server is in, and nowhere else.',
    });
    const [copy] = await copiesOf(EAST.cloud, id);
    expect(copy?.status).toBe('SHELVED_OFFLOADED');
    // Here as there it is off its host at once, so that there is nothing to offload.
    expect(await refusal(api('admin'), action(id, { shelveOffload: null }))).toEqual(
      await refusal(api(EAST.cloud), action(copy?.id ?? '', { shelveOffload: null })),
    );
    expect(await refusal(api('tenant'), action(id, { unshelve: { availability_zone: 'nowhere' } }))).toEqual(
      await refusal(api(EAST.cloud), action(copy?.id ?? '', { unshelve: { availability_zone: 'nowhere' } })),
    );
    await Promise.all([act(id, { unshelve: null }), act(near, { unshelve: { availability_zone: EAST.zone } })]);
    await isOnlyIn(EAST.cloud, WEST.cloud, server);
    await settles(LOCAL, 'ACTIVE');
    await remove('compute', `/servers/${near}`);
  });

  it('is unshelved in the zone of the other child', async () => {
    await shelve(server.id);
    const snapshot = await dataOf(EAST.cloud);
    const [left] = await copiesOf(EAST.cloud, server.id);
    expect(snapshot).toContain(left?.id.toString());
    await act(server.id, { unshelve: { availability_zone: WEST.zone } });
    await isOnlyIn(WEST.cloud, EAST.cloud, server);
    expect((await settles(NAME, 'ACTIVE'))['OS-EXT-AZ:availability_zone']).toBe(WEST.zone);
    const { body } = await api('tenant').call<{ instanceActions: { action: string; message: string | null }[] }>({
      service: 'compute',
      method: 'GET',
      path: `/servers/${server.id}/os-instance-actions`,
    });
    expect(body.instanceActions[0]).toMatchObject({ action: 'unshelve', message: null });
  });

  it('arrives although the parent is killed on the way', async () => {
    await shelve(server.id);
    const snapshot = await dataOf(WEST.cloud);
    await act(server.id, { unshelve: { availability_zone: EAST.zone } });
    await until('the image has arrived', async () => (await shelvedImages(EAST.cloud))[0]?.status === 'active', {
      every_ms: 20,
    });
    await endParent(stage, 'SIGKILL');
    expect(await dataOf(EAST.cloud)).toBe(snapshot);
    spawnParent(stage);
    await parentServes(stage);
    await isOnlyIn(EAST.cloud, WEST.cloud, server);
    await remove('compute', `/servers/${server.id}`);
  });
});
