/** Microversions of the services that have them (compute and volume): headers, order, and reading a version root. */
import type { CloudService } from './contract.ts';

/** True for the services that are asked for a microversion. */
export function hasMicroversions(service: CloudService): boolean {
  return service === 'compute' || service === 'volume';
}

/** The headers that ask for a microversion; none for a service without microversions. */
export function microversionHeaders(service: CloudService, microversion: string): Record<string, string> {
  if (service === 'volume') return { 'openstack-api-version': `volume ${microversion}` };
  if (service !== 'compute') return {};
  return { 'openstack-api-version': `compute ${microversion}`, 'x-openstack-nova-api-version': microversion };
}

/** The lower of the two: what may be asked of a cloud whose highest is `maximum`. */
export function lowerMicroversion(wanted: string, maximum: string): string {
  return compareMicroversions(wanted, maximum) <= 0 ? wanted : maximum;
}

/** Below zero where `a` is the older, above where it is the newer: 2.9 comes before 2.10. */
export function compareMicroversions(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split('.').map(Number);
  const [bMajor = 0, bMinor = 0] = b.split('.').map(Number);
  return aMajor - bMajor || aMinor - bMinor;
}

interface VersionRecord {
  readonly id?: string;
  readonly version?: string;
  readonly max_version?: string;
}

/**
 * The highest microversion in the answer of a version root (`{version}` or `{versions}`), for the major version
 * driven; undefined where the document is of another kind or the service has none (Nova says `""`).
 */
export function maximumIn(service: CloudService, body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const document = body as { version?: VersionRecord; versions?: VersionRecord[] | { values?: VersionRecord[] } };
  const listed = Array.isArray(document.versions) ? document.versions : document.versions?.values;
  const records = document.version === undefined ? (listed ?? []) : [document.version];
  const major = service === 'compute' ? /^v2\.1$/ : /^v3(\.|$)/;
  const record = records.find(({ id }) => id !== undefined && major.test(id));
  const maximum = record?.version || record?.max_version;
  return maximum !== undefined && /^\d+\.\d+$/.test(maximum) ? maximum : undefined;
}
