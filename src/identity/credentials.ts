/** Credentials: what Keystone keeps for its users, among it their EC2 keys. Encrypted at rest. */
import { createHash } from 'node:crypto';
import { type RawBuilder, sql } from 'kysely';
import { type Static, Type } from 'typebox';
import type { Queryable, Tx } from '../db/database.ts';
import { badRequest, conflict, forbidden } from '../http/fault.ts';
import type { Identity } from '../http/identity.ts';
import { type Call, type Operation, operation, type RequestContext } from '../http/service.ts';
import { nullable } from '../resource/resource.ts';
import { collection, type Core, expecting, first, missing } from './core.ts';
import { forbiddenAction } from './delegation.ts';
import { newId, users } from './resources.ts';
import { credentialRules } from './rules.ts';
import { openSealed, seal } from './sealed.ts';

const EC2 = 'ec2';
const PER_USER_MAX = 1000;
const LIST_MAX = 10_000;
const BLOB_MAX_CHARACTERS = 65_536;
const noCredential = missing('credential');

const Blob = Type.String({ maxLength: BLOB_MAX_CHARACTERS });
const Create = Type.Object({
  credential: Type.Object({
    blob: Blob,
    type: Type.String({ minLength: 1, maxLength: 255 }),
    user_id: Type.String({ minLength: 1, maxLength: 64 }),
    project_id: Type.Optional(nullable(Type.String({ maxLength: 64 }))),
  }),
});
const Update = Type.Object({ credential: Type.Object({ blob: Blob }, { additionalProperties: false }) });
const CreateEc2 = Type.Object({ tenant_id: Type.Optional(Type.String({ maxLength: 64 })) });

interface StoredCredential {
  id: string;
  user_id: string;
  project_id: string;
  type: string;
  sealed: string;
  key_id: string;
}

/** A credential with its blob in the clear. */
export interface Credential {
  readonly id: string;
  readonly user_id: string;
  readonly project_id: string | null;
  readonly type: string;
  readonly blob: string;
}

/** What an EC2 key's blob says. */
export interface Ec2Blob {
  readonly access: string;
  readonly secret?: string;
  readonly trust_id?: string | null;
  readonly app_cred_id?: string | null;
}

export function credentialOperations(core: Core): Operation[] {
  return [...plainOperations(core), ...ec2Operations(core)];
}

/** What was handed on must not be made lasting, nor read what its user keeps. @throws Fault 403 */
function refuseDelegated({ delegation }: Identity): void {
  if (delegation !== undefined) throw forbiddenAction('Delegated tokens cannot access credentials directly');
}

function plainOperations(core: Core): Operation[] {
  const path = '/credentials';
  const one = `${path}/:credential_id`;
  const { db } = core;
  const target = async ({ params }: Pick<Call<unknown>, 'params'>) => {
    const [row] = await select(db.query, sql`id = ${params.credential_id ?? ''}`);
    return { target: row === undefined ? {} : { credential: { user_id: row.user_id } } };
  };
  const found = async ({ params, context }: Pick<Call<unknown>, 'params' | 'context'>): Promise<Credential> => {
    const id = params.credential_id as string;
    const [row] = await select(db.query, sql`id = ${id}`);
    if (row === undefined) throw noCredential(id);
    refuseDelegated(context.identity);
    return opened(core, row);
  };
  return [
    operation({
      method: 'GET',
      path,
      policy: credentialRules.list,
      target: async ({ context: { identity } }) => ({
        target: identity.system ? {} : { credential: { user_id: identity.user.id } },
      }),
      status: 200,
      summary: 'List credentials',
      handle: async ({ context, query }) => {
        const { identity } = context;
        const conditions = (['user_id', 'type'] as const).flatMap((name) => {
          const value = first(query, name);
          return value === undefined ? [] : [sql`${sql.ref(name)} = ${value}`];
        });
        // Those of all are for whom the rule lets read anybody's.
        if (!context.allowed(credentialRules.get.name, { target: {} }))
          conditions.push(sql`user_id = ${identity.user.id}`);
        if (identity.delegation !== undefined) conditions.push(sql`false`);
        const rows = await select(db.query, conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `));
        const items = await Promise.all(rows.map(async (row) => shown(await opened(core, row), context)));
        return collection(context, 'credentials', path, items, query);
      },
    }),
    operation<Static<typeof Create>>({
      method: 'POST',
      path,
      policy: credentialRules.create,
      target: async ({ body }) => {
        const { credential } = (body ?? {}) as { credential?: { user_id?: unknown } };
        return { target: { credential: { user_id: credential?.user_id } } };
      },
      status: 201,
      summary: 'Create a credential',
      body: Create,
      handle: async ({ context, body }) => {
        const { type, user_id, blob, project_id = null } = body.credential;
        refuseDelegated(context.identity);
        if (type === EC2 && project_id === null) throw badRequest("'project_id' is a required property");
        const id = type === EC2 ? idOfAccess(ec2BlobOf(blob).access) : newId();
        const made = { id, type, user_id, project_id, blob };
        await db.transaction((tx) => insert(core, tx, made));
        return { credential: shown(made, context) };
      },
    }),
    operation({
      method: 'GET',
      path: one,
      policy: credentialRules.get,
      target,
      status: 200,
      summary: 'Show a credential',
      handle: async (call) => ({ credential: shown(await found(call), call.context) }),
    }),
    operation<Static<typeof Update>>({
      method: 'PATCH',
      path: one,
      policy: credentialRules.update,
      target,
      status: 200,
      summary: 'Change what a credential holds',
      body: Update,
      handle: async (call) => {
        const before = await found(call);
        const { blob } = call.body.credential;
        if (before.type === EC2) refuseOtherScope(before.blob, blob);
        const sealed = await seal(core, blob, before.id);
        const { numAffectedRows } = await sql`update identity_credentials
          set sealed = ${sealed.sealed}, key_id = ${sealed.key_id}, updated_at = clock_timestamp(), revision = revision + 1
          where id = ${before.id}`.execute(db.query);
        if (numAffectedRows !== 1n) throw noCredential(before.id);
        return { credential: shown({ ...before, blob }, call.context) };
      },
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: credentialRules.remove,
      target,
      status: 204,
      summary: 'Delete a credential',
      handle: async ({ params, context }) => {
        refuseDelegated(context.identity);
        await remove(core, params.credential_id as string);
      },
    }),
  ];
}

/** The same credentials by their old path, as access and secret keys. */
function ec2Operations(core: Core): Operation[] {
  const path = '/users/:user_id/credentials/OS-EC2';
  const one = `${path}/:access`;
  const { db } = core;
  const ofPath = async ({ params }: Pick<Call<unknown>, 'params'>) => ({
    target: { credential: { user_id: params.user_id } },
  });
  const find = async ({ params }: Pick<Call<unknown>, 'params'>): Promise<StoredCredential> => {
    const id = idOfAccess(params.access as string);
    const [row] = await select(db.query, sql`id = ${id} and type = ${EC2}`);
    if (row === undefined) throw noCredential(id);
    return row;
  };
  const target = async (call: Call<unknown>) => ({ target: { credential: { user_id: (await find(call)).user_id } } });
  const found = async (call: Call<unknown>): Promise<StoredCredential> => {
    const row = await find(call);
    await requireUser(db.query, call.params.user_id as string);
    if (row.user_id !== call.params.user_id) throw noCredential(row.id);
    refuseDelegated(call.context.identity);
    return row;
  };
  return [
    operation({
      method: 'GET',
      path,
      policy: credentialRules.listEc2,
      target: ofPath,
      status: 200,
      summary: 'List the EC2 credentials of a user',
      handle: async ({ context, params, query }) => {
        const userId = params.user_id as string;
        await requireUser(db.query, userId);
        refuseDelegated(context.identity);
        const rows = await select(db.query, sql`user_id = ${userId} and type = ${EC2}`);
        const items = await Promise.all(rows.map(async (row) => shownEc2(await opened(core, row), context)));
        return collection(context, 'credentials', `/users/${userId}/credentials/OS-EC2`, items, query);
      },
    }),
    operation<Static<typeof CreateEc2>>({
      method: 'POST',
      path,
      policy: credentialRules.createEc2,
      target: ofPath,
      status: 201,
      summary: 'Create an EC2 credential',
      body: CreateEc2,
      handle: async ({ context, params, body }) => {
        const user_id = params.user_id as string;
        await requireUser(db.query, user_id);
        const { tenant_id = 'None' } = body;
        refuseDelegated(context.identity);
        const blob = JSON.stringify({ access: newId(), secret: newId(), trust_id: null });
        const id = idOfAccess(ec2BlobOf(blob).access);
        const made = { id, type: EC2, user_id, project_id: tenant_id, blob };
        await db.transaction(async (tx) => {
          const { rows } = await sql`
            select 1 from identity_projects where id = ${tenant_id} for key share`.execute(tx);
          if (rows.length === 0) throw missing('project')(tenant_id);
          await insert(core, tx, made);
        });
        return { credential: shownEc2(made, context) };
      },
    }),
    operation({
      method: 'GET',
      path: one,
      policy: credentialRules.getEc2,
      target,
      status: 200,
      summary: 'Show an EC2 credential',
      handle: async (call) => ({ credential: shownEc2(await opened(core, await found(call)), call.context) }),
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: credentialRules.removeEc2,
      target,
      status: 204,
      summary: 'Delete an EC2 credential',
      handle: async (call) => remove(core, (await found(call)).id),
    }),
  ];
}

async function requireUser(query: Queryable, id: string): Promise<void> {
  if ((await users.find(query, id)) === undefined) throw missing('user')(id);
}

const idOfAccess = (access: string): string => createHash('sha256').update(access).digest('hex');

/** @throws Fault 400 for what is no JSON object with an access key */
function ec2BlobOf(text: string): Ec2Blob {
  let blob: unknown;
  try {
    blob = JSON.parse(text);
  } catch {
    throw badRequest('Invalid blob in credential');
  }
  if (typeof blob !== 'object' || blob === null || Array.isArray(blob) || Object.keys(blob).length === 0) {
    throw badRequest(expecting('blob', 'credential'));
  }
  const { access } = blob as { access?: unknown };
  if (typeof access !== 'string' || access === '') throw badRequest(expecting('access', 'credential'));
  return blob as Ec2Blob;
}

/** What an EC2 key is bound to stays. @throws Fault 400 */
function refuseOtherScope(before: string, after: string): void {
  const one = ec2BlobOf(before) as unknown as Record<string, unknown>;
  const other = ec2BlobOf(after) as unknown as Record<string, unknown>;
  for (const key of ['trust_id', 'app_cred_id', 'access_token_id', 'access_id']) {
    if ((one[key] ?? null) !== (other[key] ?? null)) throw badRequest(`${key} can not be updated for credential`);
  }
}

/** @throws Fault 404 for no such user, 403 where they have as many as anyone may, 409 for one that is there */
async function insert(core: Core, tx: Tx, made: Credential): Promise<void> {
  const { id, type, user_id, project_id, blob } = made;
  const owner = await sql`select 1 from identity_users where id = ${user_id} for no key update`.execute(tx);
  if (owner.rows.length === 0) throw missing('user')(user_id);
  const { rows } = await sql<{ count: number }>`select count(*)::integer as count from identity_credentials
    where user_id = ${user_id}`.execute(tx);
  if ((rows[0]?.count ?? 0) >= PER_USER_MAX) {
    throw forbidden(`Unable to create additional credentials, maximum of ${PER_USER_MAX} already exceeded for user.`);
  }
  const { sealed, key_id } = await seal(core, blob, id);
  const { numAffectedRows } = await sql`insert into identity_credentials (id, project_id, user_id, type, sealed, key_id)
    values (${id}, ${project_id ?? ''}, ${user_id}, ${type}, ${sealed}, ${key_id}) on conflict do nothing`.execute(tx);
  if (numAffectedRows !== 1n) {
    throw conflict(`Conflict occurred attempting to store credential - Duplicate entry found with ID ${id}.`);
  }
}

async function remove(core: Core, id: string): Promise<void> {
  const { numAffectedRows } = await sql`delete from identity_credentials where id = ${id}`.execute(core.db.query);
  if (numAffectedRows !== 1n) throw noCredential(id);
}

/** The EC2 credential of an access key, with what its blob says. @throws Fault 404 where there is none */
export async function findEc2(core: Core, access: string): Promise<Credential & { readonly keys: Ec2Blob }> {
  const id = idOfAccess(access);
  const [row] = await select(core.db.query, sql`id = ${id} and type = ${EC2}`);
  if (row === undefined) throw noCredential(id);
  const credential = await opened(core, row);
  return { ...credential, keys: ec2BlobOf(credential.blob) };
}

/** A user's credentials of a type, in the clear. */
export async function credentialsOf(core: Core, userId: string, type: string): Promise<Credential[]> {
  const rows = await select(core.db.query, sql`user_id = ${userId} and type = ${type}`);
  return Promise.all(rows.map((row) => opened(core, row)));
}

async function select(query: Queryable, condition: RawBuilder<unknown>): Promise<StoredCredential[]> {
  const { rows } = await sql<StoredCredential>`select id, user_id, project_id, type, sealed, key_id
    from identity_credentials where ${condition} order by id limit ${LIST_MAX}`.execute(query);
  return rows;
}

async function opened(core: Core, { sealed, key_id, project_id, ...row }: StoredCredential): Promise<Credential> {
  const blob = await openSealed(core, { sealed, key_id }, row.id);
  return { ...row, project_id: project_id === '' ? null : project_id, blob };
}

function shown(credential: Credential, context: RequestContext): Record<string, unknown> {
  return { ...credential, links: { self: `${context.baseUrl}/credentials/${credential.id}` } };
}

function shownEc2({ user_id, project_id, blob }: Credential, context: RequestContext): Record<string, unknown> {
  const { access, secret, trust_id = null } = ec2BlobOf(blob);
  return {
    user_id,
    tenant_id: project_id,
    access,
    secret,
    trust_id,
    links: { self: `${context.baseUrl}/users/${user_id}/credentials/OS-EC2/${encodeURIComponent(access)}` },
  };
}
