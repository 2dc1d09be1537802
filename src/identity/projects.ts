/** Projects, and the tree that they may form. */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { badRequest, forbidden, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, Reply, type RequestContext } from '../http/service.ts';
import { Type } from 'typebox';
import { crudOperations } from '../resource/crud.ts';
import { renderer } from '../resource/render.ts';
import {
  claimName,
  type Core,
  defaultDomain,
  flag,
  holdDomain,
  listTarget,
  mergedOptions,
  missing,
  ownDomain,
  refuseImmutable,
  refuseOtherDomain,
} from './core.ts';
import { alsoDomains } from './domain-projects.ts';
import { newId, project, type ProjectRow, projects } from './resources.ts';
import { noteRevoked } from './revocations.ts';
import { admin, domainList, getProject } from './rules.ts';
import { actorsOf } from './subject.ts';
import { dropTrusts } from './trusts.ts';

const DEPTH_MAX = 5;
const noProject = missing('project');

const twice = (name: string) => (holder: string) =>
  `Conflict occurred attempting to store project - it is not permitted to have two projects with either the same name or same id in the same domain: name is ${name}, project id ${holder}.`;

/** What rules are asked about one project; nothing where there is none. */
const target =
  (core: Core) =>
  async ({ params }: Pick<Call<unknown>, 'params'>) => {
    const row = await projects.find(core.db.query, params.project_id ?? '');
    return { target: row === undefined ? {} : { project: { id: row.id, domain_id: row.domain_id } } };
  };

export function projectOperations(core: Core): Operation[] {
  const plain = crudOperations<ProjectRow>({
    db: core.db,
    convention: core.convention,
    store: projects,
    path: '/projects',
    updateMethod: 'PATCH',
    policies: {
      list: domainList('list_projects'),
      show: getProject('get_project'),
      create: admin('create_project'),
      update: admin('update_project'),
      remove: admin('delete_project'),
    },
    visible: (context) => ownDomain(context),
    target: async (call) =>
      call.params.project_id === undefined ? listTarget(call.context, call.query) : target(core)(call),
    missing: noProject,
    creating: async (given, context, tx) => {
      const id = newId();
      const { domain_id, parent_id } = await placeOf(tx, given, context);
      const options = mergedOptions({}, given.options);
      const row = { ...given, options, id, domain_id, parent_id } as ProjectRow;
      await claimName(tx, { table: 'identity_projects', domainId: domain_id, name: row.name, id }, twice(row.name));
      return row;
    },
    updating: async (before, given, _context, tx) => {
      refuseImmutable('project', before, 'update', given.options);
      refuseOtherDomain(before.domain_id, given.domain_id);
      if (given.parent_id !== undefined && given.parent_id !== before.parent_id) {
        throw forbidden('Update of `parent_id` is not allowed.');
      }
      if (given.is_domain === true) throw badRequest('Update of `is_domain` is not allowed.');
      if (given.name !== undefined) {
        const claim = { table: 'identity_projects', domainId: before.domain_id, name: given.name, id: before.id };
        await claimName(tx, claim, twice(given.name));
      }
      if (given.enabled !== undefined && given.enabled !== before.enabled) await checkBranch(tx, before, given.enabled);
      return { ...given, options: mergedOptions(before.options, given.options) };
    },
    updated: (row, _before, _context, tx) => core.changes.announce(tx, `project ${row.id}`),
    removing: async (row, _context, tx) => {
      refuseImmutable('project', row, 'delete');
      const child = await sql`select 1 from identity_projects where parent_id = ${row.id} limit 1`.execute(tx);
      if (child.rows.length > 0) {
        throw forbidden(
          `Cannot delete the project ${row.id} since it is not a leaf in the hierarchy. Use the cascade option if you want to delete a whole subtree.`,
        );
      }
      await sql`delete from identity_assignments where target_id = ${row.id} and scope = 'project'`.execute(tx);
      await sql`update identity_users set default_project = null where default_project = ${row.id}`.execute(tx);
      await dropTrusts(core, tx, sql`project_id = ${row.id}`);
      await sql`delete from identity_credentials where project_id = ${row.id}`.execute(tx);
      for (const listener of core.projectDeleted) await listener(tx, row.id);
      await noteRevoked(core, tx, 'project_id', [row.id]);
      await core.changes.announce(tx, `project ${row.id}`);
    },
    committed: () => core.changes.apply('all'),
  });
  const withBranches = plain.map((op) => (op.method === 'GET' && op.path.endsWith('_id') ? withBranch(core, op) : op));
  return [...alsoDomains(core, withBranches), ...tags(core)];
}

/** Where a new project goes: the domain said, its parent's, or the token's. */
async function placeOf(
  tx: Queryable,
  given: Partial<ProjectRow>,
  context: RequestContext,
): Promise<{ domain_id: string; parent_id: string }> {
  const parentId = given.parent_id ?? undefined;
  const parent = parentId === undefined ? undefined : await holdProject(tx, parentId);
  const domain_id = given.domain_id ?? parent?.domain_id ?? parentId ?? defaultDomain(context);
  if ((await holdDomain(tx, domain_id)) === undefined) {
    throw badRequest(
      parentId === domain_id ? `Could not find project: ${parentId}.` : `Could not find domain: ${domain_id}.`,
    );
  }
  if (parentId === undefined || parentId === domain_id) return { domain_id, parent_id: domain_id };
  if (parent === undefined) throw badRequest(`Could not find project: ${parentId}.`);
  if (parent.domain_id !== domain_id) {
    throw badRequest(`Cannot create project, since its parent project ${parentId} is in another domain.`);
  }
  const above = await ancestors(tx, parentId);
  const disabled = above.find(({ enabled }) => !enabled);
  if (disabled !== undefined) {
    throw badRequest(`cannot create a project in a branch containing a disabled project: ${disabled.id}`);
  }
  if (above.length >= DEPTH_MAX) throw forbidden(`Max hierarchy depth reached for ${parentId} branch.`);
  return { domain_id, parent_id: parentId };
}

async function holdProject(tx: Queryable, id: string): Promise<{ domain_id: string } | undefined> {
  const { rows } = await sql<{ domain_id: string }>`
    select domain_id from identity_projects where id = ${id} for key share`.execute(tx);
  return rows[0];
}

/** A branch is disabled from its leaves up, and enabled from the top down. */
async function checkBranch(tx: Queryable, row: ProjectRow, enable: boolean): Promise<void> {
  if (enable) {
    const above = await ancestors(tx, row.parent_id ?? '');
    if (above.some(({ enabled }) => !enabled)) {
      throw forbidden(`Cannot enable project ${row.id} since it has disabled parents`);
    }
    return;
  }
  const below = await sql`select 1 from identity_projects where parent_id = ${row.id} and enabled limit 1`.execute(tx);
  if (below.rows.length > 0) {
    throw forbidden(`Cannot disable project ${row.id} since its subtree contains enabled projects.`);
  }
}

interface Branch {
  id: string;
  parent_id: string;
  enabled: boolean;
}

/** A project and those above it, from the bottom up. */
async function ancestors(query: Queryable, id: string): Promise<Branch[]> {
  const { rows } = await sql<Branch>`with recursive above(id, parent_id, enabled, depth) as (
      select id, parent_id, enabled, 0 from identity_projects where id = ${id}
      union all select p.id, p.parent_id, p.enabled, a.depth + 1 from identity_projects p join above a on p.id = a.parent_id
    ) select id, parent_id, enabled from above order by depth`.execute(query);
  return rows;
}

async function descendants(query: Queryable, id: string): Promise<Branch[]> {
  const { rows } = await sql<Branch>`with recursive below(id, parent_id, enabled) as (
      select id, parent_id, enabled from identity_projects where parent_id = ${id}
      union all select p.id, p.parent_id, p.enabled from identity_projects p join below b on p.parent_id = b.id
    ) select id, parent_id, enabled from below order by id limit 10000`.execute(query);
  return rows;
}

/** Adds what `parents_as_ids`, `subtree_as_list` and their like ask for to the plain answer. */
function withBranch(core: Core, plain: Operation): Operation {
  return {
    ...plain,
    handle: async (call) => {
      const answer = (await plain.handle(call)) as { project: Record<string, unknown> };
      const id = call.params.project_id as string;
      const { query, context } = call;
      const asked = (name: string): boolean => flag(query, name);
      if (asked('parents_as_list') && asked('parents_as_ids')) {
        throw badRequest('Cannot use parents_as_list and parents_as_ids query params at the same time.');
      }
      if (asked('subtree_as_list') && asked('subtree_as_ids')) {
        throw badRequest('Cannot use subtree_as_list and subtree_as_ids query params at the same time.');
      }
      if (asked('parents_as_ids')) {
        const above = await ancestors(core.db.query, id);
        const parents = above.map(({ parent_id }) => parent_id).reverse();
        answer.project.parents = parents.reduce<unknown>((inner, parent) => ({ [parent]: inner }), null);
      }
      if (asked('subtree_as_ids')) answer.project.subtree = idTree(await descendants(core.db.query, id), id);
      if (asked('parents_as_list')) {
        answer.project.parents = await listed(core, context, (await ancestors(core.db.query, id)).slice(1));
      }
      if (asked('subtree_as_list')) {
        answer.project.subtree = await listed(core, context, await descendants(core.db.query, id));
      }
      return answer;
    },
  };
}

/** Of the projects in a branch, those that the caller has a role on: Keystone shows no others in a list. */
async function listed(core: Core, context: RequestContext, branch: readonly Branch[]): Promise<unknown[]> {
  const { rows } = await sql<{ target_id: string }>`select distinct target_id from identity_assignments
    where scope = 'project' and target_id = any(${branch.map(({ id }) => id)}) and actor_id = any(${actorsOf(context.identity.user.id)})`.execute(
    core.db.query,
  );
  const render = renderer<ProjectRow>(project, core.convention, context, 'detail');
  const found = await projects.findMany(
    core.db.query,
    rows.map(({ target_id }) => target_id),
  );
  return found.map((row) => ({ project: render(row) }));
}

function idTree(branch: readonly Branch[], top: string): Record<string, unknown> | null {
  const children = branch.filter(({ parent_id }) => parent_id === top);
  return children.length === 0 ? null : Object.fromEntries(children.map(({ id }) => [id, idTree(branch, id)]));
}

const TAG = /^[^,/]{1,255}$/;
const TAGS_MAX = 80;
const VERBING = { create: 'creating', update: 'updating', delete: 'deleting' } as const;

/** `/projects/{id}/tags`. */
function tags(core: Core): Operation[] {
  const path = '/projects/:project_id/tags';
  const one = `${path}/:value`;
  const common = { target: target(core) };
  const rowOf = async (call: Call<unknown>): Promise<ProjectRow> => {
    const id = call.params.project_id as string;
    const row = await projects.find(core.db.query, id);
    if (row === undefined) throw noProject(id);
    return row;
  };
  const change = (
    call: Call<unknown>,
    verb: 'create' | 'update' | 'delete',
    work: (before: readonly string[]) => readonly string[],
  ): Promise<string[]> =>
    core.db.transaction(async (tx) => {
      const id = call.params.project_id as string;
      const row = await projects.lock(tx, id);
      if (row === undefined) throw noProject(id);
      if (row.options.immutable === true) {
        throw forbidden(
          `Cannot ${verb} project tags for ${id}, project is immutable. Set "immutable" option to false before ${VERBING[verb]} project tags.`,
        );
      }
      const after = [...work(row.tags)];
      if (after.length > TAGS_MAX)
        throw badRequest(`Invalid input for field 'tags': ${after.length} tags are too many`);
      await projects.update(tx, id, { tags: after });
      return after;
    });
  const answer = (call: Call<unknown>, list: readonly string[]) => ({
    links: { self: `${call.context.baseUrl}/projects/${call.params.project_id}/tags` },
    tags: list,
  });
  const noTag = (tag: string) => notFound(`Could not find project tag: ${tag}.`);
  const tagOf = (call: Call<unknown>): string => call.params.value as string;
  return [
    operation({
      ...common,
      method: 'GET',
      path,
      policy: getProject('list_project_tags'),
      status: 200,
      summary: 'List the tags of a project',
      handle: async (call) => answer(call, (await rowOf(call)).tags),
    }),
    operation<{ tags: string[] }>({
      ...common,
      method: 'PUT',
      path,
      policy: admin('update_project_tags'),
      status: 200,
      summary: 'Replace the tags of a project',
      body: Type.Object({ tags: project.fields.tags.schema }),
      handle: async (call) => answer(call, await change(call, 'update', () => call.body.tags)),
    }),
    operation({
      ...common,
      method: 'DELETE',
      path,
      policy: admin('delete_project_tags'),
      status: 204,
      summary: 'Remove all tags of a project',
      handle: async (call) => void (await change(call, 'delete', () => [])),
    }),
    ...(['GET', 'HEAD'] as const).map((method) =>
      operation({
        ...common,
        method,
        path: one,
        policy: getProject('get_project_tag'),
        status: 204,
        summary: 'Check whether a project has a tag',
        handle: async (call) => {
          if (!(await rowOf(call)).tags.includes(tagOf(call))) throw noTag(tagOf(call));
        },
      }),
    ),
    operation({
      ...common,
      method: 'PUT',
      path: one,
      policy: admin('create_project_tag'),
      status: 201,
      summary: 'Add a tag to a project',
      handle: async (call) => {
        const tag = tagOf(call);
        if (!TAG.test(tag)) throw badRequest(`'${tag.slice(0, 64)}' does not match '^[^,/]*$'`);
        await change(call, 'create', (before) => {
          if (!before.includes(tag)) return [...before, tag];
          const names = [...before, tag].map((name) => `'${name}'`).join(', ');
          throw badRequest(`[${names}] has non-unique elements`);
        });
        const location = `${call.context.baseUrl}/projects/${call.params.project_id}/tags/${encodeURIComponent(tag)}`;
        return new Reply(201, undefined, { location });
      },
    }),
    operation({
      ...common,
      method: 'DELETE',
      path: one,
      policy: admin('delete_project_tag'),
      status: 204,
      summary: 'Remove a tag from a project',
      handle: async (call) => {
        await change(call, 'delete', (before) => {
          if (!before.includes(tagOf(call))) throw noTag(tagOf(call));
          return before.filter((tag) => tag !== tagOf(call));
        });
      },
    }),
  ];
}
