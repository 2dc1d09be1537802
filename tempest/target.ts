/** A cloud that Tempest is run at: a child of the testbed or a parent. Both are asked and configured alike. */
import { createCloudClient } from '../src/openstack/client.ts';
import type { CloudEntry } from '../src/openstack/clouds-yaml.ts';
import type { CloudApi, CloudCall, CloudService } from '../src/openstack/contract.ts';

export interface Target {
  /** `child` or `parent`: the name of its workspace too. */
  readonly name: 'child' | 'parent';
  /** What it is, for the reader of the report. */
  readonly label: string;
  readonly entry: CloudEntry;
  readonly api: CloudApi;
}

/** An administrator's client of a cloud under test. */
export function openTarget(name: Target['name'], label: string, entry: CloudEntry): Target {
  return { name, label, entry, api: createCloudClient({ entry, name, concurrency: 8, timeout_ms: 60_000 }) };
}

export interface Named {
  readonly id: string;
  readonly name: string;
  readonly status?: string;
  readonly [attribute: string]: unknown;
}

/** The microversion that the harness's own calls are written for. */
export const microversion = (service: CloudService): { microversion?: string } => {
  if (service === 'compute') return { microversion: '2.90' };
  return service === 'volume' ? { microversion: '3.70' } : {};
};

/** All items of a list. */
export async function everything(
  api: CloudApi,
  service: CloudService,
  path: string,
  collection: string,
  query: CloudCall['query'] = {},
): Promise<Named[]> {
  const items: Named[] = [];
  const call: CloudCall = { service, method: 'GET', path, query, ...microversion(service) };
  for await (const page of api.pages<Named>(call, collection)) items.push(...page);
  return items;
}
