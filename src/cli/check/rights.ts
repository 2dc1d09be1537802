/** What the account may do in a child, against what the child's tenancy asks of it. Changes nothing there. */
import type { CloudEntry } from '../../openstack/clouds-yaml.ts';
import type { CloudApi } from '../../openstack/contract.ts';
import type { ConfiguredChild } from '../config.ts';
import { type Finding, holds, lacking, unknown } from './finding.ts';

/** Roles of OpenStack's own that may make nothing. */
const READERS = new Set(['reader', 'auditor']);
const NO_TENANTS = 'everything: no project can be made for a tenant, so nothing of theirs can be in this child';

/** @throws CloudError where the child does not answer */
export async function rights(api: CloudApi, child: ConfiguredChild, entry: CloudEntry): Promise<Finding[]> {
  const { roles } = await api.account();
  const isAdmin = roles.includes('admin');
  const held = `the account has the roles ${[...roles].sort().join(', ') || '(none)'}`;
  const asksForSizes = child.tenancy !== 'shared' || isAdmin;
  const room = asksForSizes
    ? await sizes(api)
    : [unknown('capacity', 'not asked for: an account that is no admin may not see it')];
  return [tenancy(child, entry, roles, held), ...room, ...(child.tenancy === 'shared' ? await flavors(api) : [])];
}

function tenancy(
  { tenancy: mode }: ConfiguredChild,
  entry: CloudEntry,
  roles: readonly string[],
  held: string,
): Finding {
  const isAdmin = roles.includes('admin');
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
      if (roles.length > 0 && roles.every((role) => READERS.has(role))) {
        return lacking(topic, 'essential', says, {
          lost: 'everything: an account that may only read makes nothing',
          mend: 'give the account the role member in its project',
        });
      }
      if (isAdmin) {
        return lacking(topic, 'missing', says, {
          lost: 'flavors that the child has none of the same sizes of, and networks that reach other children',
          mend: '`tenancy: mirrored`, which this account may do',
        });
      }
      return lacking(topic, 'missing', says, {
        lost: 'flavors that the child has none of the same sizes of, floating IPs and QoS (Neutron leaves both to administrators), moves between hosts, and networks that reach other children',
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

/** None is made where tenants share a project. */
async function flavors(api: CloudApi): Promise<Finding[]> {
  if (!(await api.offers('compute'))) return [];
  const { body } = await api.call<{ flavors: { name: string; vcpus: number; ram: number; disk: number }[] }>({
    service: 'compute',
    method: 'GET',
    path: '/flavors/detail',
    query: { limit: 100 },
  });
  const sizes = body.flavors.map(({ name, vcpus, ram, disk }) => `${name} (${vcpus} vCPUs, ${ram} MB, ${disk} GB)`);
  if (sizes.length > 0) return [holds('flavors', `matched by size with ${sizes.join(', ')}`)];
  return [
    lacking('flavors', 'essential', 'the account sees no flavor', {
      lost: 'every server: flavors are matched with those of the child, and it shows none',
      mend: "make a flavor there for each size that tenants are to have, public or with access for the account's project",
    }),
  ];
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
