/**
 * Tenancy: whose token a call to a child carries. With `mirrored` every parent project that needs something in a child
 * gets a project there, named by its id, in which the proxy's account holds a role; the child's quotas are lifted,
 * since the parent's rule. With `shared` everything of all tenants is in the account's one project, whatever its role
 * there: the parent alone keeps them apart. With `federated` parent and child have one Keystone, and the project in the
 * child is the tenant's own; the account gives itself a role in it at first need.
 */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import type { CloudScope } from '../openstack/contract.ts';
import type { ChildConfig, ChildContext, ReplicaKind } from './contract.ts';

export const PROJECT = 'project';

interface ProjectRow {
  readonly id: string;
  readonly name: string;
  readonly revision: number;
}

interface Named {
  readonly id: string;
  readonly name: string;
}

/** The replica kind of projects; `identity_projects` is the identity service's table, or its cache of an outer Keystone's. */
export const projectKind: ReplicaKind<ProjectRow> = {
  kind: PROJECT,
  table: 'identity_projects',
  unique: true,
  async load(query: Queryable, id: string) {
    const result = await sql<ProjectRow>`select id, name, revision from identity_projects where id = ${id}`.execute(
      query,
    );
    return result.rows[0];
  },
  /** By its name, which is the parent's id. */
  async find({ api, tenancy }, id) {
    // With one Keystone for both, the tenant's project is there by itself.
    if (tenancy === 'federated') return { child_id: id, current: false };
    const { domainId } = await api.account();
    const { body } = await api.call<{ projects: Named[] }>({
      service: 'identity',
      method: 'GET',
      path: '/projects',
      query: { name: id, domain_id: domainId },
    });
    const found = body.projects.find((project) => project.name === id);
    return found === undefined ? undefined : { child_id: found.id };
  },
  /** Twice: the second gets 409 and finds the first. The role and the quotas follow in `bring`. */
  async make({ api }, row) {
    const { domainId } = await api.account();
    const { body } = await api.call<{ project: Named }>({
      service: 'identity',
      method: 'POST',
      path: '/projects',
      body: { project: { name: row.id, domain_id: domainId, description: `Headwater: ${row.name}`.slice(0, 255) } },
    });
    return { child_id: body.project.id, current: false };
  },
  /** Grants the role and lifts the quotas (a project that is the tenant's own keeps its quotas); twice: the same. */
  async bring(context, _row, replica) {
    const project = replica.child_id;
    if (project === null) return;
    const { api, tenancy } = context;
    const { userId, roles } = await api.account();
    const roleName = roles.includes('admin') ? 'admin' : 'member';
    const { body } = await api.call<{ roles: Named[] }>({
      service: 'identity',
      method: 'GET',
      path: '/roles',
      query: { name: roleName },
    });
    const role = body.roles.find((candidate) => candidate.name === roleName);
    if (role !== undefined) {
      await api.call({
        service: 'identity',
        method: 'PUT',
        path: `/projects/${project}/users/${userId}/roles/${role.id}`,
        // An account that may not give itself the role in a tenant's own project was given it by the operator.
        accept: tenancy === 'federated' ? [403] : [],
      });
    }
    if (tenancy === 'federated') return;
    await Promise.all(
      QUOTAS.map(([service, path]) =>
        liftQuotas(
          context,
          service,
          `${path}/${project}`,
          service === 'network' ? 'quota' : 'quota_set',
          service === 'compute' ? { force: true } : {},
        ),
      ),
    );
  },
  /** With what the child made for the project by itself, and the quotas that were lifted. Twice: nothing is there. */
  async remove(context, replica) {
    const { api } = context;
    const project = replica.child_id;
    // It was deleted in the Keystone of both, and the account's role with it.
    if (context.tenancy === 'federated') return;
    await leaveNothing(context, 'network', async () => {
      const { body } = await api.call<{ security_groups: Named[] }>({
        service: 'network',
        method: 'GET',
        path: '/security-groups',
        query: { project_id: project, name: 'default' },
      });
      for (const { id } of body.security_groups) {
        await api.call({ service: 'network', method: 'DELETE', path: `/security-groups/${id}`, accept: [404] });
      }
    });
    for (const [service, path] of QUOTAS) {
      await leaveNothing(context, service, () =>
        api.call({ service, method: 'DELETE', path: `${path}/${project}`, accept: [404] }),
      );
    }
    await api.call({ service: 'identity', method: 'DELETE', path: `/projects/${replica.child_id}`, accept: [404] });
  },
};

const QUOTAS = [
  ['compute', '/os-quota-sets'],
  ['volume', '/os-quota-sets'],
  ['network', '/quotas'],
] as const;

/** What the child refuses to take away stays; it does not keep the project. */
async function leaveNothing(
  { api, log, child }: ChildContext,
  service: 'compute' | 'volume' | 'network',
  work: () => Promise<unknown>,
): Promise<void> {
  try {
    if (await api.offers(service)) await work();
  } catch (error) {
    if ((error as { failure?: unknown }).failure !== 'refused') throw error;
    log.warn({ err: error, child, service }, 'something of a project could not be taken away in the child');
  }
}

/** Where the child does not let us, its own quotas hold, and its refusal lands on the object. */
async function liftQuotas(
  { api, log, child }: ChildContext,
  service: 'compute' | 'volume' | 'network',
  path: string,
  key: string,
  more: Record<string, unknown>,
): Promise<void> {
  try {
    if (!(await api.offers(service))) return;
    const { body } = await api.call<Record<string, Record<string, unknown>>>({ service, method: 'GET', path });
    const limits = Object.entries(body[key] ?? {}).filter(
      ([name, value]) => name !== 'id' && typeof value === 'number',
    );
    const unlimited = Object.fromEntries(limits.map(([name]) => [name, -1]));
    await api.call({ service, method: 'PUT', path, body: { [key]: { ...unlimited, ...more } } });
  } catch (error) {
    if ((error as { failure?: unknown }).failure !== 'refused') throw error;
    log.warn({ err: error, child, service }, 'the quotas of a project in the child could not be lifted');
  }
}

/** The scope of a parent project's calls in a child, by the child's tenancy. */
export async function scopeOf(
  config: ChildConfig,
  context: Pick<ChildContext, 'ensure'>,
  projectId: string,
): Promise<CloudScope> {
  switch (config.tenancy) {
    case 'shared':
      return {};
    case 'federated':
    case 'mirrored':
      return { projectId: (await context.ensure(PROJECT, projectId)).child_id };
  }
}
