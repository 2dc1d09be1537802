/** Server groups over HTTP. */
import { type SqlBool, sql } from 'kysely';
import { type TSchema, Type } from 'typebox';
import { badRequest, forbidden } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import { all } from '../../resource/store.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, NON_NEGATIVE, queryParameters } from '../links.ts';
import { numberOf, PRINTABLE_NAME } from '../parameters.ts';
import { ADMIN, computeRule, MEMBER, READER } from '../rules.ts';
import {
  createServerGroup,
  deleteServerGroup,
  findServerGroup,
  type GroupPolicy,
  membersOf,
  type ServerGroup,
  serverGroupNotFound,
} from './server-group.ts';

const rules = {
  index: computeRule('os-server-groups:index', READER),
  show: computeRule('os-server-groups:show', READER),
  create: computeRule('os-server-groups:create', MEMBER),
  remove: computeRule('os-server-groups:delete', MEMBER),
};

/** Asked within the operation that lists groups. */
export const allProjects = computeRule('os-server-groups:index:all_projects', ADMIN);

const PROJECT_SINCE = 13;
const SOFT_SINCE = 15;
const POLICY_SINCE = 64;
const LIST_MAX = 1000;

const HARD = ['anti-affinity', 'affinity'];
const ALL_POLICIES = [...HARD, 'soft-anti-affinity', 'soft-affinity'];
const strict = { additionalProperties: false };

const policiesBody = (names: readonly string[]): TSchema =>
  Type.Object(
    {
      server_group: Type.Object(
        {
          name: PRINTABLE_NAME,
          policies: Type.Array(Type.Unsafe({ type: 'string', enum: names }), { minItems: 1, maxItems: 1 }),
        },
        strict,
      ),
    },
    strict,
  );
const HARD_BODY = policiesBody(HARD);
const SOFT_BODY = policiesBody(ALL_POLICIES);
const POLICY_BODY = Type.Object(
  {
    server_group: Type.Object(
      {
        name: PRINTABLE_NAME,
        policy: Type.Unsafe({ type: 'string', enum: ALL_POLICIES }),
        rules: Type.Optional(
          Type.Object(
            {
              max_server_per_host: Type.Optional(numberOf(1, 0x7fffffff)),
            },
            strict,
          ),
        ),
      },
      strict,
    ),
  },
  strict,
);

const LIST_QUERY = queryParameters({ all_projects: ANY_TEXT, limit: NON_NEGATIVE, offset: NON_NEGATIVE });

interface NewGroup {
  readonly name: string;
  readonly policies?: readonly GroupPolicy[];
  readonly policy?: GroupPolicy;
  readonly rules?: { readonly max_server_per_host?: number | string };
}

function view(group: ServerGroup, members: readonly string[], version: number) {
  return {
    id: group.id,
    name: group.name,
    ...(version >= POLICY_SINCE
      ? { policy: group.policy, rules: group.rules }
      : { policies: [group.policy], metadata: {} }),
    members,
    ...(version >= PROJECT_SINCE ? { project_id: group.project_id, user_id: group.user_id } : {}),
  };
}

/** Everything below `/os-server-groups`. */
export function serverGroupOperations({ db }: ComputeDependencies): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/os-server-groups',
      policy: rules.index,
      query: LIST_QUERY,
      status: 200,
      summary: 'List server groups',
      handle: async ({ context, query }) => {
        const { identity, version } = context;
        const everywhere = query.all_projects !== undefined && identity.isAdmin;
        if (everywhere) context.enforce(allProjects.name);
        const which = everywhere ? [] : [sql<SqlBool>`project_id = ${identity.project?.id ?? '-'}`];
        const limit = Math.min(Number(firstOf(query.limit) || LIST_MAX) || LIST_MAX, LIST_MAX);
        const offset = Number(firstOf(query.offset) ?? 0);
        const { rows } = await sql<ServerGroup & { body: object }>`
          select * from server_groups where ${all(which)}
          order by created_at, id limit ${limit} offset ${offset}`.execute(db.query);
        const ids = rows.map(({ id }) => id);
        const members = await membersOf(db.query, ids);
        const groups = rows.map(({ body, ...row }) => ({ ...row, ...body }));
        return { server_groups: groups.map((group) => view(group, members.get(group.id) ?? [], version)) };
      },
    }),
    operation<{ server_group: NewGroup }>({
      method: 'POST',
      path: '/os-server-groups',
      policy: rules.create,
      body: (version) => (version >= POLICY_SINCE ? POLICY_BODY : version >= SOFT_SINCE ? SOFT_BODY : HARD_BODY),
      status: 200,
      summary: 'Create a server group',
      handle: async ({ context, body: { server_group: given } }) => {
        const { identity } = context;
        if (identity.project === undefined) throw forbidden('A server group needs a project.');
        const project_id = identity.project.id;
        const policy = (given.policy ?? given.policies?.[0]) as GroupPolicy;
        const most = given.rules?.max_server_per_host;
        if (policy !== 'anti-affinity' && most !== undefined) {
          throw badRequest('Only anti-affinity policy supports rules.');
        }
        const group = await db.transaction((tx) =>
          createServerGroup(tx, {
            project_id,
            user_id: identity.user.id,
            name: given.name,
            policy,
            rules: most === undefined ? {} : { max_server_per_host: Number(most) },
          }),
        );
        return { server_group: view(group, [], context.version) };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-server-groups/:server_group_id',
      policy: rules.show,
      status: 200,
      summary: 'Show a server group',
      handle: async ({ context, params }) => {
        const id = params.server_group_id as string;
        const group = await findServerGroup(db.query, context, id);
        if (group === undefined) throw serverGroupNotFound(id);
        const members = await membersOf(db.query, [id]);
        return { server_group: view(group, members.get(id) ?? [], context.version) };
      },
    }),
    operation({
      method: 'DELETE',
      path: '/os-server-groups/:server_group_id',
      policy: rules.remove,
      status: 204,
      summary: 'Delete a server group',
      handle: async ({ context, params }) =>
        db.transaction((tx) => deleteServerGroup(tx, context, params.server_group_id as string)),
    }),
  ];
}
