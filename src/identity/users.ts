/** Users, their passwords and what they belong to. */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Tx } from '../db/database.ts';
import { badRequest, notFound, unauthorized } from '../http/fault.ts';
import { type Call, type Operation, operation } from '../http/service.ts';
import { crudOperations } from '../resource/crud.ts';
import { parseListing } from '../resource/listing.ts';
import { renderer } from '../resource/render.ts';
import type { BaseRow } from '../resource/resource.ts';
import type { Store } from '../resource/store.ts';
import { dropCredentials } from './application-credentials.ts';
import {
  claimName,
  collection,
  type Core,
  defaultDomain,
  holdDomain,
  listTarget,
  mergedOptions,
  missing,
  ownDomain,
  refuseOtherDomain,
  userTarget,
} from './core.ts';
import { groups, newId, projects, type UserRow, users } from './resources.ts';
import {
  checkOwnChange,
  checkStrength,
  ofNewPassword,
  provePassword,
  rememberPassword,
  today,
} from './password-rules.ts';
import { endTokensOf, noteRevoked } from './revocations.ts';
import { admin, domainList, getUser, listGroupsForUser, listUserProjects } from './rules.ts';
import { projectIdsOf } from './subject.ts';

const noUser = missing('user');

/** Keystone names the domain only where the request does. */
const twice = (name: string, domainId: string | null | undefined) => () =>
  `Conflict occurred attempting to store user - Duplicate entry found with name ${name}${domainId === undefined || domainId === null ? '' : ` at domain ID ${domainId}`}.`;

/** @throws Fault 400 for a domain where a project is meant; one that there is not is nobody's harm */
async function refuseDomainAsProject(tx: Tx, id: string | null | undefined): Promise<void> {
  if (id !== undefined && id !== null && (await holdDomain(tx, id)) !== undefined) {
    throw badRequest(`User's default project ID cannot be a domain ID: ${id}`);
  }
}

export function userOperations(core: Core): Operation[] {
  const { changes } = core;
  const remember = async (row: UserRow, before: UserRow | undefined, tx: Tx): Promise<void> => {
    if (row.password !== null && row.password !== undefined && row.password !== before?.password) {
      await rememberPassword(tx, core.passwordRules, row.id, row.password);
    }
  };
  const plain = crudOperations<UserRow>({
    db: core.db,
    convention: core.convention,
    store: users,
    path: '/users',
    updateMethod: 'PATCH',
    policies: {
      list: domainList('list_users'),
      show: getUser,
      create: admin('create_user'),
      update: admin('update_user'),
      remove: admin('delete_user'),
    },
    visible: (context) => ownDomain(context),
    target: async (call) =>
      call.params.user_id === undefined ? listTarget(call.context, call.query) : userTarget(core)(call),
    missing: noUser,
    creating: async (given, context, tx) => {
      const domain_id = given.domain_id ?? defaultDomain(context);
      if ((await holdDomain(tx, domain_id)) === undefined) throw missing('domain')(domain_id);
      await refuseDomainAsProject(tx, given.default_project);
      const options = mergedOptions({}, given.options);
      const fresh = typeof given.password === 'string' ? ofNewPassword(core, options, false) : {};
      const row = { ...given, ...fresh, options, id: newId(), domain_id } as UserRow;
      const claim = { table: 'identity_users', domainId: domain_id, name: row.name, id: row.id };
      await claimName(tx, claim, twice(row.name, domain_id));
      return row;
    },
    created: async (row, _context, tx) => remember(row, undefined, tx),
    updating: async (before, given, _context, tx) => {
      refuseOtherDomain(before.domain_id, given.domain_id);
      await refuseDomainAsProject(tx, given.default_project);
      const options = mergedOptions(before.options, given.options);
      if (given.name !== undefined) {
        const claim = { table: 'identity_users', domainId: before.domain_id, name: given.name, id: before.id };
        await claimName(tx, claim, twice(given.name, given.domain_id));
      }
      // Enabling a user again, or giving the old password back, brings no old token back.
      if (given.enabled === false) await dropCredentials(core, tx, before.id);
      const revokes = given.password !== undefined || given.enabled === false;
      return {
        ...given,
        options,
        ...(typeof given.password === 'string' ? ofNewPassword(core, options, false) : {}),
        // Enabling an account unlocks it.
        ...(given.enabled === true ? { failed_auth_count: 0 } : {}),
        ...(revokes ? { token_generation: before.token_generation + 1 } : {}),
      };
    },
    updated: async (row, before, _context, tx) => {
      await remember(row, before, tx);
      if (row.enabled && !before.enabled) {
        await sql`update identity_users set last_active_at = ${today(core)} where id = ${row.id}`.execute(tx);
      }
      if (row.token_generation !== before.token_generation) await noteRevoked(core, tx, 'user_id', [row.id]);
      await changes.announce(tx, `user ${row.id}`);
    },
    removing: async (row, _context, tx) => {
      await sql`delete from identity_assignments where actor_id = ${row.id} and actor = 'user'`.execute(tx);
      for (const listener of core.userDeleted) await listener(tx, row.id);
      await noteRevoked(core, tx, 'user_id', [row.id]);
      await changes.announce(tx, `user ${row.id}`);
    },
    committed: () => changes.apply('all'),
  });
  return [...plain.map((op) => withHash(core, op)), changePassword(core), ...belongings(core)];
}

/** Hashes a body's password before the transaction begins: hashing takes long, and a connection is dear. */
function withHash(core: Core, plain: Operation): Operation {
  if (plain.body === undefined) return plain;
  return {
    ...plain,
    handle: async (call) => {
      const { user: given } = call.body as { user: Record<string, unknown> };
      if (typeof given.password !== 'string') return plain.handle(call);
      checkStrength(core.passwordRules, given.password);
      const password = await core.passwords.hash(given.password);
      return plain.handle({ ...call, body: { user: { ...given, password } } } as typeof call);
    },
  };
}

/** A user's own change of password: it proves itself by the old one, and needs no token. */
function changePassword(core: Core): Operation {
  return operation<{ user: { password: string; original_password: string } }>({
    method: 'POST',
    path: '/users/:user_id/password',
    policy: 'none',
    status: 204,
    summary: "Change one's own password",
    body: Type.Object({
      user: Type.Object({ original_password: Type.String(), password: Type.String() }, { additionalProperties: false }),
    }),
    handle: async ({ params, body }) => {
      const id = params.user_id as string;
      const { original_password, password: wanted } = body.user;
      const { user: row } = await provePassword(core, await users.find(core.db.query, id), original_password);
      await checkOwnChange(core, row, wanted);
      const password = await core.passwords.hash(wanted);
      const fresh = ofNewPassword(core, row.options, true);
      await core.db.transaction(async (tx) => {
        const { numAffectedRows } = await sql`update identity_users
          set password = ${password}, password_set_at = ${fresh.password_set_at}, password_is_own = true,
            password_expires_at = ${fresh.password_expires_at}, failed_auth_count = 0,
            token_generation = token_generation + 1, updated_at = clock_timestamp()
          where id = ${id} and enabled and password = ${row.password}`.execute(tx);
        // Somebody else changed it first: what was proven holds no longer.
        if (numAffectedRows !== 1n) throw unauthorized();
        await rememberPassword(tx, core.passwordRules, id, password);
        await noteRevoked(core, tx, 'user_id', [id]);
        await core.changes.announce(tx, `user ${id}`);
      });
      core.changes.apply(`user ${id}`);
    },
  });
}

/** Of the rows with these ids, those that the query's filters let through, of which such a list knows a few. */
async function filtered<R extends BaseRow>(
  core: Core,
  store: Store<R>,
  { context, query }: Pick<Call<unknown>, 'context' | 'query'>,
  ids: readonly string[],
  known: readonly string[],
  path: string,
): Promise<Record<string, unknown>> {
  const { resource } = store;
  const asked = Object.entries(query).filter(([name]) => known.includes(name.split('__')[0] ?? ''));
  const { conditions } = parseListing(resource, core.convention, context, Object.fromEntries(asked), {
    conditions: [sql<SqlBool>`id = any(${[...ids]})`],
  });
  const rows = await store.select(core.db.query, conditions);
  const render = renderer<R>(resource, core.convention, context, 'detail');
  return collection(context, resource.collection, path, rows.map(render), query);
}

/** A user's projects and groups, and the members of a group. */
function belongings(core: Core): Operation[] {
  const target = userTarget(core);
  const memberPath = '/groups/:group_id/users/:user_id';
  const member = (groupId: string, userId: string) => notFound(`User '${userId}' not found in group '${groupId}'`);
  const found = async (call: Call<unknown>): Promise<{ groupId: string; userId: string }> => {
    const { group_id: groupId = '', user_id: userId = '' } = call.params;
    if ((await users.find(core.db.query, userId)) === undefined) throw noUser(userId);
    if ((await groups.find(core.db.query, groupId)) === undefined) throw missing('group')(groupId);
    return { groupId, userId };
  };
  return [
    operation({
      method: 'GET',
      path: '/users/:user_id/projects',
      policy: listUserProjects,
      target,
      status: 200,
      summary: 'List the projects that a user has a role on',
      handle: async ({ params, context, query }) => {
        const id = params.user_id as string;
        if ((await users.find(core.db.query, id)) === undefined) throw noUser(id);
        const ids = await projectIdsOf(core.db.query, id);
        return filtered(
          core,
          projects,
          { context, query },
          ids,
          ['domain_id', 'enabled', 'name'],
          `/users/${id}/projects`,
        );
      },
    }),
    operation({
      method: 'GET',
      path: '/users/:user_id/groups',
      policy: listGroupsForUser,
      target,
      status: 200,
      summary: 'List the groups that a user is in',
      handle: async ({ params, context, query }) => {
        const id = params.user_id as string;
        if ((await users.find(core.db.query, id)) === undefined) throw noUser(id);
        const { rows } = await sql<{ group_id: string }>`
          select group_id from identity_members where user_id = ${id} limit 10000`.execute(core.db.query);
        const ids = rows.map(({ group_id }) => group_id);
        const list = await filtered(core, groups, { context, query }, ids, ['name'], `/users/${id}/groups`);
        const items = (list.groups as object[]).map((one) => ({ ...one, membership_expires_at: null }));
        return { ...list, groups: items };
      },
    }),
    operation({
      method: 'GET',
      path: '/groups/:group_id/users',
      policy: domainList('list_users_in_group'),
      target: async ({ context, query }) => listTarget(context, query),
      status: 200,
      summary: 'List the users in a group',
      handle: async ({ params, context, query }) => {
        const id = params.group_id as string;
        if ((await groups.find(core.db.query, id, ownDomain(context))) === undefined) throw missing('group')(id);
        const { rows } = await sql<{ user_id: string }>`
          select user_id from identity_members where group_id = ${id} limit 10000`.execute(core.db.query);
        const ids = rows.map(({ user_id }) => user_id);
        const names = ['domain_id', 'enabled', 'name', 'password_expires_at'];
        return filtered(core, users, { context, query }, ids, names, `/groups/${id}/users`);
      },
    }),
    ...(['GET', 'HEAD'] as const).map((method) =>
      operation({
        method,
        path: memberPath,
        policy: admin('check_user_in_group'),
        status: 204,
        summary: 'Check whether a user is in a group',
        handle: async (call) => {
          const { groupId, userId } = await found(call);
          const { rows } = await sql`select 1 from identity_members
            where group_id = ${groupId} and user_id = ${userId}`.execute(core.db.query);
          if (rows.length === 0) throw member(groupId, userId);
        },
      }),
    ),
    operation({
      method: 'PUT',
      path: memberPath,
      policy: admin('add_user_to_group'),
      status: 204,
      summary: 'Add a user to a group',
      handle: async (call) => {
        const { groupId, userId } = await found(call);
        await core.db.transaction(async (tx) => {
          await sql`insert into identity_members (user_id, group_id)
            select u.id, g.id from identity_users u, identity_groups g where u.id = ${userId} and g.id = ${groupId}
            for key share on conflict do nothing`.execute(tx);
          await core.changes.announce(tx, `user ${userId}`);
        });
        core.changes.apply(`user ${userId}`);
      },
    }),
    operation({
      method: 'DELETE',
      path: memberPath,
      policy: admin('remove_user_from_group'),
      status: 204,
      summary: 'Remove a user from a group',
      handle: async (call) => {
        const { groupId, userId } = await found(call);
        await core.db.transaction(async (tx) => {
          const { numAffectedRows } = await sql`delete from identity_members
            where group_id = ${groupId} and user_id = ${userId}`.execute(tx);
          if (numAffectedRows !== 1n) throw member(groupId, userId);
          // As Keystone does: what a token still means after that is not worked out, it is void.
          await endTokensOf(core, tx, [userId]);
        });
        core.changes.apply(`user ${userId}`);
      },
    }),
  ];
}
