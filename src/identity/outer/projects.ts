/**
 * What is known of an outer Keystone's projects. They are kept in the tables of the built-in one, as far as a token or a
 * question named them: replicas in children hang on them, and lists show their names.
 */
import { sql } from 'kysely';
import type { Db, Queryable, Tx } from '../../db/database.ts';
import type { NamedInDomain } from '../../http/identity.ts';
import type { CloudApi } from '../../openstack/contract.ts';
import type { ProjectDeletedListener } from '../core.ts';
import type { ProjectLookup } from '../identity.ts';

interface OuterProject {
  readonly id: string;
  readonly name: string;
  readonly domain_id: string;
}

/** Projects that were written lately, by what was written of them. */
const WRITTEN_MAX = 10_000;

export interface OuterProjects extends ProjectLookup {
  /** Keeps what a token says of its project. No query for one that it said before. */
  remember(project: NamedInDomain): Promise<void>;
  /**
   * Forgets the projects that Keystone has no more, telling the listeners in the same transaction. Twice: nothing.
   * @returns how many those were
   * @throws CloudError where Keystone does not say which projects there are
   */
  forgetDeleted(listeners: readonly ProjectDeletedListener[]): Promise<number>;
}

export function createOuterProjects(db: Db, api: CloudApi, lookup: ProjectLookup): OuterProjects {
  const written = new Map<string, string>();

  async function remember(project: NamedInDomain): Promise<void> {
    const { id, name, domain } = project;
    const said = JSON.stringify([name, domain.id, domain.name]);
    if (written.get(id) === said) return;
    await db.transaction((tx) => write(tx, project));
    written.delete(id);
    written.set(id, said);
    if (written.size > WRITTEN_MAX) written.delete(written.keys().next().value as string);
  }

  /** One that no token named yet: an administrator speaks of it (its quota, access to a flavor). */
  async function ask(id: string): Promise<NamedInDomain | undefined> {
    if (!/^[0-9A-Za-z-]{1,64}$/.test(id)) return undefined;
    const answer = await api.call<{ project?: OuterProject }>({
      service: 'identity',
      method: 'GET',
      path: `/projects/${id}`,
      accept: [403, 404],
    });
    const { project } = answer.body ?? {};
    if (answer.status !== 200 || project?.id !== id) return undefined;
    const domain = await api.call<{ domain?: { name?: string } }>({
      service: 'identity',
      method: 'GET',
      path: `/domains/${project.domain_id}`,
      accept: [403, 404],
    });
    const name = domain.status === 200 ? (domain.body.domain?.name ?? project.domain_id) : project.domain_id;
    const found = { id, name: project.name, domain: { id: project.domain_id, name } };
    await remember(found);
    return found;
  }

  return {
    remember,
    async find(query, id) {
      return (await lookup.find(query, id)) ?? (await ask(id));
    },
    async exists(query, id) {
      return (await lookup.exists(query, id)) || (await ask(id)) !== undefined;
    },
    names: lookup.names,
    async forgetDeleted(listeners) {
      const known = await sql<{ id: string }>`select id from identity_projects`.execute(db.query);
      const { projectId } = await api.account();
      const { body } = await api.call<{ projects?: OuterProject[] }>({
        service: 'identity',
        method: 'GET',
        path: '/projects',
      });
      const there = new Set((body.projects ?? []).map(({ id }) => id));
      // An account that sees but some of the projects, or another Keystone, must not look like a great deletion.
      if (projectId === '' || !there.has(projectId)) return 0;
      let gone = 0;
      for (const { id } of known.rows) {
        if (there.has(id) || !(await isDeleted(api, id))) continue;
        await db.transaction(async (tx) => {
          for (const listener of listeners) await listener(tx, id);
          await sql`delete from identity_projects where id = ${id}`.execute(tx);
        });
        written.delete(id);
        gone += 1;
      }
      return gone;
    },
  };
}

async function isDeleted(api: CloudApi, id: string): Promise<boolean> {
  const path = `/projects/${encodeURIComponent(id)}`;
  return (await api.call({ service: 'identity', method: 'GET', path, accept: [403, 404] })).status === 404;
}

/** A name that another id had is free in Keystone by now: the other was deleted or renamed without our hearing of it. */
async function write(tx: Tx, { id, name, domain }: NamedInDomain): Promise<void> {
  await writeDomain(tx, domain);
  await sql`update identity_projects set name = left(name, 200) || ' ' || id
    where domain_id = ${domain.id} and name = ${name} and id <> ${id}`.execute(tx);
  await sql`insert into identity_projects (id, name, domain_id, parent_id) values (${id}, ${name}, ${domain.id}, ${domain.id})
    on conflict (id) do update set name = excluded.name, domain_id = excluded.domain_id, enabled = true`.execute(tx);
}

async function writeDomain(query: Queryable, { id, name }: NamedInDomain['domain']): Promise<void> {
  await sql`update identity_domains set name = left(name, 200) || ' ' || id where name = ${name} and id <> ${id}`.execute(
    query,
  );
  await sql`insert into identity_domains (id, name) values (${id}, ${name})
    on conflict (id) do update set name = excluded.name where identity_domains.name <> excluded.name`.execute(query);
}
