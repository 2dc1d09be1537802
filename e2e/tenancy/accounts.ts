/** Projects and users made for the tenancy tests, in a child by its administrator or in a parent by its own. */
import type { CloudCall, CloudService } from '../../src/openstack/contract.ts';
import { type Account, api, list, microversion } from '../harness/rest.ts';

/** One call as an account; gives the answer's body, and throws CloudError for a refusal. */
export async function send<Body = Record<string, never>>(
  who: Account,
  service: CloudService,
  method: CloudCall['method'],
  path: string,
  body?: object,
  accept: readonly number[] = [],
): Promise<Body> {
  const call: CloudCall = { service, method, path, accept, ...microversion(service) };
  return (await api(who).call<Body>(body === undefined ? call : { ...call, body })).body;
}

/** Makes an object and gives its id. */
export async function make(
  who: Account,
  service: CloudService,
  path: string,
  key: string,
  values: object,
): Promise<string> {
  const body = await send<Record<string, { readonly id: string }>>(who, service, 'POST', path, { [key]: values });
  return body[key]?.id ?? '';
}

export interface Person {
  readonly project: string;
  readonly user: string;
}

/** Makes a project and a user of this name, with the role member in it. */
export async function makePerson(who: Account, name: string, password: string): Promise<Person> {
  const domain_id = 'default';
  const project = await make(who, 'identity', '/projects', 'project', { name, domain_id });
  const user = await make(who, 'identity', '/users', 'user', { name, domain_id, password });
  await grant(who, { project, user }, 'member');
  return { project, user };
}

/** Gives a role in the person's project, or takes it away. */
export async function grant(who: Account, { project, user }: Person, role: string, method: 'PUT' | 'DELETE' = 'PUT') {
  const [found] = await list(api(who), 'identity', '/roles', 'roles', { name: role });
  await send(who, 'identity', method, `/projects/${project}/users/${user}/roles/${found?.id}`);
}

/**
 * Deletes person and project, whatever was made of them; in a child also the security group that its Neutron made for
 * the project. Twice: nothing.
 */
export async function removePerson(who: Account, name: string): Promise<void> {
  for (const user of await list(api(who), 'identity', '/users', 'users', { name })) {
    await send(who, 'identity', 'DELETE', `/users/${user.id}`, undefined, [404]);
  }
  for (const project of await list(api(who), 'identity', '/projects', 'projects', { name })) {
    const query = { project_id: project.id, name: 'default' };
    const groups = await list(api(who), 'network', '/security-groups', 'security_groups', query);
    await send(who, 'identity', 'DELETE', `/projects/${project.id}`, undefined, [404]);
    for (const { id } of groups) await send(who, 'network', 'DELETE', `/security-groups/${id}`, undefined, [404]);
  }
}
