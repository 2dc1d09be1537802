/** The clouds and the parent over REST, without the client's start-up and interpretation. */
import { createCloudClient } from '../../src/openstack/client.ts';
import { loadCloud } from '../../src/openstack/clouds-yaml.ts';
import type { CloudApi, CloudCall, CloudService } from '../../src/openstack/contract.ts';
import { CloudError } from '../../src/openstack/error.ts';
import { stage } from './stage.ts';

const open = new Map<string, CloudApi>();

/** An account of the clouds.yaml: a child's administrator, a user of the parent, or one that `addClouds` added. */
export type Account = 'child1' | 'child2' | 'admin' | 'tenant' | 'stranger' | `${'shared' | 'federated'}-${string}`;

export function api(cloud: Account): CloudApi {
  const known = open.get(cloud);
  if (known !== undefined) return known;
  const entry = loadCloud(cloud, { env: { OS_CLIENT_CONFIG_FILE: stage.cloudsFile } });
  const made = createCloudClient({ entry, name: cloud, concurrency: 16, timeout_ms: 30_000 });
  open.set(cloud, made);
  return made;
}

/** All items of a list. */
export async function list<Item = { id: string; name: string; status: string }>(
  cloud: CloudApi,
  service: CloudService,
  path: string,
  collection: string,
  query: CloudCall['query'] = {},
): Promise<Item[]> {
  const items: Item[] = [];
  const call: CloudCall = { service, method: 'GET', path, query, ...microversion(service) };
  for await (const page of cloud.pages<Item>(call, collection)) items.push(...page);
  return items;
}

export const microversion = (service: CloudService): { microversion?: string } => {
  if (service === 'compute') return { microversion: '2.90' };
  return service === 'volume' ? { microversion: '3.70' } : {};
};

export interface Refusal {
  readonly status: number;
  readonly message: string;
}

/** A call that must be refused: its status and words, ids taken out so that two clouds' can be compared. */
export async function refusal(cloud: CloudApi, call: CloudCall): Promise<Refusal> {
  try {
    await cloud.call({ ...microversion(call.service), ...call });
  } catch (error) {
    if (error instanceof CloudError && error.stage === 'answer') {
      return { status: error.status, message: withoutIds(error.tenantMessage) };
    }
    throw error;
  }
  throw new Error(`${call.method} ${call.path} was not refused`);
}

const withoutIds = (text: string): string => text.replaceAll(/[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}/gi, '<id>');
