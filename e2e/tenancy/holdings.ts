/** What a tenant makes, all of it under the same names as every other tenant, and what a project of a child holds. */
import type { CloudService } from '../../src/openstack/contract.ts';
import type { Server } from '../client/names.ts';
import { type Account, api, list } from '../harness/rest.ts';
import { until } from '../harness/until.ts';
import { PATIENCE, patiently } from '../harness/wiring.ts';
import { make, send } from './accounts.ts';

export const NAME = 'same-name';
export const CIDR = '10.99.0.0/24';

/** The ids of what a tenant made, by kind. */
export type Holdings = Readonly<
  Record<'image' | 'network' | 'subnet' | 'group' | 'router' | 'volume' | 'server', string>
>;

const KINDS = [
  ['servers', 'compute', '/servers/detail'],
  ['volumes', 'volume', '/volumes/detail'],
  ['images', 'image', '/images'],
  ['ports', 'network', '/ports'],
  ['routers', 'network', '/routers'],
  ['networks', 'network', '/networks'],
  ['subnets', 'network', '/subnets'],
  ['security_groups', 'network', '/security-groups'],
] as const satisfies readonly (readonly [string, CloudService, string])[];

interface Thing {
  readonly id: string;
  readonly name: string;
  readonly project_id?: string;
  readonly tenant_id?: string;
  readonly owner?: string;
  readonly 'os-vol-tenant-attr:tenant_id'?: string;
}

const ownerOf = (one: Thing): string | undefined =>
  one.project_id ?? one.tenant_id ?? one.owner ?? one['os-vol-tenant-attr:tenant_id'];

/** What an administrator of a cloud sees of one project, by kind: `servers: [...]`; kinds without anything are absent. */
export async function heldIn(cloud: 'child1', project: string): Promise<Record<string, Thing[]>> {
  const found = await Promise.all(
    KINDS.map(async ([collection, service, path]) => {
      const query = { compute: { all_tenants: '1' }, volume: { all_tenants: '1' } }[service as string] ?? {};
      const things = await list<Thing>(api(cloud), service, path, collection, query);
      return [collection, things.filter((one) => ownerOf(one) === project)] as const;
    }),
  );
  return Object.fromEntries(found.filter(([, things]) => things.length > 0));
}

/** The names of all keys that a user of the cloud has. */
export async function keysOf(who: Account): Promise<string[]> {
  const found = await list<{ keypair: { name: string } }>(api(who), 'compute', '/os-keypairs', 'keypairs');
  return found.map(({ keypair }) => keypair.name).sort();
}

/** The ids that a tenant sees of each kind; external networks are everybody's. */
export async function seenBy(who: Account): Promise<Record<string, string[]>> {
  const seen: Record<string, string[]> = {};
  for (const [collection, service, path] of KINDS) {
    const query = collection === 'networks' ? { 'router:external': 'false' } : {};
    const found = await list<Thing>(api(who), service, path, collection, query);
    seen[collection] = found.map(({ id }) => id).sort();
  }
  return seen;
}

export const seenPaths = (of: Holdings): readonly (readonly [CloudService, string])[] => [
  ['compute', `/servers/${of.server}`],
  ['volume', `/volumes/${of.volume}`],
  ['image', `/images/${of.image}`],
  ['network', `/networks/${of.network}`],
  ['network', `/subnets/${of.subnet}`],
  ['network', `/routers/${of.router}`],
  ['network', `/security-groups/${of.group}`],
];

/** Waits until a server is ACTIVE with nothing under way, and gives it. @throws Error with its fault */
export function isActive(who: Account, id: string): Promise<Server> {
  return until(
    `the server ${id} of ${who} is ACTIVE`,
    async () => {
      const { server } = await send<{ server: Server }>(who, 'compute', 'GET', `/servers/${id}`);
      if (server.status === 'ERROR') throw new Error(server.fault?.message);
      return server.status === 'ACTIVE' && server['OS-EXT-STS:task_state'] === null && server;
    },
    PATIENCE,
  );
}

/** Makes an image with some data of the tenant's own. */
export async function makeImage(who: Account): Promise<string> {
  const description = { name: NAME, disk_format: 'raw', container_format: 'bare' };
  const { id } = await send<{ id: string }>(who, 'image', 'POST', '/images', description);
  await api(who).call({
    service: 'image',
    method: 'PUT',
    path: `/images/${id}/file`,
    body: new TextEncoder().encode(`the data of ${who}`.repeat(1000)),
    contentType: 'application/octet-stream',
  });
  return id;
}

/** A tenant's network with a router to the outside, key, group, image, and a server with a volume on it. */
export async function furnishTenant(who: Account, flavorRef: string, external: string): Promise<Holdings> {
  const [imageRef, network, group] = await Promise.all([
    makeImage(who),
    make(who, 'network', '/networks', 'network', { name: NAME }),
    make(who, 'network', '/security-groups', 'security_group', { name: NAME }),
    send(who, 'compute', 'POST', '/os-keypairs', { keypair: { name: NAME, type: 'ssh' } }),
  ]);
  const subnet = await make(who, 'network', '/subnets', 'subnet', {
    name: NAME,
    network_id: network,
    ip_version: 4,
    cidr: CIDR,
  });
  const rule = {
    security_group_id: group,
    direction: 'ingress',
    protocol: 'tcp',
    port_range_min: 22,
    port_range_max: 22,
  };
  await send(who, 'network', 'POST', '/security-group-rules', { security_group_rule: rule });
  const gateway = { external_gateway_info: { network_id: external } };
  const router = await make(who, 'network', '/routers', 'router', { name: NAME, ...gateway });
  await send(who, 'network', 'PUT', `/routers/${router}/add_router_interface`, { subnet_id: subnet });
  const server = await make(who, 'compute', '/servers', 'server', {
    name: NAME,
    flavorRef,
    imageRef,
    key_name: NAME,
    networks: [{ uuid: network }],
    security_groups: [{ name: NAME }],
  });
  await isActive(who, server);
  const volume = await make(who, 'volume', '/volumes', 'volume', { name: NAME, size: 1 });
  await volumeIs(who, volume, 'available');
  const attachment = { volumeAttachment: { volumeId: volume } };
  await send(who, 'compute', 'POST', `/servers/${server}/os-volume_attachments`, attachment);
  await volumeIs(who, volume, 'in-use');
  return { image: imageRef, network, subnet, group, router, volume, server };
}

const volumeIs = (who: Account, id: string, wanted: string): Promise<true> =>
  patiently(`the volume ${id} of ${who} is ${wanted}`, async () => {
    const { volume } = await send<{ volume: { status: string } }>(who, 'volume', 'GET', `/volumes/${id}`);
    if (volume.status !== wanted) throw new Error(`it is ${volume.status}`);
    return true;
  });

/** Deletes a server, and waits until it is gone. */
export async function removeServer(who: Account, id: string): Promise<void> {
  await send(who, 'compute', 'DELETE', `/servers/${id}`, undefined, [404]);
  await patiently(`the server ${id} is gone`, async () => {
    const { servers } = await send<{ servers: { id: string }[] }>(who, 'compute', 'GET', '/servers');
    return servers.every((one) => one.id !== id);
  });
}

/** Deletes all of it. */
export async function clearTenant(who: Account, held: Holdings): Promise<void> {
  await removeServer(who, held.server);
  await volumeIs(who, held.volume, 'available');
  await send(who, 'volume', 'DELETE', `/volumes/${held.volume}`);
  const unplugged = { subnet_id: held.subnet };
  await send(who, 'network', 'PUT', `/routers/${held.router}/remove_router_interface`, unplugged);
  await send(who, 'network', 'DELETE', `/routers/${held.router}`);
  await send(who, 'network', 'DELETE', `/networks/${held.network}`);
  await send(who, 'network', 'DELETE', `/security-groups/${held.group}`);
  await send(who, 'image', 'DELETE', `/images/${held.image}`);
  await send(who, 'compute', 'DELETE', `/os-keypairs/${NAME}`);
}

/** Takes away whatever a project of a child holds, as its administrator: what a test that failed left behind. Twice: nothing. */
export async function emptyProject(cloud: 'child1', project: string): Promise<void> {
  const drop = (service: CloudService, path: string) => send(cloud, service, 'DELETE', path, undefined, [404, 409]);
  await patiently(`the project ${project} is empty`, async () => {
    const { security_groups: groups = [], ...held } = await heldIn(cloud, project);
    for (const { id } of held.servers ?? []) await drop('compute', `/servers/${id}`);
    if (held.servers !== undefined) return false;
    for (const { id } of held.volumes ?? []) await drop('volume', `/volumes/${id}`);
    for (const { id } of held.images ?? []) await drop('image', `/images/${id}`);
    for (const { id } of held.routers ?? []) await unplug(cloud, id);
    for (const { id } of held.routers ?? []) await drop('network', `/routers/${id}`);
    for (const { id } of held.ports ?? []) await drop('network', `/ports/${id}`);
    for (const { id } of held.networks ?? []) await drop('network', `/networks/${id}`);
    for (const { id, name } of groups) if (name !== 'default') await drop('network', `/security-groups/${id}`);
    return Object.keys(held).length === 0 && groups.length <= 1;
  });
}

async function unplug(cloud: 'child1', router: string): Promise<void> {
  const query = { device_id: router, device_owner: 'network:router_interface' };
  for (const { id } of await list(api(cloud), 'network', '/ports', 'ports', query)) {
    const path = `/routers/${router}/remove_router_interface`;
    await send(cloud, 'network', 'PUT', path, { port_id: id }, [404, 409]);
  }
}
