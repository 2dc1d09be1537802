/** What the account may do in a child, against what the child's tenancy asks of it. Changes nothing there. */
import type { CloudEntry } from '../../openstack/clouds-yaml.ts';
import type { CloudApi } from '../../openstack/contract.ts';
import type { ConfiguredChild } from '../config.ts';
import { type Finding, holds, lacking } from './finding.ts';

const NO_TENANTS = 'everything: no project can be made for a tenant, so nothing of theirs can be in this child';

/** @throws CloudError where the child does not answer */
export async function rights(api: CloudApi, child: ConfiguredChild, entry: CloudEntry): Promise<Finding[]> {
  const { roles } = await api.account();
  const isAdmin = roles.includes('admin');
  const held = `the account has the roles ${[...roles].sort().join(', ') || '(none)'}`;
  return [tenancy(child, entry, isAdmin, held), ...(await sizes(api))];
}

function tenancy({ tenancy: mode }: ConfiguredChild, entry: CloudEntry, isAdmin: boolean, held: string): Finding {
  const topic = 'tenancy';
  switch (mode) {
    case 'mirrored':
      if (entry.auth_type !== 'password') {
        return lacking(
          topic,
          'essential',
          `mirrored, but the account logs in by ${entry.auth_type}, which is bound to one project`,
          {
            lost: NO_TENANTS,
            mend: 'log in by password in clouds.yaml, or choose `tenancy: shared`',
          },
        );
      }
      if (isAdmin) return holds(topic, `mirrored: a project for each tenant; ${held}`);
      return lacking(topic, 'essential', `mirrored, but ${held}`, {
        lost: NO_TENANTS,
        mend: 'give the account the role admin in the child, or choose `tenancy: shared`',
      });
    case 'shared': {
      const says = `shared: all tenants are in the account's one project; ${held}`;
      if (isAdmin) return holds(topic, says);
      return lacking(topic, 'missing', says, {
        lost: "flavors and images of their own (the child's are matched), QoS and addresses as they choose where the child's rules forbid it, and networks that reach other children",
        mend: 'an account with the role admin, and `tenancy: mirrored`',
      });
    }
    case 'federated':
      return isAdmin
        ? holds(topic, `federated: the same projects as in the parent; ${held}`)
        : lacking(topic, 'essential', `federated, but ${held}`, {
            lost: NO_TENANTS,
            mend: 'give the account the role admin in the projects of all tenants',
          });
  }
}

/** By what the child shows of its hypervisors it is chosen for new servers. */
async function sizes(api: CloudApi): Promise<Finding[]> {
  if (!(await api.offers('compute'))) return [];
  const call = { service: 'compute', method: 'GET', path: '/os-hypervisors', query: { limit: 1 } } as const;
  const { status } = await api.call({ ...call, microversion: '2.33', atMost: true, accept: [400, 403, 404] });
  if (status < 300) return [holds('capacity', 'the account may read how much room there is')];
  return [
    lacking('capacity', 'missing', `the account may not read how much room there is (${status})`, {
      lost: 'a good choice of child: where several serve a zone, this one is chosen without regard to its room',
      mend: 'let the account read os-hypervisors',
    }),
  ];
}
