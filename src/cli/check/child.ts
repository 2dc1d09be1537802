/** Walks one child: first whether it answers and lets us in, then everything else side by side. */
import type { NetworkTopology } from '../../network/topology.ts';
import { createCloudClient } from '../../openstack/client.ts';
import type { CloudEntry } from '../../openstack/clouds-yaml.ts';
import { type CloudApi, CloudError } from '../../openstack/contract.ts';
import type { ConfiguredChild } from '../config.ts';
import { distance } from './distance.ts';
import { type ChildReport, type Finding, holds, lacking, unknown } from './finding.ts';
import { sharedKeystone } from './keystone.ts';
import { networking } from './networking.ts';
import { quotas } from './quotas.ts';
import { rights } from './rights.ts';
import { services } from './services.ts';

export interface CheckedChild {
  readonly child: ConfiguredChild;
  readonly entry: CloudEntry;
  readonly topology: NetworkTopology;
  /** Names of all children of the configuration. */
  readonly children: readonly string[];
  /** Whether networks may be made and taken away again, to see what the child accepts; else nothing is changed. */
  readonly tries: boolean;
  /** URL of the Keystone in place of the built-in one, where there is one. */
  readonly keystoneUrl?: string | undefined;
}

/** An answer that takes longer is none. */
const TIMEOUT_MS = 15_000;

/** What holds of a child, what is missing, and what tenants lose by it. Throws nothing: what went wrong is a finding. */
export async function checkChild(options: CheckedChild): Promise<ChildReport> {
  const { child, entry, keystoneUrl } = options;
  const timeout_ms = Math.min(child.timeout_ms, TIMEOUT_MS);
  const api = createCloudClient({ entry, name: child.name, concurrency: 4, timeout_ms });
  const report = (findings: readonly Finding[]): ChildReport => ({
    child: child.name,
    cloud: child.cloud,
    zones: Object.keys(child.zones),
    findings,
  });
  try {
    const reached = await reach(api, entry);
    if (reached.state === 'essential') return report([reached]);
    // By itself: what is asked beside it would be measured, too.
    const far = await topic('distance', () => distance(api));
    const parts = await Promise.all([
      topic('shared Keystone', async () =>
        child.tenancy === 'federated' && keystoneUrl !== undefined
          ? [await sharedKeystone(keystoneUrl, entry, timeout_ms)]
          : [],
      ),
      topic('rights', () => rights(api, child, entry)),
      topic('services', () => services(api, child)),
      topic('quotas', () => quotas(api, child)),
      topic('networking', () => networking({ ...options, api })),
    ]);
    return report([reached, ...far, ...parts.flat()]);
  } finally {
    await api.close();
  }
}

async function reach(api: CloudApi, entry: CloudEntry): Promise<Finding> {
  try {
    await api.account();
    return holds('reachability', `${entry.auth.auth_url} answers, and the account logs in`);
  } catch (error) {
    return lacking('reachability', 'essential', reasonOf(error), {
      lost: 'everything in its zones that is not there yet; lists and shows go on',
      mend:
        error instanceof CloudError && error.failure === 'unauthorized'
          ? `the account of ${entry.name} in clouds.yaml`
          : `the way to ${entry.auth.auth_url}`,
    });
  }
}

/** One part that cannot be looked at does not keep the others from it. */
async function topic(name: string, look: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await look();
  } catch (error) {
    return [unknown(name, `could not be looked at: ${reasonOf(error)}`)];
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
