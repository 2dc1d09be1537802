/** `headwater register`: enters the parent's endpoints in an existing Keystone, or takes them out again. */
import { conventions } from '../http/conventions.ts';
import { createCloudClient } from '../openstack/client.ts';
import { type CloudApi, CloudError } from '../openstack/contract.ts';
import { type Config, ConfigError, type OuterKeystone, readConfig } from './config.ts';
import { keystoneEntry, type ParentOptions } from './parent.ts';

export interface RegisterOptions {
  readonly config: string;
  /** Takes the endpoints out of the catalog again. */
  readonly remove?: boolean;
}

interface Service {
  readonly id: string;
  readonly type: string;
  readonly name?: string;
}

interface Endpoint {
  readonly id: string;
  readonly service_id: string;
  readonly interface: string;
  readonly url: string;
  readonly enabled?: boolean;
}

const INTERFACES = ['public', 'internal', 'admin'] as const;
const TIMEOUT_MS = 30_000;

/**
 * Makes Keystone's catalog name the parent, in the region of the configuration: the region, a service of each type where
 * there is none, and its three endpoints. Twice does no more than once; a URL that changed is corrected.
 * @returns a line for each thing that was changed
 * @throws ConfigError for what the operator can mend
 */
export async function register(options: RegisterOptions, clouds?: ParentOptions['clouds']): Promise<string> {
  const config = readConfig(options.config);
  const { keystone: identity } = config;
  if (identity === undefined) {
    throw new ConfigError(
      `${options.config}: \`identity.url\` is not there, and the built-in catalog registers itself`,
    );
  }
  const entry = keystoneEntry(identity, clouds);
  const api = createCloudClient({ entry, name: 'keystone', timeout_ms: TIMEOUT_MS });
  try {
    const changes = await (options.remove === true
      ? unregisterEndpoints(api, config, identity)
      : registerEndpoints(api, config, identity));
    return changes.length === 0 ? 'the catalog is as it should be\n' : `${changes.join('\n')}\n`;
  } catch (error) {
    if (error instanceof CloudError) throw new ConfigError(error.message);
    throw error;
  } finally {
    await api.close();
  }
}

/** What belongs in the catalog: the parent's services, and Keystone itself, which clients look for in the same region. */
function wantedServices(config: Config, { url }: OuterKeystone) {
  return Object.values(conventions).map(({ name, catalogType, catalogName, catalogPath }) => ({
    type: catalogType,
    name: catalogName,
    url: name === 'identity' ? url : `${config.public_url}/${name}${catalogPath}`,
  }));
}

async function registerEndpoints(api: CloudApi, config: Config, identity: OuterKeystone): Promise<string[]> {
  const changes: string[] = [];
  const { region } = identity;
  const call = { service: 'identity' } as const;
  const there = await api.call({ ...call, method: 'GET', path: `/regions/${region}`, accept: [404] });
  if (there.status === 404) {
    const body = { region: { id: region, description: 'Headwater' } };
    await api.call({ ...call, method: 'POST', path: '/regions', body, accept: [409] });
    changes.push(`made the region ${region}`);
  }
  const [services, endpoints] = await Promise.all([servicesOf(api), endpointsOf(api, region)]);
  for (const wanted of wantedServices(config, identity)) {
    const { id, isNew } = await serviceOf(api, services, wanted.type, wanted.name);
    if (isNew) changes.push(`made the service ${wanted.name} (${wanted.type})`);
    for (const face of INTERFACES) {
      const first = endpoints.find((endpoint) => endpoint.service_id === id && endpoint.interface === face);
      const what = `${face} endpoint of ${wanted.type}: ${wanted.url}`;
      if (first === undefined) {
        const endpoint = { service_id: id, region_id: region, interface: face, url: wanted.url, enabled: true };
        await api.call({ ...call, method: 'POST', path: '/endpoints', body: { endpoint } });
        changes.push(`made the ${what}`);
      } else if (first.url !== wanted.url || first.enabled === false) {
        const endpoint = { url: wanted.url, enabled: true };
        await api.call({ ...call, method: 'PATCH', path: `/endpoints/${first.id}`, body: { endpoint } });
        changes.push(`changed the ${what}`);
      }
    }
  }
  return changes;
}

/** Takes out what `registerEndpoints` made, as far as it is the parent's alone: services may have other regions' endpoints. */
async function unregisterEndpoints(api: CloudApi, config: Config, identity: OuterKeystone): Promise<string[]> {
  const changes: string[] = [];
  const { region } = identity;
  const [services, endpoints] = await Promise.all([servicesOf(api), endpointsOf(api, region)]);
  for (const { type, url } of wantedServices(config, identity)) {
    const ids = new Set(services.filter((service) => service.type === type).map(({ id }) => id));
    for (const endpoint of endpoints.filter((one) => one.url === url && ids.has(one.service_id))) {
      const path = `/endpoints/${endpoint.id}`;
      await api.call({ service: 'identity', method: 'DELETE', path, accept: [404] });
      changes.push(`took out the ${endpoint.interface} endpoint of ${type}: ${url}`);
    }
  }
  if ((await endpointsOf(api, region)).length === 0) {
    const path = `/regions/${region}`;
    const { status } = await api.call({ service: 'identity', method: 'DELETE', path, accept: [403, 404] });
    if (status < 300) changes.push(`took out the region ${region}`);
  }
  return changes;
}

async function servicesOf(api: CloudApi): Promise<readonly Service[]> {
  const call = { service: 'identity', method: 'GET', path: '/services' } as const;
  return (await api.call<{ services: Service[] }>(call)).body.services;
}

/** The service of a type: clouds of one catalog share it, each with endpoints in a region of its own. */
async function serviceOf(
  api: CloudApi,
  services: readonly Service[],
  type: string,
  name: string,
): Promise<{ id: string; isNew: boolean }> {
  const found = services.filter((service) => service.type === type);
  const chosen = found.find((service) => service.name === name) ?? found[0];
  if (chosen !== undefined) return { id: chosen.id, isNew: false };
  const body = { service: { type, name, enabled: true } };
  const made = await api.call<{ service: Service }>({ service: 'identity', method: 'POST', path: '/services', body });
  return { id: made.body.service.id, isNew: true };
}

async function endpointsOf(api: CloudApi, region_id: string): Promise<readonly Endpoint[]> {
  const call = { service: 'identity', method: 'GET', path: '/endpoints', query: { region_id } } as const;
  return (await api.call<{ endpoints: Endpoint[] }>(call)).body.endpoints;
}
