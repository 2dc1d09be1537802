/** Application credentials: a user's rights on a project, or some of them, in the hands of a program. */
import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict, forbidden, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../http/service.ts';
import { nullable } from '../resource/resource.ts';
import { type AccessRuleRow, keepAccessRules } from './access-rules.ts';
import { collection, type Core, first, missing } from './core.ts';
import { expiryOf } from './moment.ts';
import { forbiddenAction, refuseRestrictedToken, refuseTrustToken } from './delegation.ts';
import { Id, Name, newId, Description } from './resources.ts';
import { adminOrSelf, self, systemReaderOrSelf } from './rules.ts';

const PER_USER_MAX = 1000;
const ROLES_MAX = 100;
const RULES_MAX = 100;
const SECRET_BYTES = 64;
const noCredential = missing('Application Credential');

/** By id or by name. */
export const RoleReferences = Type.Array(
  Type.Object(
    { id: Type.Optional(Id), name: Type.Optional(Name) },
    { additionalProperties: false, minProperties: 1, maxProperties: 1 },
  ),
  { maxItems: ROLES_MAX },
);

const AccessRules = Type.Array(
  Type.Object(
    {
      path: Type.Optional(Type.String({ maxLength: 225, pattern: '^/.*' })),
      method: Type.Optional(Type.Enum(['POST', 'GET', 'HEAD', 'PATCH', 'PUT', 'DELETE'])),
      service: Type.Optional(Id),
      id: Type.Optional(Id),
    },
    { additionalProperties: false },
  ),
  { maxItems: RULES_MAX },
);

const Body = Type.Object({
  application_credential: Type.Object({
    name: Name,
    description: Type.Optional(Description),
    secret: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: 4096 }))),
    expires_at: Type.Optional(nullable(Type.String({ maxLength: 64 }))),
    roles: Type.Optional(RoleReferences),
    unrestricted: Type.Optional(Type.Boolean()),
    access_rules: Type.Optional(AccessRules),
  }),
});
type Given = Static<typeof Body>['application_credential'];

interface CredentialRow {
  id: string;
  name: string;
  description: string | null;
  user_id: string;
  project_id: string;
  expires_at: string | null;
  unrestricted: boolean;
  roles: { id: string; name: string; domain_id: string | null; description: string | null; options: object }[];
  access_rules: AccessRuleRow[] | null;
}

export function applicationCredentialOperations(core: Core): Operation[] {
  const path = '/users/:user_id/application_credentials';
  const one = `${path}/:application_credential_id`;
  const { db, changes } = core;
  // The rule is asked about whose it is, not about who stands in the path: else anybody's could be had under one's own.
  const target = async ({ params }: Pick<Call<unknown>, 'params'>) => {
    const { rows } = await sql<{ user_id: string }>`select user_id from identity_application_credentials
      where id = ${params.application_credential_id ?? ''}`.execute(db.query);
    return { user_id: rows[0]?.user_id ?? params.user_id };
  };
  return [
    operation({
      method: 'GET',
      path,
      policy: systemReaderOrSelf('list_application_credentials'),
      target,
      status: 200,
      summary: 'List the application credentials of a user',
      handle: async ({ context, params, query }) => {
        refuseTrustToken(context.identity);
        const userId = params.user_id as string;
        const name = first(query, 'name');
        const rows = await select(
          db.query,
          sql`c.user_id = ${userId} and (${name ?? null}::text is null or c.name = ${name ?? null})`,
        );
        const items = rows.map((row) => shown(row, context));
        return collection(context, 'application_credentials', `/users/${userId}/application_credentials`, items, query);
      },
    }),
    operation<Static<typeof Body>>({
      method: 'POST',
      path,
      policy: self('create_application_credential'),
      target,
      status: 201,
      summary: 'Create an application credential',
      body: Body,
      handle: async ({ context, body }) => create(core, body.application_credential, context),
    }),
    operation({
      method: 'GET',
      path: one,
      policy: systemReaderOrSelf('get_application_credential'),
      target,
      status: 200,
      summary: 'Show an application credential',
      handle: async ({ context, params }) => {
        refuseTrustToken(context.identity);
        const id = params.application_credential_id as string;
        const [row] = await select(db.query, sql`c.id = ${id}`);
        if (row === undefined) throw noCredential(id);
        return { application_credential: shown(row, context) };
      },
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: adminOrSelf('delete_application_credential'),
      target,
      status: 204,
      summary: 'Delete an application credential',
      handle: async ({ context, params }) => {
        refuseTrustToken(context.identity);
        refuseRestrictedToken(context.identity);
        const id = params.application_credential_id as string;
        await db.transaction(async (tx) => {
          const { numAffectedRows } = await sql`
            delete from identity_application_credentials where id = ${id}`.execute(tx);
          if (numAffectedRows !== 1n) throw noCredential(id);
          await changes.announce(tx, `delegation ${id}`);
        });
        changes.apply(`delegation ${id}`);
      },
    }),
  ];
}

async function create(core: Core, given: Given, context: RequestContext): Promise<unknown> {
  const { user, project, roles } = context.identity;
  refuseTrustToken(context.identity);
  refuseRestrictedToken(context.identity);
  if (project === undefined || roles.length === 0) throw forbiddenAction('identity:create_application_credential');
  const expires_at = expiryOf(given.expires_at, core.now());
  const secret = given.secret ?? randomBytes(SECRET_BYTES).toString('base64url');
  const secret_hash = await core.passwords.hash(secret);
  const id = newId();
  const row = await core.db.transaction(async (tx) => {
    const role_ids = await heldRoles(tx, given.roles, roles);
    await countOne(tx, user.id);
    const { numAffectedRows } = await sql`insert into identity_application_credentials
      (id, project_id, user_id, name, secret_hash, unrestricted, expires_at, role_ids, body)
      values (${id}, ${project.id}, ${user.id}, ${given.name}, ${secret_hash}, ${given.unrestricted ?? false},
        ${expires_at}, ${role_ids}, ${JSON.stringify({ description: given.description ?? null })})
      on conflict (user_id, name) do nothing`.execute(tx);
    if (numAffectedRows !== 1n) {
      throw conflict(
        `Conflict occurred attempting to store application_credential - Duplicate entry found with name ${given.name}.`,
      );
    }
    const rules = await keepAccessRules(tx, user.id, given.access_rules ?? []);
    await sql`insert into identity_application_credential_rules
      select ${id}, unnest(${rules}::text[]) on conflict do nothing`.execute(tx);
    return (await select(tx, sql`c.id = ${id}`))[0] as CredentialRow;
  });
  return { application_credential: { ...shown(row, context), secret } };
}

/**
 * The ids of the roles named, all of the token's where none is.
 * @param held names of the token's roles: those of the whole cloud, which have one name each
 * @throws Fault 404 for the name of no role, 400 for a role that the token does not have
 */
async function heldRoles(tx: Queryable, named: Given['roles'], held: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string; name: string }>`select id, name from identity_roles
    where name = any(${[...held]}) and domain_id is null`.execute(tx);
  if (named === undefined || named.length === 0) return rows.map(({ id }) => id);
  const ids = await roleIdsOf(tx, named);
  if (ids.some((id) => !rows.some((row) => row.id === id))) {
    throw badRequest('Invalid application credential: Cannot create an application credential with unassigned role');
  }
  return ids;
}

/**
 * The ids of roles given by id or name.
 * @throws Fault 404 for the name of no role of the whole cloud
 */
export async function roleIdsOf(
  query: Queryable,
  named: readonly { readonly id?: string; readonly name?: string }[],
): Promise<string[]> {
  const ids = new Set<string>();
  for (const { id, name } of named) {
    if (id !== undefined) {
      ids.add(id);
      continue;
    }
    const { rows } = await sql<{ id: string }>`
      select id from identity_roles where name = ${name} and domain_id is null`.execute(query);
    if (rows[0] === undefined) throw notFound(`Role ${name} is not defined`);
    ids.add(rows[0].id);
  }
  return [...ids];
}

/** @throws Fault 403 where the user has as many as anyone may; others who count meanwhile wait */
async function countOne(tx: Tx, userId: string): Promise<void> {
  await sql`select 1 from identity_users where id = ${userId} for no key update`.execute(tx);
  const { rows } = await sql<{ count: number }>`select count(*)::integer as count
    from identity_application_credentials where user_id = ${userId}`.execute(tx);
  if ((rows[0]?.count ?? 0) >= PER_USER_MAX) {
    throw forbidden(
      `Unable to create additional application credentials, maximum of ${PER_USER_MAX} already exceeded for user.`,
    );
  }
}

/** Takes away what a user gave of a project, when an assignment there is taken from them, in the same transaction. */
export async function dropCredentials(core: Core, tx: Tx, userId: string, projectId?: string): Promise<void> {
  const here = projectId === undefined ? sql`true` : sql`project_id = ${projectId}`;
  const { rows } = await sql<{ id: string }>`delete from identity_application_credentials
    where user_id = ${userId} and ${here} returning id`.execute(tx);
  for (const { id } of rows) await core.changes.announce(tx, `delegation ${id}`);
}

async function select(query: Queryable, condition: ReturnType<typeof sql>): Promise<CredentialRow[]> {
  const { rows } = await sql<CredentialRow>`select c.id, c.name, c.body->>'description' as description, c.user_id,
      c.project_id, c.expires_at, c.unrestricted,
      coalesce((select json_agg(json_build_object('id', r.id, 'name', r.name, 'domain_id', r.domain_id,
          'description', r.body->'description', 'options', coalesce(r.body->'options', '{}')) order by r.name)
        from identity_roles r where r.id = any(c.role_ids)), '[]') as roles,
      (select json_agg(json_build_object('id', r.id, 'service', r.service, 'path', r.path, 'method', r.method) order by r.id)
        from identity_application_credential_rules o join identity_access_rules r on r.id = o.access_rule_id
        where o.application_credential_id = c.id) as access_rules
    from identity_application_credentials c where ${condition} order by c.id limit ${PER_USER_MAX}`.execute(query);
  return rows;
}

function shown({ access_rules, expires_at, ...row }: CredentialRow, context: RequestContext): Record<string, unknown> {
  return {
    ...row,
    system: null,
    expires_at: expires_at === null ? null : expires_at.slice(0, 26),
    ...(access_rules === null ? {} : { access_rules }),
    links: { self: `${context.baseUrl}/application_credentials/${row.id}` },
  };
}
