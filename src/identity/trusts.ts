/** Trusts: a user lets another act with some of their roles on a project, and maybe pass that on. */
import { type RawBuilder, sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict, forbidden, notFound } from '../http/fault.ts';
import type { Identity } from '../http/identity.ts';
import { type Call, type Operation, operation, type RequestContext } from '../http/service.ts';
import { renderer } from '../resource/render.ts';
import { nullable } from '../resource/resource.ts';
import { RoleReferences, roleIdsOf } from './application-credentials.ts';
import { collection, type Core, first, missing } from './core.ts';
import { expiryOf } from './moment.ts';
import { forbiddenAction, forbiddenUntold } from './delegation.ts';
import { Id, newId, role, type RoleRow, roles } from './resources.ts';
import { noteRevoked } from './revocations.ts';
import { trustRules } from './rules.ts';
import { effectiveRoles } from './subject.ts';

const REDELEGATION_MAX = 3;
const PER_TRUSTOR_MAX = 1000;
const LIST_MAX = 10_000;
const noTrust = missing('trust');
const noRole = missing('role');

const Body = Type.Object({
  trust: Type.Object({
    trustor_user_id: Id,
    trustee_user_id: Id,
    impersonation: Type.Boolean(),
    project_id: Type.Optional(nullable(Id)),
    remaining_uses: Type.Optional(nullable(Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }))),
    expires_at: Type.Optional(nullable(Type.String({ maxLength: 64 }))),
    allow_redelegation: Type.Optional(nullable(Type.Boolean())),
    redelegation_count: Type.Optional(nullable(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }))),
    roles: Type.Optional(RoleReferences),
  }),
});
type Given = Static<typeof Body>['trust'];

interface TrustRow {
  id: string;
  trustor_user_id: string;
  trustee_user_id: string;
  project_id: string;
  impersonation: boolean;
  expires_at: string | null;
  remaining_uses: number | null;
  redelegated_trust_id: string | null;
  redelegation_count: number;
  role_ids: string[];
}

export function trustOperations(core: Core): Operation[] {
  const path = '/OS-TRUST/trusts';
  const one = `${path}/:trust_id`;
  const { db } = core;
  // Who is told that there is none is told so before any rule is asked.
  const found = async ({ params }: Pick<Call<unknown>, 'params'>): Promise<TrustRow> => {
    const id = params.trust_id as string;
    const row = await findTrust(db.query, id, core.now());
    if (row === undefined) throw noTrust(id);
    return row;
  };
  const target = async (call: Call<unknown>) => {
    const { trustor_user_id, trustee_user_id } = await found(call);
    return { target: { trust: { trustor_user_id, trustee_user_id } } };
  };
  const delegated = async (call: Call<unknown>, roleId?: string): Promise<RoleRow[]> => {
    refuseDelegated(call.context.identity);
    const { role_ids } = await found(call);
    if (roleId !== undefined && !role_ids.includes(roleId)) throw noRole(roleId);
    return roles.findMany(db.query, roleId === undefined ? role_ids : [roleId]);
  };
  return [
    operation({
      method: 'GET',
      path,
      policy: trustRules.list,
      refused: (call) => listOwn(core, call),
      status: 200,
      summary: 'List trusts',
      handle: (call) => listTrusts(core, call),
    }),
    operation<Static<typeof Body>>({
      method: 'POST',
      path,
      policy: trustRules.create,
      target: async ({ body }) => {
        const { trust } = (body ?? {}) as { trust?: { trustor_user_id?: unknown } };
        return { target: { trust: { trustor_user_id: trust?.trustor_user_id } } };
      },
      status: 201,
      summary: 'Create a trust',
      body: Body,
      handle: async ({ context, body }) => create(core, body.trust, context),
    }),
    operation({
      method: 'GET',
      path: one,
      policy: trustRules.get,
      target,
      status: 200,
      summary: 'Show a trust',
      handle: async (call) => {
        refuseDelegated(call.context.identity);
        return { trust: await withRoles(core, await found(call), call.context) };
      },
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: trustRules.remove,
      target,
      status: 204,
      summary: 'Delete a trust, and those that pass it on',
      handle: async (call) => {
        refuseDelegated(call.context.identity);
        const id = call.params.trust_id as string;
        await remove(core, id);
      },
    }),
    operation({
      method: 'GET',
      path: `${one}/roles`,
      policy: trustRules.listRoles,
      target,
      status: 200,
      summary: 'List the roles that a trust gives',
      handle: async (call) => {
        const render = renderer<RoleRow>(role, core.convention, call.context, 'detail');
        const items = (await delegated(call)).map(render);
        return collection(call.context, 'roles', `/OS-TRUST/trusts/${call.params.trust_id}/roles`, items);
      },
    }),
    ...(['GET', 'HEAD'] as const).map((method) =>
      operation({
        method,
        path: `${one}/roles/:role_id`,
        policy: trustRules.getRole,
        target,
        status: 200,
        summary: 'Show a role that a trust gives',
        handle: async (call) => {
          const [row] = await delegated(call, call.params.role_id as string);
          if (row === undefined) throw noRole(call.params.role_id as string);
          return { role: renderer<RoleRow>(role, core.convention, call.context, 'detail')(row) };
        },
      }),
    ),
  ];
}

/** Who may not list all may list those by which they gave or were given something. @throws Fault 403 for others' */
async function listOwn(core: Core, call: Call<unknown>): Promise<unknown> {
  const { context, query } = call;
  const trustor_user_id = first(query, 'trustor_user_id');
  const trustee_user_id = first(query, 'trustee_user_id');
  // Of two that are asked for, Keystone takes the trustor.
  if (trustor_user_id !== undefined) {
    context.enforce(trustRules.listOfTrustor.name, { target: { trust: { trustor_user_id } } });
  } else if (trustee_user_id !== undefined) {
    context.enforce(trustRules.listOfTrustee.name, { target: { trust: { trustee_user_id } } });
  } else throw core.convention.refusal(trustRules.list.name);
  return listTrusts(core, call);
}

async function listTrusts(core: Core, { context, query }: Call<unknown>): Promise<unknown> {
  refuseDelegated(context.identity);
  const trustor = first(query, 'trustor_user_id') ?? null;
  const trustee = trustor === null ? (first(query, 'trustee_user_id') ?? null) : null;
  const rows = await select(
    core.db.query,
    sql`(${trustor}::text is null or trustor_user_id = ${trustor})
      and (${trustee}::text is null or trustee_user_id = ${trustee})`,
  );
  const items = rows.map((row) => shown(row, context));
  return collection(context, 'trusts', '/OS-TRUST/trusts', items, query);
}

/** An application credential was given for less than its user's whole rights: trusts could give more. @throws Fault 403 */
function refuseDelegated({ delegation }: Identity): void {
  if (delegation !== undefined && delegation.kind !== 'trust')
    throw forbiddenAction('Delegated tokens cannot manage trusts.');
}

async function create(core: Core, given: Given, context: RequestContext): Promise<unknown> {
  const { identity } = context;
  refuseDelegated(identity);
  const project_id = given.project_id ?? '';
  if (project_id !== '' && (given.roles ?? []).length === 0) {
    throw forbiddenAction('At least one role should be specified');
  }
  // The rule may be an operator's own; nobody but the trustor gives what is theirs.
  if (identity.user.id !== given.trustor_user_id) {
    throw forbiddenAction('The authenticated user should match the trustor');
  }
  const row = await core.db.transaction(async (tx) => {
    await hold(tx, 'user', given.trustor_user_id);
    await hold(tx, 'user', given.trustee_user_id);
    if (project_id !== '') await hold(tx, 'project', project_id);
    const now_ms = core.now();
    const source = identity.delegation?.kind === 'trust' ? await chainOf(tx, identity.delegation.id) : [];
    const made: TrustRow = {
      id: newId(),
      trustor_user_id: given.trustor_user_id,
      trustee_user_id: given.trustee_user_id,
      project_id,
      impersonation: given.impersonation,
      expires_at: expiryOf(given.expires_at, now_ms),
      remaining_uses: given.remaining_uses ?? null,
      redelegated_trust_id: source[0]?.id ?? null,
      redelegation_count: depthOf(given, source[0]),
      role_ids: await roleIdsOf(tx, given.roles ?? []),
    };
    for (const parent of source) checkRedelegation(parent, made);
    made.expires_at ??= earliest(source);
    await requireHeld(tx, source.at(-1)?.trustor_user_id ?? made.trustor_user_id, made);
    await countOne(tx, made.trustor_user_id);
    await insert(tx, made);
    return (await findTrust(tx, made.id, now_ms)) as TrustRow;
  });
  return { trust: await withRoles(core, row, context) };
}

async function hold(tx: Tx, kind: 'user' | 'project', id: string): Promise<void> {
  const { rows } = await sql`select 1 from ${sql.table(`identity_${kind}s`)} where id = ${id} for key share`.execute(
    tx,
  );
  if (rows.length === 0) throw missing(kind)(id);
}

/** How often what is given may be passed on. @throws Fault 400, 403 where that contradicts itself or is too much */
function depthOf(given: Given, parent: TrustRow | undefined): number {
  const asked = given.redelegation_count ?? undefined;
  if (given.allow_redelegation !== true || asked === 0) return 0;
  if (given.remaining_uses !== undefined && given.remaining_uses !== null) {
    throw badRequest('remaining_uses must not be set if redelegation is allowed');
  }
  if (asked !== undefined && asked > REDELEGATION_MAX) {
    throw forbiddenUntold(`Requested redelegation depth of ${asked} is greater than allowed ${REDELEGATION_MAX}`);
  }
  if (parent === undefined) return asked ?? REDELEGATION_MAX;
  const left = parent.redelegation_count - 1;
  if (asked !== undefined && asked !== left) {
    throw forbiddenUntold(
      'Modifying "redelegation_count" upon redelegation is forbidden. Omitting this parameter is advised.',
    );
  }
  return left;
}

/** A trust that passes another on gives no more than that, in any respect. @throws Fault 403 */
function checkRedelegation(parent: TrustRow, made: TrustRow): void {
  const { redelegation_count: depth } = parent;
  if (depth <= 0 || depth > REDELEGATION_MAX) {
    throw forbiddenUntold(`Remaining redelegation depth of ${depth} out of allowed range of [0..${REDELEGATION_MAX}]`);
  }
  if (made.remaining_uses !== null) {
    throw forbiddenUntold(
      `Field "remaining_uses" is set to ${made.remaining_uses} while it must not be set in order to redelegate a trust`,
    );
  }
  if (made.expires_at !== null && parent.expires_at !== null) {
    if (Date.parse(made.expires_at) > Date.parse(parent.expires_at)) {
      throw forbiddenUntold('Requested expiration time is more than redelegated trust can provide');
    }
  }
  if (made.project_id !== parent.project_id || !made.role_ids.every((id) => parent.role_ids.includes(id))) {
    throw forbiddenUntold('Some of requested roles are not in redelegated trust');
  }
  if (made.impersonation && !parent.impersonation) {
    throw forbiddenUntold(
      `Impersonation is not allowed because redelegated trust does not specify impersonation. Redelegated trust id: ${parent.id}`,
    );
  }
}

function earliest(source: readonly TrustRow[]): string | null {
  const ends = source.flatMap(({ expires_at }) => (expires_at === null ? [] : [expires_at]));
  return ends.toSorted((one, other) => Date.parse(one) - Date.parse(other))[0] ?? null;
}

/** @throws Fault 404 for a role that the trustor does not have on the project */
async function requireHeld(tx: Tx, trustorId: string, { project_id, role_ids }: TrustRow): Promise<void> {
  const { rows } = await sql<{ role_id: string }>`
    with recursive ${effectiveRoles(trustorId, { kind: 'project', id: project_id })}
    select role_id from effective`.execute(tx);
  const held = new Set(rows.map(({ role_id }) => role_id));
  const lacking = role_ids.find((id) => !held.has(id));
  if (lacking !== undefined) throw noRole(lacking);
}

/** @throws Fault 403 where the trustor has as many as anyone may; the trustor's row, locked, makes others wait */
async function countOne(tx: Tx, trustorId: string): Promise<void> {
  await sql`select 1 from identity_users where id = ${trustorId} for no key update`.execute(tx);
  // Those that ended a day ago are nobody's loss; the day is for clocks that differ.
  await sql`delete from identity_trusts where trustor_user_id = ${trustorId}
    and expires_at < clock_timestamp() - interval '1 day'`.execute(tx);
  const { rows } = await sql<{ count: number }>`select count(*)::integer as count from identity_trusts
    where trustor_user_id = ${trustorId}`.execute(tx);
  if ((rows[0]?.count ?? 0) >= PER_TRUSTOR_MAX) {
    throw forbidden(`Unable to create additional trusts, maximum of ${PER_TRUSTOR_MAX} already exceeded for user.`);
  }
}

async function insert(tx: Tx, row: TrustRow): Promise<void> {
  const { numAffectedRows } = await sql`insert into identity_trusts (id, trustor_user_id, trustee_user_id, project_id,
      impersonation, expires_at, remaining_uses, redelegated_trust_id, redelegation_count, role_ids)
    values (${row.id}, ${row.trustor_user_id}, ${row.trustee_user_id}, ${row.project_id}, ${row.impersonation},
      ${row.expires_at}, ${row.remaining_uses}, ${row.redelegated_trust_id}, ${row.redelegation_count}, ${row.role_ids})
    on conflict (trustor_user_id, trustee_user_id, project_id, impersonation, expires_at) do nothing`.execute(tx);
  if (numAffectedRows !== 1n) throw conflict('Conflict occurred attempting to store trust - Duplicate entry.');
}

async function remove(core: Core, id: string): Promise<void> {
  const gone = await core.db.transaction(async (tx) => {
    const ids = await dropTrusts(core, tx, sql`id = ${id}`);
    if (ids.length === 0) throw noTrust(id);
    return ids;
  });
  for (const each of gone) core.changes.apply(`delegation ${each}`);
}

/** Takes away trusts and those that pass them on, in the transaction given. @returns the ids of all of them */
export async function dropTrusts(core: Core, tx: Tx, condition: RawBuilder<unknown>): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    with recursive gone(id) as (
      select id from identity_trusts where ${condition}
      union select t.id from identity_trusts t join gone g on t.redelegated_trust_id = g.id
    ) delete from identity_trusts where id in (select id from gone) returning id`.execute(tx);
  await noteRevoked(
    core,
    tx,
    'trust_id',
    rows.map(({ id }) => id),
  );
  for (const { id } of rows) await core.changes.announce(tx, `delegation ${id}`);
  return rows.map(({ id }) => id);
}

const COLUMNS = sql`id, trustor_user_id, trustee_user_id, project_id, impersonation, expires_at, remaining_uses,
  redelegated_trust_id, redelegation_count, role_ids`;

async function select(query: Queryable, condition: RawBuilder<unknown>): Promise<TrustRow[]> {
  const { rows } = await sql<TrustRow>`
    select ${COLUMNS} from identity_trusts where ${condition} order by id limit ${LIST_MAX}`.execute(query);
  return rows;
}

/** A trust by which tokens can still be had. @param now_ms Unix time */
async function findTrust(query: Queryable, id: string, now_ms: number): Promise<TrustRow | undefined> {
  const [row] = await select(
    query,
    sql`id = ${id} and (expires_at is null or expires_at > to_timestamp(${now_ms / 1000}))
      and (remaining_uses is null or remaining_uses > 0)`,
  );
  return row;
}

/** A trust and those that it passes on, up to the first. */
async function chainOf(query: Queryable, id: string): Promise<TrustRow[]> {
  const { rows } = await sql<TrustRow>`with recursive chain as (
      select t.*, 0 as depth from identity_trusts t where t.id = ${id}
      union all select t.*, c.depth + 1 from identity_trusts t join chain c on t.id = c.redelegated_trust_id
    ) select ${COLUMNS} from chain order by depth`.execute(query);
  if (rows.length === 0) throw notFound(`Could not find trust: ${id}.`);
  return rows;
}

function shown(trust: TrustRow, context: RequestContext): Record<string, unknown> {
  const { role_ids: _roles, ...row } = trust;
  return {
    ...row,
    project_id: row.project_id === '' ? null : row.project_id,
    expires_at: row.expires_at === null ? null : `${row.expires_at.slice(0, 26)}Z`,
    deleted_at: null,
    links: { self: `${context.baseUrl}/OS-TRUST/trusts/${row.id}` },
  };
}

async function withRoles(core: Core, row: TrustRow, context: RequestContext): Promise<Record<string, unknown>> {
  const render = renderer<RoleRow>(role, core.convention, context, 'detail');
  const given = await roles.findMany(core.db.query, row.role_ids);
  const self = `${context.baseUrl}/OS-TRUST/trusts/${row.id}/roles`;
  return {
    ...shown(row, context),
    roles: given.map(render),
    roles_links: { self, next: null, previous: null },
  };
}
