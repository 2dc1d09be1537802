/** For tests: an account without the role admin in a simulated cloud, as its operator would make it. */
import type { SimCloud } from './cloud.ts';
import { login } from './testing.ts';
import { rowOf, textOf } from './world.ts';

export interface SimAccount {
  readonly projectId: string;
  readonly userId: string;
  /** Its entry of a clouds.yaml. */
  readonly entry: SimCloud['cloudsYamlEntry'];
}

/** Makes a project and a user with the role `member` in it. */
export async function makeMember(cloud: SimCloud, name: string): Promise<SimAccount> {
  const admin = await login(cloud);
  const made = async (path: string, key: string, body: Record<string, string>): Promise<string> => {
    const answer = await admin.ask('identity', 'POST', path, { [key]: body });
    if (answer.status !== 201) throw new Error(`POST ${path}: ${answer.text}`);
    return textOf(rowOf(answer.body[key])['id']);
  };
  const projectId = await made('/projects', 'project', { name, domain_id: 'default' });
  const userId = await made('/users', 'user', { name, domain_id: 'default', password: passwordOf(name) });
  // Keystone's member implies reader.
  for (const [roleId, role] of cloud.state.roles) {
    if (role !== 'member' && role !== 'reader') continue;
    await admin.ask('identity', 'PUT', `/projects/${projectId}/users/${userId}/roles/${roleId}`);
  }
  return { projectId, userId, entry: entryOf(cloud, name) };
}

const passwordOf = (name: string): string => `${name}-password`;

/** The entry of an account that was made so. */
export function entryOf({ cloudsYamlEntry }: SimCloud, name: string): SimAccount['entry'] {
  const { auth, region_name } = cloudsYamlEntry;
  return { auth: { ...auth, username: name, password: passwordOf(name), project_name: name }, region_name };
}
