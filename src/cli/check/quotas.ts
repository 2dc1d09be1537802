/** Whether the child's own quotas are out of the way. */
import type { CloudApi } from '../../openstack/contract.ts';
import type { ConfiguredChild } from '../config.ts';
import { type Finding, holds, lacking, unknown } from './finding.ts';

interface Project {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
}

/** Of many mirrored projects, these many are looked at: they are all made by the same calls. */
const PROJECTS_MAX = 10;

/** Those that are met first, of many. */
const MAIN = new Set([
  'instances',
  'cores',
  'ram',
  'network',
  'subnet',
  'port',
  'router',
  'floatingip',
  'volumes',
  'gigabytes',
]);

const SETS = [
  ['network', '/quotas', 'quota'],
  ['compute', '/os-quota-sets', 'quota_set'],
  ['volume', '/os-quota-sets', 'quota_set'],
] as const;

/** @throws CloudError where the child does not answer */
export async function quotas(api: CloudApi, child: ConfiguredChild): Promise<Finding[]> {
  if (child.tenancy !== 'mirrored') {
    const { projectId } = await api.account();
    const limits = child.tenancy === 'shared' ? await limitsOf(api, projectId) : [];
    const main = limits.filter((limit) => MAIN.has(limit.split(' ')[1] ?? ''));
    const says = limits.length === 0 ? 'not limited in the one project' : `one project for all: ${main.join(', ')}`;
    return child.tenancy === 'shared' ? [holds('quotas', says)] : [unknown('quotas', "each project's own hold")];
  }
  const projects = await mirrored(api);
  if (projects === undefined) return [unknown('quotas', 'the account may not list projects')];
  if (projects.length === 0)
    return [unknown('quotas', 'no tenant has a project there yet, whose quotas could be read')];
  const read = projects.slice(0, PROJECTS_MAX);
  const limited: string[] = [];
  for (const { id, name } of read) {
    const limits = await limitsOf(api, id);
    if (limits.length > 0) limited.push(`${name}: ${limits.join(', ')}`);
  }
  const which = `${read.length} of ${projects.length} projects of tenants`;
  if (limited.length === 0) return [holds('quotas', `lifted in ${which}, as far as read`)];
  return [
    lacking('quotas', 'missing', `not lifted in ${limited.length} of the ${which} that were read: ${limited[0]}`, {
      lost: "what goes beyond the child's quota: it is refused there although the parent's quota allows it",
      mend: 'let the account set quotas; they are lifted when the project is next changed in the parent',
    }),
  ];
}

async function mirrored(api: CloudApi): Promise<Project[] | undefined> {
  const { domainId } = await api.account();
  const { status, body } = await api.call<{ projects: Project[] }>({
    service: 'identity',
    method: 'GET',
    path: '/projects',
    query: { domain_id: domainId },
    accept: [403],
  });
  return status === 403 ? undefined : body.projects.filter(isOurs);
}

const isOurs = ({ description }: Project): boolean => description?.startsWith('Headwater: ') === true;

/** What is limited, as `network: port 500`. Usage of shares and keys is not the project's. */
async function limitsOf(api: CloudApi, projectId: string): Promise<string[]> {
  const limits = await Promise.all(
    SETS.map(async ([service, path, key]) => {
      if (!(await api.offers(service))) return [];
      const call = { service, method: 'GET', path: `${path}/${projectId}`, accept: [403, 404] } as const;
      const { status, body } = await api.call<Record<string, Record<string, unknown>>>(call);
      if (status >= 300) return [];
      const set = Object.entries(body[key] ?? {});
      return set.flatMap(([name, limit]) =>
        typeof limit === 'number' && limit >= 0 ? [`${service} ${name} ${limit}`] : [],
      );
    }),
  );
  return limits.flat();
}
