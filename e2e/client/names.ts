/** Names that the chapters of the client's test share, and what several of them ask. */
import { api, list, microversion } from '../harness/rest.ts';
import { until } from '../harness/until.ts';

export const PROJECT = 'e2e';
export const FLAVOR = 'e2e.nano';
export const FLAVOR_ID = 'e2e-nano';
export const BIGGER_FLAVOR = 'e2e.micro';
export const IMAGE = 'e2e-image';
export const KEY = 'e2e-key';
export const GROUP = 'e2e-group';
export const PORT = 'e2e-port';
/** Of each zone: its network, subnet, router and server are called so, after the zone. */
export const network = (zone: string): string => `e2e-net-${zone}`;
export const subnet = (zone: string): string => `e2e-subnet-${zone}`;
export const router = (zone: string): string => `e2e-router-${zone}`;
export const server = (zone: string): string => `e2e-server-${zone}`;
export const volume = (zone: string): string => `e2e-volume-${zone}`;
export const CIDR: Readonly<Record<string, string>> = { east: '10.77.0.0/24', west: '10.78.0.0/24' };

/** A server as Nova shows it, as far as we look. */
export interface Server {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly tags: readonly string[];
  readonly addresses: Readonly<Record<string, readonly { addr: string; 'OS-EXT-IPS:type': string }[]>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly 'OS-EXT-AZ:availability_zone': string;
  readonly 'OS-EXT-STS:task_state': string | null;
  readonly flavor: { readonly original_name: string };
  readonly key_name: string | null;
  readonly fault?: { readonly message: string };
}

export const addressesOf = (server: Pick<Server, 'addresses'>): string[] =>
  Object.values(server.addresses)
    .flat()
    .map((address) => address.addr)
    .sort();

/** All servers of a cloud (a child's administrator sees every project's), with all their details. */
export const servers = (cloud: Parameters<typeof api>[0], query: Record<string, string> = {}): Promise<Server[]> =>
  list<Server>(api(cloud), 'compute', '/servers/detail', 'servers', {
    ...(cloud === 'tenant' || cloud === 'stranger' ? {} : { all_tenants: '1' }),
    ...query,
  });

/** Waits until the tenant's server of this name is in the status, with nothing under way. */
export async function settles(name: string, status: string, timeout_ms = 120_000): Promise<Server> {
  return until(
    `the server ${name} is ${status}`,
    async () => {
      const [found] = await servers('tenant', { name: `^${name}$` });
      if (found === undefined) throw new Error('there is no such server');
      if (found.status === status && found['OS-EXT-STS:task_state'] === null) return found;
      if (found.status === 'ERROR' && status !== 'ERROR') throw new Error(`ERROR: ${found.fault?.message}`);
      throw new Error(`it is ${found.status}, ${found['OS-EXT-STS:task_state']}`);
    },
    { timeout_ms },
  );
}

/** The child's server that stands behind one of the parent's; undefined where there is none. */
export async function behind(cloud: 'child1' | 'child2', id: string): Promise<Server | undefined> {
  const found = await servers(cloud, { tags: `headwater:${id}` });
  return found[0];
}

/** Waits until an object of the tenant's volume service is in the status. */
export async function volumeSettles(path: 'volumes' | 'snapshots', name: string, status: string): Promise<void> {
  await until(`${path} ${name} is ${status}`, async () => {
    const { body } = await api('tenant').call<Record<string, { status: string }[]>>({
      service: 'volume',
      method: 'GET',
      path: `/${path}/detail`,
      query: { name },
      ...microversion('volume'),
    });
    const found = body[path]?.[0]?.status;
    if (found !== status) throw new Error(`it is ${found}`);
    return true;
  });
}

/** Waits until a list of the tenant has nothing of this name. */
export async function volumeGoes(path: 'volumes' | 'snapshots', name: string): Promise<void> {
  await until(`${path} ${name} is gone`, async () => {
    const found = await list(api('tenant'), 'volume', `/${path}/detail`, path, { name });
    return found.length === 0;
  });
}
