/** A tenant with what a boot needs, made over REST; and taking it all away again. */
import type { CloudCall, CloudService } from '../../src/openstack/contract.ts';
import { api, list, microversion } from './rest.ts';
import { CHILDREN, stage } from './stage.ts';
import { until } from './until.ts';

const NAME = 'e2e';
const PUBLIC = { visibility: 'public', disk_format: 'raw', container_format: 'bare', min_disk: 0, min_ram: 0 };

export interface Furnished {
  readonly flavor: string;
  readonly image: string;
  /** The tenant's network of each zone, by the zone. */
  readonly networks: Readonly<Record<string, string>>;
}

interface Named {
  readonly id: string;
  readonly name: string;
  readonly status?: string;
}

/** Makes the tenant, a flavor, an image, and a network with a subnet for each zone; what is there already is taken. */
export async function furnish(): Promise<Furnished> {
  const project = await have('admin', 'identity', '/projects', 'projects', 'project', {});
  const password = stage.passwords.tenant;
  const user = await have('admin', 'identity', '/users', 'users', 'user', { password, default_project_id: project });
  const [role] = await list<Named>(api('admin'), 'identity', '/roles', 'roles', { name: 'member' });
  const grant = `/projects/${project}/users/${user}/roles/${role?.id}`;
  await api('admin').call({ service: 'identity', method: 'PUT', path: grant });
  await raiseQuotas(project);
  const size = { ram: 128, vcpus: 1, disk: 1 };
  const flavor = await have('admin', 'compute', '/flavors', 'flavors', 'flavor', size);
  const networks: Record<string, string> = {};
  for (const [at, { zone }] of CHILDREN.entries()) {
    const name = `${NAME}-${zone}`;
    const network = await have('tenant', 'network', '/networks', 'networks', 'network', { name });
    networks[zone] = network;
    const subnet = { name, network_id: network, ip_version: 4, cidr: `10.9${at}.0.0/24` };
    await have('tenant', 'network', '/subnets', 'subnets', 'subnet', subnet);
  }
  return { flavor, image: await haveImage(), networks };
}

/** The default ten servers are not enough for everyone. */
async function raiseQuotas(project: string): Promise<void> {
  for (const [service, path, key, limits] of [
    ['compute', '/os-quota-sets', 'quota_set', { instances: 100, cores: 100, ram: -1 }],
    ['volume', '/os-quota-sets', 'quota_set', { volumes: 100, gigabytes: -1 }],
    ['network', '/quotas', 'quota', { port: 200 }],
  ] as const) {
    await api('admin').call({ service, method: 'PUT', path: `${path}/${project}`, body: { [key]: limits } });
  }
}

async function have(
  cloud: 'admin' | 'tenant',
  service: CloudService,
  path: string,
  collection: string,
  key: string,
  attributes: Record<string, unknown>,
): Promise<string> {
  const name = String(attributes.name ?? NAME);
  const found = (await list<Named>(api(cloud), service, path, collection, byName(service, name))).find(
    (one) => one.name === name,
  );
  if (found !== undefined) return found.id;
  const call: CloudCall = { service, method: 'POST', path, body: { [key]: { name, ...attributes } } };
  const { body } = await api(cloud).call<Record<string, Named>>({ ...call, ...microversion(service) });
  return body[key]?.id ?? '';
}

/** Nova has no filter by name for flavors, and refuses what it does not know. */
const byName = (service: CloudService, name: string) => (service === 'compute' ? {} : { name });

async function haveImage(): Promise<string> {
  const admin = api('admin');
  let [image] = await list<Named>(admin, 'image', '/images', 'images', { name: NAME });
  if (image === undefined) {
    const call: CloudCall = { service: 'image', method: 'POST', path: '/images', body: { ...PUBLIC, name: NAME } };
    image = (await admin.call<Named>(call)).body;
  }
  if (image.status === 'queued') {
    await admin.call({
      service: 'image',
      method: 'PUT',
      path: `/images/${image.id}/file`,
      body: new Uint8Array(70_000).fill(0x48),
      contentType: 'application/octet-stream',
    });
  }
  return image.id;
}

/** Deletes the tenant with everything that it has, and the flavor and image. Twice: nothing. */
export async function clear(): Promise<void> {
  const [project] = await list<Named>(api('admin'), 'identity', '/projects', 'projects', { name: NAME });
  if (project !== undefined) {
    await empty('compute', '/servers', 'servers');
    await empty('volume', '/snapshots', 'snapshots');
    await empty('volume', '/volumes', 'volumes');
    await empty('network', '/ports', 'ports');
    await empty('network', '/networks', 'networks');
  }
  const admin = api('admin');
  for (const [service, path, collection] of [
    ['image', '/images', 'images'],
    ['compute', '/flavors', 'flavors'],
    ['identity', '/users', 'users'],
    ['identity', '/projects', 'projects'],
  ] as const) {
    const found = await list<Named>(admin, service, path, collection, byName(service, NAME));
    for (const one of found.filter(({ name }) => name === NAME)) {
      await admin.call({ service, method: 'DELETE', path: `${path}/${one.id}`, accept: [404] });
    }
  }
}

/** Deletes all that the tenant owns of a kind, and waits until it is gone. */
async function empty(service: CloudService, path: string, collection: string): Promise<void> {
  const tenant = api('tenant');
  const { projectId } = await tenant.account();
  const own = async () => {
    const found = await list<Named & { project_id?: string }>(tenant, service, path, collection);
    return found.filter((one) => one.project_id === undefined || one.project_id === projectId);
  };
  for (const one of await own()) {
    await tenant.call({ service, method: 'DELETE', path: `${path}/${one.id}`, accept: [404] });
  }
  await until(`the tenant has no ${collection}`, async () => (await own()).length === 0, { timeout_ms: 120_000 });
}
