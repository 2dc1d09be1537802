/** From a token's catalog to the place a call goes: origin and versioned root path of each service. */
import type { CloudEntry } from './clouds-yaml.ts';
import type { CloudService } from './contract.ts';

export interface CatalogEntry {
  readonly type: string;
  readonly endpoints: readonly CatalogEndpoint[];
}

export interface CatalogEndpoint {
  readonly interface: string;
  readonly url: string;
  readonly region?: string | null;
  readonly region_id?: string | null;
}

export interface Endpoint {
  /** `https://host:port`. */
  readonly origin: string;
  readonly hostname: string;
  /** Path that a call's path is appended to, without a slash at its end: `/v2.1`, `/v3/<project id>`. */
  readonly root: string;
  /** Paths where the service tells its microversions, the likeliest first. */
  readonly versionPaths: readonly string[];
}

/** Official type first, then the aliases that clouds in the field still use. */
const types: Readonly<Record<CloudService, readonly string[]>> = {
  identity: ['identity'],
  compute: ['compute'],
  network: ['network'],
  volume: ['block-storage', 'volumev3', 'block-store', 'volume'],
  image: ['image'],
  'load-balancer': ['load-balancer'],
};

/** The major version driven, as the path names it, and those whose path is right as it stands. */
const versions: Readonly<Record<CloudService, { readonly wanted: string; readonly as: RegExp }>> = {
  identity: { wanted: 'v3', as: /^v3$/ },
  compute: { wanted: 'v2.1', as: /^v2\.1$/ },
  network: { wanted: 'v2.0', as: /^v2(\.0)?$/ },
  volume: { wanted: 'v3', as: /^v3$/ },
  image: { wanted: 'v2', as: /^v2$/ },
  'load-balancer': { wanted: 'v2', as: /^v2(\.0)?$/ },
};

const versionSegment = /\/(v\d+(?:\.\d+)?)(?=\/|$)/;

/**
 * Where the cloud's service is for a token scoped to `projectId`, or undefined where its catalog has none in the
 * entry's region and interface. An override of the entry comes first; identity falls back to `auth_url`.
 */
export function findEndpoint(
  service: CloudService,
  catalog: readonly CatalogEntry[],
  entry: CloudEntry,
  projectId: string,
): Endpoint | undefined {
  const override = entry.endpoint_overrides?.[service];
  const url =
    override ?? catalogUrl(service, catalog, entry) ?? (service === 'identity' ? entry.auth.auth_url : undefined);
  return url === undefined ? undefined : endpointAt(service, url, projectId);
}

/** The endpoint a URL of whatever shape (unversioned, older version, with or without project) stands for. */
export function endpointAt(service: CloudService, url: string, projectId: string): Endpoint | undefined {
  const filled = url.replace(/[%$]\((?:project_id|tenant_id)\)s/g, projectId);
  if (!URL.canParse(filled)) return undefined;
  const { origin, hostname, pathname } = new URL(filled);
  const path = pathname.replace(/\/+$/, '');
  const { wanted, as } = versions[service];
  const match = versionSegment.exec(path);
  const before = match === null ? path : path.slice(0, match.index);
  const version = match?.[1] !== undefined && as.test(match[1]) ? match[1] : wanted;
  let after = match === null ? '' : path.slice(match.index + match[0].length);
  // Cinder wants the project in the path before 3.67, and takes it in every later release.
  if (service === 'volume' && after === '' && projectId !== '') after = `/${projectId}`;
  return {
    origin,
    hostname,
    root: `${before}/${version}${after}`,
    versionPaths: [`${before}/${version}/`, `${before}/`],
  };
}

/** Host names of all the catalog's endpoints, which no tenant may read. */
export function hostsOf(catalog: readonly CatalogEntry[]): string[] {
  const hosts = new Set<string>();
  for (const { endpoints } of catalog) {
    for (const { url } of endpoints) if (URL.canParse(url)) hosts.add(new URL(url).hostname);
  }
  return [...hosts];
}

function catalogUrl(service: CloudService, catalog: readonly CatalogEntry[], entry: CloudEntry): string | undefined {
  const wanted = entry.interface ?? 'public';
  for (const type of types[service]) {
    for (const offered of catalog) {
      if (offered.type !== type) continue;
      const found = offered.endpoints.find(
        (endpoint) =>
          // Keystone's v2 catalogs said `publicURL`; some clouds have kept it in v3.
          (endpoint.interface === wanted || endpoint.interface === `${wanted}URL`) &&
          (entry.region_name === undefined || (endpoint.region_id ?? endpoint.region) === entry.region_name),
      );
      if (found !== undefined) return found.url;
    }
  }
  return undefined;
}
