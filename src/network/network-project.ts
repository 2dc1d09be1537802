/** Whose a new object is, and which objects a caller may see: the rules that all of Neutron's resources share. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { badRequest } from '../http/fault.ts';
import type { PolicyRule, RequestContext } from '../http/service.ts';

/**
 * The project of a new object: the caller's own, or for an admin the one that was asked for.
 * @throws Fault 400 where another project is asked for without being an admin, or there is none at all
 */
export function projectOf(context: RequestContext, asked: string | undefined): string {
  const own = context.identity.project?.id;
  if (asked !== undefined && asked !== own && !context.identity.isAdmin) {
    throw badRequest(
      "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges",
      'HTTPBadRequest',
    );
  }
  const project = asked ?? own;
  if (project === undefined || project === '') {
    throw badRequest('Running without keystone AuthN requires that tenant_id is specified', 'HTTPBadRequest');
  }
  return project;
}

/** The caller's project as conditions compare it; no project matches nothing. */
export const callersProject = (context: RequestContext): string => context.identity.project?.id ?? '-';

/** Whether the row is the caller's own, or the caller an admin. */
export const ownOrAdmin = (row: { readonly project_id: string }, context: RequestContext): boolean =>
  context.identity.isAdmin || row.project_id === callersProject(context);

/** Networks that a caller may use: own, shared with everybody, external. Unqualified columns of `networks`. */
export function visibleNetworks(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  if (context.identity.isAdmin) return [];
  const project = callersProject(context);
  return [
    sql<SqlBool>`(project_id = ${project} or ${sharedNetworks('networks', project)} or ${externalNetworks('networks', project)})`,
  ];
}

/** Networks that are shared with a project. `as` is what the query calls `networks`. */
export const sharedNetworks = (as: string, project: string): RawBuilder<SqlBool> =>
  sharedBy(as, project, 'shared', 'shared_with');

/** Networks that a project may use as external ones. */
export const externalNetworks = (as: string, project: string): RawBuilder<SqlBool> =>
  sharedBy(as, project, 'external_shared', 'external_with');

/** Each part can be answered by an index of its own. */
function sharedBy(as: string, project: string, everybody: string, projects: string): RawBuilder<SqlBool> {
  const column = (name: string) => sql.ref(`${as}.${name}`);
  return sql<SqlBool>`(${column(everybody)}
    or (${column(projects)} <> '{}' and ${column(projects)} @> array[${project}]::text[]))`;
}

/** The five rules of a plain resource, by the names that real Neutron gives them. */
export function plainPolicies(name: string, description: string) {
  const rule = (verb: string, check: string): PolicyRule => ({
    name: `${verb}_${name}`,
    check,
    description: `${verb[0]?.toUpperCase()}${verb.slice(1)} ${description}`,
  });
  return {
    list: rule('get', 'rule:project_reader_or_admin'),
    show: rule('get', 'rule:project_reader_or_admin'),
    create: rule('create', 'rule:project_member_or_admin'),
    update: rule('update', 'rule:project_member_or_admin'),
    remove: rule('delete', 'rule:project_member_or_admin'),
  };
}
