/** `GET /role_assignments`: all assignments, as given or in effect, with names where asked for: one query. */
import { type RawBuilder, sql } from 'kysely';
import { badRequest } from '../http/fault.ts';
import { type Call, type Operation, operation, type Query, type RequestContext } from '../http/service.ts';
import { collection, type Core, first, flag, missing } from './core.ts';
import { projects } from './resources.ts';
import { domainList, listAssignmentsForTree } from './rules.ts';
import { actorsOf } from './subject.ts';

const ROWS_MAX = 10_000;

interface AssignmentRow {
  actor: 'user' | 'group';
  actor_id: string;
  scope: 'project' | 'domain' | 'system';
  target_id: string;
  role_id: string;
  inherited: boolean;
  /** What it comes from, where it is not given as it stands. */
  by_group: string | null;
  by_target: string | null;
  by_scope: 'project' | 'domain' | null;
  by_role: string | null;
  actor_name: string | null;
  actor_domain_id: string | null;
  actor_domain_name: string | null;
  role_name: string;
  role_domain_id: string | null;
  role_domain_name: string | null;
  target_name: string | null;
  target_domain_id: string | null;
  target_domain_name: string | null;
}

export function assignmentOperations(core: Core): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/role_assignments',
      policy: domainList('list_role_assignments'),
      target: async ({ context, query }) => ({
        target: { domain_id: first(query, 'scope.domain.id') ?? context.identity.domain?.id ?? null },
      }),
      status: 200,
      summary: 'List role assignments',
      handle: async (call) => list(core, call),
    }),
  ];
}

async function list(core: Core, { context, query }: Call<unknown>): Promise<unknown> {
  const effective = flag(query, 'effective');
  const names = flag(query, 'include_names');
  if (flag(query, 'include_subtree')) await checkTree(core, context, first(query, 'scope.project.id') ?? '');
  refuseContradictions(query, effective);
  const { rows } = await sql<AssignmentRow>`
    with recursive ${effective ? inEffect(first(query, 'user.id') || undefined) : asGiven}
    select a.*, r.name as role_name, rd.id as role_domain_id, rd.name as role_domain_name,
      coalesce(u.name, g.name) as actor_name, ad.id as actor_domain_id, ad.name as actor_domain_name,
      coalesce(p.name, d.name) as target_name, pd.id as target_domain_id, pd.name as target_domain_name
    from listed a
      join identity_roles r on r.id = a.role_id left join identity_domains rd on rd.id = r.domain_id
      left join identity_users u on a.actor = 'user' and u.id = a.actor_id
      left join identity_groups g on a.actor = 'group' and g.id = a.actor_id
      left join identity_domains ad on ad.id = coalesce(u.domain_id, g.domain_id)
      left join identity_projects p on a.scope = 'project' and p.id = a.target_id
      left join identity_domains pd on pd.id = p.domain_id
      left join identity_domains d on a.scope = 'domain' and d.id = a.target_id
    where ${sql.join(conditions(query, context, effective), sql` and `)}
    order by a.scope desc, a.target_id, a.actor_id, a.role_id limit ${ROWS_MAX}`.execute(core.db.query);
  const items = rows.map((row) => shown(row, context.baseUrl, names));
  return collection(context, 'role_assignments', '/role_assignments', items, query);
}

/** @throws Fault 404 for a project that there is not, 403 for another's, 400 where none is named */
async function checkTree(core: Core, context: RequestContext, id: string): Promise<void> {
  const row = id === '' ? undefined : await projects.find(core.db.query, id);
  if (id !== '' && row === undefined) throw missing('project')(id);
  context.enforce(listAssignmentsForTree.name, { target: { domain_id: row?.domain_id ?? null } });
  if (id === '') throw badRequest('scope.project.id must be specified if include_subtree is also specified');
}

function refuseContradictions(query: Query, effective: boolean): void {
  const has = (name: string): boolean => (first(query, name) ?? '') !== '';
  const scopes = ['scope.project.id', 'scope.domain.id', 'scope.system'].filter(has);
  if (has('scope.project.id') && has('scope.domain.id')) throw badRequest('Specify a domain or project, not both');
  if (scopes.length > 1) throw badRequest('Specify a domain, project, or system, not more than one');
  if (has('user.id') && has('group.id')) throw badRequest('Specify a user or group, not both');
  if (effective && has('group.id')) {
    throw badRequest('Combining effective and group filter will always result in an empty list.');
  }
  if (effective && has('scope.domain.id') && has('scope.OS-INHERIT:inherited_to')) {
    throw badRequest('Combining effective, domain and inherited filters will always result in an empty list.');
  }
}

const NOTHING = sql`null::text as by_group, null::text as by_target, null::text as by_scope, null::text as by_role`;
const asGiven = sql`listed as (
  select actor, actor_id, scope, target_id, role_id, inherited, ${NOTHING} from identity_assignments
)`;

/** Groups become their members, inherited assignments the projects below, and roles also what they imply. */
const inEffect = (userId: string | undefined): RawBuilder<unknown> => sql`members as (
    select 'user'::text as actor, coalesce(m.user_id, a.actor_id) as actor_id, a.scope, a.target_id, a.role_id, a.inherited,
      m.group_id as by_group
    from identity_assignments a left join identity_members m on a.actor = 'group' and m.group_id = a.actor_id
    where (a.actor = 'user' or m.user_id is not null)
      and ${userId === undefined ? sql`true` : sql`a.actor_id = any(${actorsOf(userId)}) and coalesce(m.user_id, a.actor_id) = ${userId}`}
  ), below(top, id) as (
    select m.target_id, p.id from members m join identity_projects p on p.parent_id = m.target_id
      where m.inherited and m.scope = 'project'
    union select b.top, p.id from below b join identity_projects p on p.parent_id = b.id
  ), placed as (
    select actor, actor_id, scope, target_id, role_id, inherited, by_group, null::text as by_target, null::text as by_scope
      from members where not inherited
    union select m.actor, m.actor_id, 'project', b.id, m.role_id, true, m.by_group, m.target_id, m.scope
      from members m join below b on b.top = m.target_id where m.inherited and m.scope = 'project'
    union select m.actor, m.actor_id, 'project', p.id, m.role_id, true, m.by_group, m.target_id, m.scope
      from members m join identity_projects p on p.domain_id = m.target_id where m.inherited and m.scope = 'domain'
  ), listed(actor, actor_id, scope, target_id, role_id, inherited, by_group, by_target, by_scope, by_role) as (
    select actor, actor_id, scope, target_id, role_id, inherited, by_group, by_target, by_scope, null::text from placed
    union select l.actor, l.actor_id, l.scope, l.target_id, i.implied_role_id, l.inherited, l.by_group, l.by_target,
        l.by_scope, l.role_id
      from listed l join identity_implied_roles i on i.prior_role_id = l.role_id
  )`;

function conditions(query: Query, context: RequestContext, effective: boolean): RawBuilder<unknown>[] {
  // A domain's own roles are there for what they imply, and are in effect nothing themselves.
  const all: RawBuilder<unknown>[] = [effective ? sql`r.domain_id is null` : sql`true`];
  const value = (name: string): string | undefined => first(query, name) || undefined;
  const userId = value('user.id');
  const groupId = value('group.id');
  const roleId = value('role.id');
  const projectId = value('scope.project.id');
  const domainId = value('scope.domain.id');
  const inherited = value('scope.OS-INHERIT:inherited_to');
  if (userId !== undefined) all.push(sql`a.actor = 'user' and a.actor_id = ${userId}`);
  if (groupId !== undefined) all.push(sql`a.actor = 'group' and a.actor_id = ${groupId}`);
  if (roleId !== undefined) all.push(sql`a.role_id = ${roleId}`);
  if (projectId !== undefined) {
    const subtree = sql`with recursive tree(id) as (select ${projectId}::text
      union select c.id from identity_projects c join tree t on c.parent_id = t.id) select id from tree`;
    all.push(
      flag(query, 'include_subtree')
        ? sql`a.scope = 'project' and a.target_id in (${subtree})`
        : sql`a.scope = 'project' and a.target_id = ${projectId}`,
    );
  }
  if (domainId !== undefined) all.push(sql`a.scope = 'domain' and a.target_id = ${domainId}`);
  if (value('scope.system') !== undefined) all.push(sql`a.scope = 'system'`);
  if (inherited !== undefined && !effective) all.push(sql`a.inherited = ${inherited === 'projects'}`);
  const own = context.identity.domain?.id;
  if (own !== undefined) all.push(sql`(pd.id = ${own} or d.id = ${own})`);
  return all;
}

function shown(row: AssignmentRow, baseUrl: string, names: boolean): Record<string, unknown> {
  const named = (name: string | null, rest: object = {}) => (names ? { name, ...rest } : {});
  const domain = (id: string | null, name: string | null) => ({ domain: { id, name } });
  const actor = { id: row.actor_id, ...named(row.actor_name, domain(row.actor_domain_id, row.actor_domain_name)) };
  const inherited = row.inherited ? { 'OS-INHERIT:inherited_to': 'projects' } : {};
  return {
    links: links(row, baseUrl),
    scope: {
      ...(row.scope === 'system'
        ? { system: { all: true } }
        : row.scope === 'domain'
          ? { domain: { id: row.target_id, ...named(row.target_name) } }
          : {
              project: {
                id: row.target_id,
                ...named(row.target_name, domain(row.target_domain_id, row.target_domain_name)),
              },
            }),
      ...inherited,
    },
    [row.actor]: actor,
    role: {
      id: row.role_id,
      ...named(row.role_name, row.role_domain_id === null ? {} : domain(row.role_domain_id, row.role_domain_name)),
    },
  };
}

/** Where an assignment comes from: the path by which it was given, and how it reaches the user. */
function links(row: AssignmentRow, baseUrl: string): Record<string, string> {
  const scope = row.by_scope ?? row.scope;
  const on = scope === 'system' ? '/system' : `/${scope}s/${row.by_target ?? row.target_id}`;
  const by = row.by_group === null ? `/${row.actor}s/${row.actor_id}` : `/groups/${row.by_group}`;
  const role = `/roles/${row.by_role ?? row.role_id}`;
  const assignment = row.inherited
    ? `${baseUrl}/OS-INHERIT${on}${by}${role}/inherited_to_projects`
    : `${baseUrl}${on}${by}${role}`;
  return {
    assignment,
    ...(row.by_group === null ? {} : { membership: `${baseUrl}/groups/${row.by_group}/users/${row.actor_id}` }),
    ...(row.by_role === null ? {} : { prior_role: `${baseUrl}/prior_role/${row.by_role}/implies/${row.role_id}` }),
  };
}
