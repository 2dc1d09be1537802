/** Making and unmaking networks as a patient client does it: after a lost answer it looks before it asks again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CloudCall } from '../../src/openstack/contract.ts';
import { servers } from '../client/names.ts';
import type { Furnished } from './furnish.ts';
import { endParent, parentServes, spawnParent } from './parent.ts';
import { api, list, microversion } from './rest.ts';
import { CHILDREN, stage } from './stage.ts';
import { until } from './until.ts';

/** How long a busy child may take for anything. */
export const PATIENCE = { timeout_ms: 240_000, every_ms: 500 };

export interface Network {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly 'provider:network_type': string;
  readonly 'provider:segmentation_id': number;
  readonly 'provider:physical_network': string;
}

export interface Subnet {
  readonly id: string;
  readonly name: string;
  readonly network_id: string;
  readonly cidr: string;
  readonly gateway_ip: string | null;
  readonly allocation_pools: readonly { readonly start: string; readonly end: string }[];
}

export interface Port {
  readonly id: string;
  readonly name: string;
  readonly network_id: string;
  readonly device_owner: string;
  readonly device_id: string;
  readonly mac_address: string;
  readonly fixed_ips: readonly { readonly ip_address: string }[];
}

export const random = (from_ms: number, to_ms: number): number => from_ms + Math.random() * (to_ms - from_ms);

export const patiently = <T>(what: string, ask: () => Promise<T | undefined | false>) => until(what, ask, PATIENCE);

/** What a child has of one network of the parent: found by the parent's id, which is the copy's name. */
export async function copyIn(cloud: 'child1' | 'child2', id: string) {
  const [network] = await list<Network>(api(cloud), 'network', '/networks', 'networks', { name: id });
  if (network === undefined) return undefined;
  const query = { network_id: network.id };
  const [subnet] = await list<Subnet>(api(cloud), 'network', '/subnets', 'subnets', query);
  const ports = await list<Port>(api(cloud), 'network', '/ports', 'ports', query);
  return { network, subnet, ports };
}

/** Waits until no child has anything of these networks. */
export async function noneLeft(ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    for (const { cloud } of CHILDREN) {
      const isGone = async () => (await copyIn(cloud, id)) === undefined;
      await until(`${id} is gone from ${cloud}`, isGone, { ...PATIENCE, timeout_ms: 400_000 });
    }
  }
}

/** Kills the parent and starts it again, at random moments. */
export async function killAgainAndAgain(kills: number): Promise<void> {
  for (let kill = 0; kill < kills; kill++) {
    await sleep(random(500, 4_000));
    await endParent(stage, 'SIGKILL');
    spawnParent(stage);
    await parentServes(stage);
  }
}

/** Adds a subnet to a router, or removes it. */
export async function changeRouter(
  router: string,
  verb: 'add' | 'remove',
  subnet_id: string,
  accept: number[] = [],
): Promise<true> {
  const path = `/routers/${router}/${verb}_router_interface`;
  await api('tenant').call({ service: 'network', method: 'PUT', path, body: { subnet_id }, accept });
  return true;
}

/** Deletes something that may be gone. */
export async function remove(service: 'compute' | 'network', path: string): Promise<void> {
  const call: CloudCall = { service, method: 'DELETE', path, accept: [404] };
  await patiently(`the deletion of ${path} is accepted`, async () => (await api('tenant').call(call)).status > 0);
}

/** Finds an object by its name, or makes it; gives its id. */
export async function have(
  cloud: 'admin' | 'tenant',
  collection: 'networks' | 'subnets' | 'routers',
  key: string,
  attributes: { readonly name: string } & Record<string, unknown>,
): Promise<string> {
  const path = `/${collection}`;
  return patiently(`${key} ${attributes.name} is accepted`, async () => {
    const [found] = await list(api(cloud), 'network', path, collection, { name: attributes.name });
    if (found !== undefined) return found.id;
    const call: CloudCall = { service: 'network', method: 'POST', path, body: { [key]: attributes } };
    return (await api(cloud).call<Record<string, { id: string }>>(call)).body[key]?.id;
  });
}

/** Boots a server of the tenant's on a network, or with what `more` says, and gives its id. */
export async function boot(
  { flavor: flavorRef, image: imageRef }: Furnished,
  name: string,
  zone: string,
  network: string,
  more: object = {},
): Promise<string> {
  const server = { name, flavorRef, imageRef, availability_zone: zone, networks: [{ uuid: network }], ...more };
  return patiently(`${name} is accepted`, async () => {
    const [found] = await servers('tenant', { name: `^${name}$` });
    if (found !== undefined) return found.id;
    const call: CloudCall = { service: 'compute', method: 'POST', path: '/servers', body: { server } };
    return (await api('tenant').call<{ server: { id: string } }>({ ...call, ...microversion('compute') })).body.server
      .id;
  });
}
