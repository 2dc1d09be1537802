/** What a test of packets plays with: made through the parent's API, and taken away again in the reverse order. */
import { afterAll, beforeAll, describe } from 'vitest';
import type { CloudCall, CloudService } from '../../src/openstack/contract.ts';
import { clear, furnish, type Furnished } from '../harness/furnish.ts';
import { endParent, parentServes, spawnParent } from '../harness/parent.ts';
import { api, list, microversion } from '../harness/rest.ts';
import { CHILDREN, stage } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import type { Endpoint } from './endpoint.ts';
import { type Cloud, plug, plugOutside, settled } from './switch.ts';

export type Zone = (typeof CHILDREN)[number]['zone'];
export const ZONES: readonly Zone[] = CHILDREN.map(({ zone }) => zone);
export type Attributes = Readonly<Record<string, unknown>>;

/** An address beyond every child's external network, where `SERVICE` listens: the same behind each, as the internet is. */
export const WORLD = '198.51.100.1';
export const SERVICE = 80;
/** How long a busy child may take for anything. */
const PATIENCE = { timeout_ms: 240_000, every_ms: 250 };

export interface Port {
  readonly id: string;
  readonly mac_address: string;
  readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address: string }[];
}

/** A server, and the endpoint on its port. */
export interface Machine extends Endpoint {
  readonly server: string;
  readonly zone: Zone;
  readonly port: Port;
  /** Its IPv4 address, as the parent chose it. */
  readonly address: string;
}

/** What is beyond a child's external network: where its routers send what is not theirs, and `WORLD`. */
export interface Outside extends Endpoint {
  readonly cidr: string;
  readonly gateway: string;
}

interface Named {
  readonly id: string;
  readonly name: string;
  readonly status?: string;
  readonly fault?: { readonly message: string };
}

const COLLECTIONS = {
  network: 'networks',
  subnet: 'subnets',
  port: 'ports',
  router: 'routers',
  floatingip: 'floatingips',
  security_group: 'security-groups',
  security_group_rule: 'security-group-rules',
} as const;

export interface Scene {
  /** Makes a network resource for the tenant, or as the administrator. */
  make<T = Named>(kind: keyof typeof COLLECTIONS, attributes: Attributes, as?: 'tenant' | 'admin'): Promise<T>;
  /** A router with a gateway on the external network `public` and interfaces on these subnets. */
  router(name: string, subnets: readonly string[]): Promise<string>;
  /** A group that admits everything. */
  openGroup(): Promise<string>;
  /** A server in this zone with a new port as described, or with this one. Its endpoint has no address yet. */
  boot(name: string, zone: Zone, port: Attributes | Port): Promise<Machine>;
  /** Deletes the server; its port stays. */
  end(machine: Machine): Promise<void>;
  /** Puts an endpoint where a zone's child leaves its external network. */
  outside(zone: Zone): Promise<Outside>;
}

/** To be called within a `describe`: what the scene has made goes with its last test. */
export function openScene(): Scene {
  const undo: (() => Promise<unknown>)[] = [];
  let furniture: Furnished;
  beforeAll(async () => {
    await parentServes(stage);
    furniture = await furnish();
  });
  afterAll(async () => {
    const errors: unknown[] = [];
    for (const step of undo.reverse()) await step().catch((error: unknown) => errors.push(error));
    await clear();
    if (errors.length > 0) throw new AggregateError(errors, 'not all that the scene had made could be taken away');
  });

  async function make<T>(kind: keyof typeof COLLECTIONS, attributes: Attributes, as: 'tenant' | 'admin' = 'tenant') {
    const path = `/${COLLECTIONS[kind]}`;
    const { body } = await api(as).call<Record<string, Named>>({
      ...call('network', 'POST', path),
      body: { [kind]: attributes },
    });
    const made = body[kind];
    if (made === undefined) throw new Error(`no ${kind} in ${JSON.stringify(body)}`);
    undo.push(() => gone('network', `${path}/${made.id}`, as));
    return made as T;
  }

  async function router(name: string, subnets: readonly string[]): Promise<string> {
    const external_gateway_info = { network_id: await externalNetwork() };
    const { id } = await make<Named>('router', { name, external_gateway_info });
    for (const subnet_id of subnets) {
      const change = (verb: string) => ({ ...call('network', 'PUT', `/routers/${id}/${verb}`), body: { subnet_id } });
      await api('tenant').call(change('add_router_interface'));
      undo.push(() => api('tenant').call({ ...change('remove_router_interface'), accept: [404] }));
    }
    return id;
  }

  async function openGroup(): Promise<string> {
    const { id } = await make<Named>('security_group', { name: 'open' });
    for (const ethertype of ['IPv4', 'IPv6']) {
      await make('security_group_rule', { security_group_id: id, direction: 'ingress', ethertype });
    }
    return id;
  }

  async function boot(name: string, zone: Zone, given: Attributes | Port): Promise<Machine> {
    const port = 'id' in given ? (given as Port) : await make<Port>('port', { name, ...given });
    const { flavor: flavorRef, image: imageRef } = furniture;
    const server = { name, flavorRef, imageRef, availability_zone: zone, networks: [{ port: port.id }] };
    const { body } = await api('tenant').call<{ server: Named }>({
      ...call('compute', 'POST', '/servers'),
      body: { server },
    });
    const { id } = body.server;
    undo.push(() => gone('compute', `/servers/${id}`, 'tenant'));
    const { status, fault } = await until(`${name} is built`, () => built(id), PATIENCE);
    if (status !== 'ACTIVE') throw new Error(`${name} is ${status}: ${fault?.message}`);
    const cloud = cloudOf(zone);
    const [copy] = await list<Port>(api(cloud), 'network', '/ports', 'ports', { name: port.id });
    if (copy === undefined) throw new Error(`${name}'s port is not in ${cloud}`);
    const endpoint = await plug(cloud, `tap${copy.id.slice(0, 11)}`, copy.mac_address);
    undo.push(() => endpoint.end());
    await settled(cloud);
    const address = port.fixed_ips.find(({ ip_address }) => !ip_address.includes(':'))?.ip_address ?? '';
    return { ...endpoint, server: id, zone, port, address };
  }

  return {
    make,
    router,
    openGroup,
    boot,
    async end(machine) {
      await gone('compute', `/servers/${machine.server}`, 'tenant');
      await machine.end();
    },
    async outside(zone) {
      const cloud = cloudOf(zone);
      const endpoint = await plugOutside(cloud);
      undo.push(() => endpoint.end());
      const { cidr, gateway_ip: gateway } = await externalSubnetOf(cloud);
      await endpoint.configure([`${gateway}/${cidr.split('/')[1]}`]);
      await endpoint.configure([`${WORLD}/32`], { device: 'lo' });
      await endpoint.listen(SERVICE);
      return { ...endpoint, cidr, gateway };
    },
  };
}

/** The server when it is no longer being built, whatever it has come to. */
async function built(id: string): Promise<Named | false> {
  const { body } = await api('tenant').call<{ server: Named }>(call('compute', 'GET', `/servers/${id}`));
  return body.server.status !== 'BUILD' && body.server;
}

/** Deletes it, where it is there, and waits until it no longer is. */
async function gone(service: CloudService, path: string, as: 'tenant' | 'admin'): Promise<void> {
  await until(`${path} is deleted`, () => api(as).call({ ...call(service, 'DELETE', path), accept: [404] }), PATIENCE);
  const get = { ...call(service, 'GET', path), accept: [404] };
  await until(`${path} is gone`, async () => (await api(as).call(get)).status === 404, PATIENCE);
}

const call = (service: CloudService, method: CloudCall['method'], path: string): CloudCall => ({
  service,
  method,
  path,
  ...microversion(service),
});

/** A machine's IPv6 address, as the parent chose it. */
export const address6 = ({ port }: Machine): string =>
  port.fixed_ips.find(({ ip_address }) => ip_address.includes(':'))?.ip_address ?? '';

/** Waits until a machine has given itself that address, as a router has told it to. */
export async function hasAddress6(machine: Machine): Promise<void> {
  const wanted = `${address6(machine)}/64`;
  const isThere = async () => (await machine.addresses()).some(({ address, dynamic }) => address === wanted && dynamic);
  await until(`the machine has ${wanted}`, isThere, { timeout_ms: 60_000 });
}

export const cloudOf = (zone: Zone): Cloud => CHILDREN.find((child) => child.zone === zone)?.cloud ?? 'child1';

/** The parent's external network, which is the children's own `public`. */
export async function externalNetwork(): Promise<string> {
  const [found] = await list(api('tenant'), 'network', '/networks', 'networks', { name: 'public' });
  if (found === undefined) throw new Error('the parent has no network public');
  return found.id;
}

/** A child's own subnet of it. */
async function externalSubnetOf(cloud: Cloud): Promise<{ cidr: string; gateway_ip: string }> {
  const query = { name: 'public-subnet' };
  const found = await list<{ cidr: string; gateway_ip: string }>(api(cloud), 'network', '/subnets', 'subnets', query);
  const [subnet] = found;
  if (subnet === undefined) throw new Error(`${cloud} has no subnet public-subnet`);
  return subnet;
}

/** A router's addresses on the external network, as the parent shows them. */
export async function gatewayAddresses(router: string): Promise<string[]> {
  type Shown = { router: { external_gateway_info: { external_fixed_ips: { ip_address: string }[] } } };
  const { body } = await api('tenant').call<Shown>(call('network', 'GET', `/routers/${router}`));
  return body.router.external_gateway_info.external_fixed_ips.map(({ ip_address }) => ip_address);
}

/** The same tests twice: the parent is no part of the data path, and nothing is lost with it. */
export function withAndWithoutParent(tests: () => void): void {
  describe('while the parent runs', tests);
  describe('after the parent was killed', () => {
    beforeAll(() => endParent(stage, 'SIGKILL'));
    afterAll(async () => {
      spawnParent(stage);
      await parentServes(stage);
    });
    tests();
  });
}

/** Waits until one gets an answer from an address; what was just changed may take its switches a moment. */
export async function reaches(one: Endpoint, address: string): Promise<void> {
  await until(`${address} answers`, async () => (await one.ping(address, { count: 1, wait_ms: 500 })).received > 0, {
    timeout_ms: 60_000,
    every_ms: 250,
  });
}
