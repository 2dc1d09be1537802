/** Whether a federated child has the very Keystone that the parent's tokens come from. Changes nothing there. */
import { createCloudClient } from '../../openstack/client.ts';
import type { CloudEntry } from '../../openstack/clouds-yaml.ts';
import { CloudError } from '../../openstack/contract.ts';
import { type Finding, holds, lacking } from './finding.ts';

const TOPIC = 'shared Keystone';

/**
 * Asks the parent's Keystone, by a token that the child's account got at the child, for that account's project: it tells
 * only where both are the same. (The other way round a token of the parent's would go to whatever the child is.)
 * @param url of the parent's Keystone, with its version
 * @param entry of the child's account, which is known to log in
 * @throws CloudError where the parent's Keystone does not answer
 */
export async function sharedKeystone(url: string, entry: CloudEntry, timeout_ms: number): Promise<Finding> {
  const { auth_url } = entry.auth;
  const crossed = { ...entry, endpoint_overrides: { identity: url } };
  const api = createCloudClient({ entry: crossed, name: entry.name, concurrency: 1, timeout_ms });
  const another = (says: string): Finding =>
    lacking(TOPIC, 'essential', says, {
      lost: 'everything: their projects are not known in this child, or are those of others there',
      mend: `\`identity.url\`, or auth_url of ${entry.name} in clouds.yaml: both must lead to one Keystone`,
    });
  try {
    const { projectId } = await api.account();
    const path = `/projects/${encodeURIComponent(projectId)}`;
    const { status } = await api.call({ service: 'identity', method: 'GET', path, accept: [403, 404] });
    if (status === 404) return another(`${url} does not know the project of the account of ${auth_url}`);
    return holds(TOPIC, `${url} takes tokens of ${auth_url}`);
  } catch (error) {
    if (!(error instanceof CloudError) || error.failure !== 'unauthorized') throw error;
    return another(`${url} does not take a token of ${auth_url}: they are two Keystones`);
  } finally {
    await api.close();
  }
}
