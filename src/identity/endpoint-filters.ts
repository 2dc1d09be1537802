/** OS-EP-FILTER: which endpoints the catalog shows to a project, one by one and by groups of them. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict, type Fault, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../http/service.ts';
import { crudOperations } from '../resource/crud.ts';
import { renderer } from '../resource/render.ts';
import { type BaseRow, field, resource, type RowOf, type TableOf } from '../resource/resource.ts';
import { createStore, type Store } from '../resource/store.ts';
import { collection, type Core, expecting, missing } from './core.ts';
import {
  Description,
  endpoint,
  type EndpointRow,
  endpoints,
  Name,
  newId,
  project,
  type ProjectRow,
  projects,
  selfLink,
} from './resources.ts';
import { admin, systemReader } from './rules.ts';

const FILTERS = ['service_id', 'region_id', 'interface'] as const;
const GROUPS = '/OS-EP-FILTER/endpoint_groups';

const Filters = Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 255 }), { maxProperties: 8 });

const endpointGroup = resource({
  name: 'endpoint_group',
  table: 'identity_endpoint_groups',
  unknownAttributes: 'ignore',
  fields: {
    id: field(Type.String(), { show: 'always' }),
    name: field(Name, { create: 'required', update: true, filter: true }),
    description: field(Description, { create: 'optional', update: true, default: null }),
    filters: field(Filters, { create: 'required', update: true, column: true }),
    links: selfLink('OS-EP-FILTER/endpoint_groups'),
  },
});
type EndpointGroupRow = BaseRow & RowOf<(typeof endpointGroup)['fields']>;
const endpointGroups = createStore<typeof endpointGroup, EndpointGroupRow>(endpointGroup);

declare module '../db/tables.ts' {
  interface Tables {
    identity_endpoint_groups: TableOf<typeof endpointGroup>;
  }
}

const noGroup = missing('Endpoint Group');

export function endpointFilterOperations(core: Core): Operation[] {
  return [...groups(core), ...ofGroups(core), ...ofProjects(core)];
}

/** An endpoint (`e`) that a group (`g`) is of. */
const FITS = sql<SqlBool>`coalesce(g.filters->>'service_id' = e.service_id, true)
  and coalesce(g.filters->>'region_id' = coalesce(e.region_id, ''), true)
  and coalesce(g.filters->>'interface' = e.interface, true)`;

/** The ids of the endpoints that are shown to a project, empty where all are. */
export async function endpointsOf(query: Queryable, projectId: string): Promise<ReadonlySet<string>> {
  const { rows } = await sql<{ id: string }>`
    select endpoint_id as id from identity_project_endpoints where project_id = ${projectId}
    union select e.id from identity_project_endpoint_groups p
      join identity_endpoint_groups g on g.id = p.endpoint_group_id join identity_endpoints e on ${FITS}
      where p.project_id = ${projectId}`.execute(query);
  return new Set(rows.map(({ id }) => id));
}

function groups(core: Core): Operation[] {
  return crudOperations<EndpointGroupRow>({
    db: core.db,
    convention: core.convention,
    store: endpointGroups,
    path: GROUPS,
    updateMethod: 'PATCH',
    policies: {
      list: systemReader('list_endpoint_groups'),
      show: systemReader('get_endpoint_group'),
      create: admin('create_endpoint_group'),
      update: admin('update_endpoint_group'),
      remove: admin('delete_endpoint_group'),
    },
    visible: () => [],
    missing: noGroup,
    creating: async (given) => {
      if (Object.keys(given.filters ?? {}).length === 0)
        throw badRequest('filters field is required and cannot be empty');
      refuseUnknown(given.filters);
      return { ...given, id: newId() } as EndpointGroupRow;
    },
    updating: async (_before, given) => {
      refuseUnknown(given.filters);
      return given;
    },
    updated: (_row, _before, _context, tx) => core.changes.announce(tx, 'catalog'),
    removing: async (_row, _context, tx) => core.changes.announce(tx, 'catalog'),
    committed: () => core.changes.apply('catalog'),
  });
}

function refuseUnknown(filters: Readonly<Record<string, string>> | undefined): void {
  const known: readonly string[] = FILTERS;
  if (Object.keys(filters ?? {}).some((name) => !known.includes(name))) {
    throw badRequest(expecting(FILTERS.join(' or '), 'endpoint_group'));
  }
}

/** What a group is of, and whose catalogs it is in. */
function ofGroups(core: Core): Operation[] {
  const { query: db } = core.db;
  const one = `${GROUPS}/:endpoint_group_id`;
  const association = `${one}/projects/:project_id`;
  const group = async ({ params }: Call<unknown>): Promise<string> => {
    const id = params.endpoint_group_id as string;
    await require(db, endpointGroups, id, noGroup);
    return id;
  };
  const pair = async (call: Call<unknown>) => {
    const projectId = call.params.project_id as string;
    await require(db, projects, projectId, missing('project'));
    return { groupId: await group(call), projectId };
  };
  const noAssociation = () => notFound('Endpoint Group Project Association not found');
  return [
    operation({
      method: 'HEAD',
      path: one,
      policy: systemReader('get_endpoint_group'),
      status: 200,
      summary: 'Check whether there is an endpoint group',
      handle: async (call) => void (await group(call)),
    }),
    operation({
      method: 'GET',
      path: `${one}/endpoints`,
      policy: systemReader('list_endpoints_associated_with_endpoint_group'),
      status: 200,
      summary: 'List the endpoints of an endpoint group',
      handle: async (call) => {
        const id = await group(call);
        const { rows } = await sql<{ id: string }>`select e.id from identity_endpoints e
          join identity_endpoint_groups g on ${FITS} where g.id = ${id}`.execute(db);
        return listed(core, call, 'endpoints', rows);
      },
    }),
    operation({
      method: 'GET',
      path: `${one}/projects`,
      policy: systemReader('list_projects_associated_with_endpoint_group'),
      status: 200,
      summary: 'List the projects that an endpoint group is shown to',
      handle: async (call) => {
        const id = await group(call);
        const { rows } = await sql<{ id: string }>`select project_id as id from identity_project_endpoint_groups
          where endpoint_group_id = ${id}`.execute(db);
        return listed(core, call, 'projects', rows);
      },
    }),
    ...(['GET', 'HEAD'] as const).map((method) =>
      operation({
        method,
        path: association,
        policy: systemReader('get_endpoint_group_in_project'),
        status: 200,
        summary: 'Show that an endpoint group is shown to a project',
        handle: async (call) => {
          const { groupId, projectId } = await pair(call);
          const { rows } = await sql`select 1 from identity_project_endpoint_groups
            where endpoint_group_id = ${groupId} and project_id = ${projectId}`.execute(db);
          if (rows.length === 0) throw noAssociation();
          const self = `${call.context.baseUrl}${GROUPS}/${groupId}/projects/${projectId}`;
          return {
            project_endpoint_group: { endpoint_group_id: groupId, project_id: projectId, links: { self } },
          };
        },
      }),
    ),
    operation({
      method: 'PUT',
      path: association,
      policy: admin('add_endpoint_group_to_project'),
      status: 204,
      summary: 'Show an endpoint group to a project',
      handle: async (call) => {
        const { groupId, projectId } = await pair(call);
        await changed(core, async (tx) => {
          await associate(tx, 'project_endpoint_group', { project_id: projectId, endpoint_group_id: groupId });
        });
      },
    }),
    operation({
      method: 'DELETE',
      path: association,
      policy: admin('remove_endpoint_group_from_project'),
      status: 204,
      summary: 'Show an endpoint group to a project no longer',
      handle: async (call) => {
        const { groupId, projectId } = await pair(call);
        await changed(core, async (tx) => {
          const { numAffectedRows } = await sql`delete from identity_project_endpoint_groups
            where endpoint_group_id = ${groupId} and project_id = ${projectId}`.execute(tx);
          if (numAffectedRows !== 1n) throw noAssociation();
        });
      },
    }),
  ];
}

/** The endpoints of a project, and the projects of an endpoint. */
function ofProjects(core: Core): Operation[] {
  const { query: db } = core.db;
  const path = '/OS-EP-FILTER/projects/:project_id';
  const association = `${path}/endpoints/:endpoint_id`;
  const owner = async ({ params }: Call<unknown>): Promise<string> => {
    const id = params.project_id as string;
    await require(db, projects, id, missing('project'));
    return id;
  };
  const pair = async (call: Call<unknown>) => {
    const endpointId = call.params.endpoint_id as string;
    await require(db, endpoints, endpointId, missing('endpoint'));
    return { endpointId, projectId: await owner(call) };
  };
  const noAssociation = ({ endpointId, projectId }: { endpointId: string; projectId: string }) =>
    notFound(`Endpoint ${endpointId} not found in project ${projectId}`);
  return [
    operation({
      method: 'GET',
      path: `${path}/endpoint_groups`,
      policy: systemReader('list_endpoint_groups_for_project'),
      status: 200,
      summary: 'List the endpoint groups that are shown to a project',
      handle: async (call) => {
        const id = await owner(call);
        const { rows } = await sql<{ id: string }>`select endpoint_group_id as id from identity_project_endpoint_groups
          where project_id = ${id}`.execute(db);
        return listed(core, call, 'endpoint_groups', rows);
      },
    }),
    operation({
      method: 'GET',
      path: `${path}/endpoints`,
      policy: systemReader('list_endpoints_for_project'),
      status: 200,
      summary: 'List the endpoints that are shown to a project',
      handle: async (call) => {
        const found = await endpointsOf(db, await owner(call));
        return listed(
          core,
          call,
          'endpoints',
          [...found].map((id) => ({ id })),
        );
      },
    }),
    operation({
      method: 'GET',
      path: '/OS-EP-FILTER/endpoints/:endpoint_id/projects',
      policy: systemReader('list_projects_for_endpoint'),
      status: 200,
      summary: 'List the projects that an endpoint is shown to',
      handle: async (call) => {
        const id = call.params.endpoint_id as string;
        await require(db, endpoints, id, missing('endpoint'));
        const { rows } = await sql<{ id: string }>`
          select project_id as id from identity_project_endpoints where endpoint_id = ${id}`.execute(db);
        return listed(core, call, 'projects', rows);
      },
    }),
    ...(['GET', 'HEAD'] as const).map((method) =>
      operation({
        method,
        path: association,
        policy: systemReader('check_endpoint_in_project'),
        status: 204,
        summary: 'Check whether an endpoint is shown to a project',
        handle: async (call) => {
          const at = await pair(call);
          const { rows } = await sql`select 1 from identity_project_endpoints
            where project_id = ${at.projectId} and endpoint_id = ${at.endpointId}`.execute(db);
          if (rows.length === 0) throw noAssociation(at);
        },
      }),
    ),
    operation({
      method: 'PUT',
      path: association,
      policy: admin('add_endpoint_to_project'),
      status: 204,
      summary: 'Show an endpoint to a project',
      handle: async (call) => {
        const { endpointId, projectId } = await pair(call);
        await changed(core, async (tx) => {
          await associate(tx, 'project_endpoint', { project_id: projectId, endpoint_id: endpointId });
        });
      },
    }),
    operation({
      method: 'DELETE',
      path: association,
      policy: admin('remove_endpoint_from_project'),
      status: 204,
      summary: 'Show an endpoint to a project no longer',
      handle: async (call) => {
        const at = await pair(call);
        await changed(core, async (tx) => {
          const { numAffectedRows } = await sql`delete from identity_project_endpoints
            where project_id = ${at.projectId} and endpoint_id = ${at.endpointId}`.execute(tx);
          if (numAffectedRows !== 1n) throw noAssociation(at);
        });
      },
    }),
  ];
}

async function require<R extends BaseRow>(
  query: Queryable,
  store: Store<R>,
  id: string,
  fault: (id: string) => Fault,
): Promise<void> {
  if ((await store.find(query, id)) === undefined) throw fault(id);
}

async function changed(core: Core, work: (tx: Tx) => Promise<void>): Promise<void> {
  await core.db.transaction(async (tx) => {
    await work(tx);
    await core.changes.announce(tx, 'catalog');
  });
  core.changes.apply('catalog');
}

async function associate(tx: Tx, kind: string, ids: Readonly<Record<string, string>>): Promise<void> {
  const columns: RawBuilder<unknown>[] = Object.keys(ids).map((name) => sql.ref(name));
  const { numAffectedRows } = await sql`insert into ${sql.table(`identity_${kind}s`)} (${sql.join(columns)})
    values (${sql.join(Object.values(ids))}) on conflict do nothing`.execute(tx);
  if (numAffectedRows !== 1n) throw conflict(`Conflict occurred attempting to store ${kind} - Duplicate entry.`);
}

/** A list of endpoints, projects or groups by their ids, under the path that asked for it. */
async function listed(
  core: Core,
  { context, params, query }: Call<unknown>,
  kind: 'endpoints' | 'projects' | 'endpoint_groups',
  found: readonly { readonly id: string }[],
): Promise<unknown> {
  const ids = found.map(({ id }) => id);
  const items = await rendered(core, context, kind, ids);
  const { project_id, endpoint_id, endpoint_group_id } = params;
  const of =
    endpoint_group_id === undefined
      ? project_id === undefined
        ? `endpoints/${endpoint_id}`
        : `projects/${project_id}`
      : `endpoint_groups/${endpoint_group_id}`;
  return collection(context, kind, `/OS-EP-FILTER/${of}/${kind}`, items, query);
}

async function rendered(
  { db, convention }: Core,
  context: RequestContext,
  kind: 'endpoints' | 'projects' | 'endpoint_groups',
  ids: readonly string[],
): Promise<unknown[]> {
  switch (kind) {
    case 'endpoints': {
      const render = renderer<EndpointRow>(endpoint, convention, context, 'detail');
      return (await endpoints.findMany(db.query, ids)).map(render);
    }
    case 'projects': {
      const render = renderer<ProjectRow>(project, convention, context, 'detail');
      return (await projects.findMany(db.query, ids)).map(render);
    }
    case 'endpoint_groups': {
      const render = renderer<EndpointGroupRow>(endpointGroup, convention, context, 'detail');
      return (await endpointGroups.findMany(db.query, ids)).map(render);
    }
  }
}
