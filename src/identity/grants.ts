/** Role assignments one by one: a user or group holds a role on a project, a domain, or the system. */
import { type RawBuilder, sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { badRequest, forbidden, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, type PolicyRule } from '../http/service.ts';
import { renderer } from '../resource/render.ts';
import { dropCredentials } from './application-credentials.ts';
import { collection, type Core, missing } from './core.ts';
import { role, type RoleRow, roles } from './resources.ts';
import { admin, readGrants, systemReader } from './rules.ts';

type Actor = 'user' | 'group';
type ScopeKind = 'project' | 'domain' | 'system';

/** One path of the API: whose roles, on what, and whether they hold only below it. */
interface Kind {
  readonly actor: Actor;
  readonly scope: ScopeKind;
  readonly inherited: boolean;
}

interface Place extends Kind {
  readonly actorId: string;
  readonly targetId: string;
}

const KINDS: readonly Kind[] = (['user', 'group'] as const).flatMap((actor) => [
  { actor, scope: 'project', inherited: false },
  { actor, scope: 'domain', inherited: false },
  { actor, scope: 'system', inherited: false },
  { actor, scope: 'project', inherited: true },
  { actor, scope: 'domain', inherited: true },
]);

export function grantOperations(core: Core): Operation[] {
  return KINDS.flatMap((kind) => operationsOf(core, kind));
}

function pathOf({ actor, scope, inherited }: Kind): string {
  const on = scope === 'system' ? '/system' : `/${scope}s/:${scope}_id`;
  return `${inherited ? '/OS-INHERIT' : ''}${on}/${actor}s/:${actor}_id/roles`;
}

function rulesOf({ actor, scope }: Kind): Readonly<Record<'list' | 'check' | 'create' | 'revoke', PolicyRule>> {
  if (scope === 'system') {
    return {
      list: systemReader(`list_system_grants_for_${actor}`),
      check: systemReader(`check_system_grant_for_${actor}`),
      create: admin(`create_system_grant_for_${actor}`),
      revoke: admin(`revoke_system_grant_for_${actor}`),
    };
  }
  return {
    list: readGrants('list_grants'),
    check: readGrants('check_grant'),
    create: admin('create_grant'),
    revoke: admin('revoke_grant'),
  };
}

function operationsOf(core: Core, kind: Kind): Operation[] {
  const { db, changes } = core;
  const tail = kind.inherited ? '/inherited_to_projects' : '';
  const path = pathOf(kind);
  const one = `${path}/:role_id${tail}`;
  const rules = rulesOf(kind);
  const place = ({ params }: Pick<Call<unknown>, 'params'>): Place => ({
    ...kind,
    actorId: params[`${kind.actor}_id`] as string,
    targetId: kind.scope === 'system' ? 'all' : (params[`${kind.scope}_id`] as string),
  });
  const target = async (call: Call<unknown>) => {
    const { actorId, targetId } = place(call);
    const found = await domainsOf(db.query, kind, actorId, targetId);
    return { target: { actor: { domain_id: found.actor }, scope: { domain_id: found.scope } } };
  };
  const changed = kind.actor === 'user' ? (id: string) => `user ${id}` as const : () => 'all' as const;
  const what = `${kind.inherited ? 'inherited ' : ''}role of a ${kind.actor} on a ${kind.scope}`;
  const exists = async (call: Call<unknown>): Promise<void> => {
    const at = place(call);
    const roleId = call.params.role_id as string;
    const { rows } = await sql`select 1 from identity_assignments where ${matches(at)} and role_id = ${roleId}`.execute(
      db.query,
    );
    if (rows.length > 0) return;
    // What there is not at all is named first.
    if ((await roles.find(db.query, roleId)) === undefined) throw missing('role')(roleId);
    await requireBoth(db.query, at, false);
    throw noAssignment(at, roleId);
  };
  const list = operation({
    method: 'GET',
    path: `${path}${tail}`,
    policy: rules.list,
    target,
    status: 200,
    summary: `List each ${what}`,
    handle: async (call) => {
      const at = place(call);
      await requireBoth(db.query, at, false);
      const { rows } = await sql<{ role_id: string }>`
          select role_id from identity_assignments where ${matches(at)}`.execute(db.query);
      const found = await roles.findMany(
        db.query,
        rows.map(({ role_id }) => role_id),
      );
      const render = renderer<RoleRow>(role, core.convention, call.context, 'detail');
      const filled = `${path}${tail}`.replace(/:([a-z_]+)/g, (_, name: string) => call.params[name] ?? '');
      return collection(call.context, 'roles', filled, found.map(render), call.query);
    },
  });
  return [
    // Keystone has no list of what is inherited from a project.
    ...(kind.inherited && kind.scope === 'project' ? [] : [list]),
    ...(['HEAD', 'GET'] as const).map((method) =>
      operation({
        method,
        path: one,
        policy: rules.check,
        target,
        status: 204,
        summary: `Check the ${what}`,
        handle: exists,
      }),
    ),
    operation({
      method: 'PUT',
      path: one,
      policy: rules.create,
      target,
      status: 204,
      summary: `Give a ${what}`,
      handle: async (call) => {
        const at = place(call);
        const roleId = call.params.role_id as string;
        await db.transaction(async (tx) => {
          const { rows } = await sql<{ domain_id: string | null }>`
            select domain_id from identity_roles where id = ${roleId} for key share`.execute(tx);
          if (rows[0] === undefined) throw missing('role')(roleId);
          const domainId = await requireBoth(tx, at, true);
          if (rows[0].domain_id !== null && at.scope === 'system') {
            throw badRequest(
              `Role ${roleId} is a domain-specific role. Unable to use a domain-specific role in a system assignment.`,
            );
          }
          if (rows[0].domain_id !== null && rows[0].domain_id !== domainId) {
            throw forbidden(`Project ${at.targetId} must be in the same domain as the role ${roleId} being assigned.`);
          }
          await sql`insert into identity_assignments (actor, actor_id, scope, target_id, role_id, inherited)
            values (${at.actor}, ${at.actorId}, ${at.scope}, ${at.targetId}, ${roleId}, ${at.inherited})
            on conflict do nothing`.execute(tx);
          await changes.announce(tx, changed(at.actorId));
        });
        changes.apply(changed(at.actorId));
      },
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: rules.revoke,
      target,
      status: 204,
      summary: `Take away a ${what}`,
      handle: async (call) => {
        const at = place(call);
        const roleId = call.params.role_id as string;
        await db.transaction(async (tx) => {
          const { numAffectedRows } = await sql`
            delete from identity_assignments where ${matches(at)} and role_id = ${roleId}`.execute(tx);
          if (numAffectedRows !== 1n) throw noAssignment(at, roleId);
          if (at.actor === 'user' && at.scope === 'project') await dropCredentials(core, tx, at.actorId, at.targetId);
          await changes.announce(tx, changed(at.actorId));
        });
        changes.apply(changed(at.actorId));
      },
    }),
  ];
}

function matches(at: Place): RawBuilder<unknown> {
  return sql`actor = ${at.actor} and actor_id = ${at.actorId} and scope = ${at.scope} and target_id = ${at.targetId}
    and inherited = ${at.inherited}`;
}

const noAssignment = (at: Place, roleId: string) =>
  notFound(
    `Could not find role assignment with role: ${roleId}, user or group: ${at.actorId}, project, domain, or system: ${at.scope === 'system' ? 'system' : at.targetId}.`,
  );

async function domainsOf(query: Queryable, kind: Kind, actorId: string, targetId: string) {
  const { rows } = await sql<{ actor: string | null; scope: string | null }>`select
    (select domain_id from ${sql.table(`identity_${kind.actor}s`)} where id = ${actorId}) as actor,
    ${kind.scope === 'project' ? sql`(select domain_id from identity_projects where id = ${targetId})` : sql`${targetId}::text`} as scope`.execute(
    query,
  );
  return rows[0] ?? { actor: null, scope: null };
}

/**
 * Both ends of an assignment must exist; `hold` keeps them until the transaction ends.
 * @returns the domain of the target, null for the system
 */
async function requireBoth(query: Queryable, at: Place, hold: boolean): Promise<string | null> {
  const lock = hold ? sql`for key share` : sql``;
  const actor = await sql`
    select 1 from ${sql.table(`identity_${at.actor}s`)} where id = ${at.actorId} ${lock}`.execute(query);
  if (actor.rows.length === 0) throw missing(at.actor)(at.actorId);
  if (at.scope === 'system') return null;
  const column = at.scope === 'project' ? sql`domain_id` : sql`id as domain_id`;
  const { rows } = await sql<{ domain_id: string }>`
    select ${column} from ${sql.table(`identity_${at.scope}s`)} where id = ${at.targetId} ${lock}`.execute(query);
  if (rows[0] === undefined) throw missing(at.scope)(at.targetId);
  return rows[0].domain_id;
}
