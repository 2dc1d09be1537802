/** Roles, and which of them imply which. */
import { type SqlBool, sql } from 'kysely';
import { badRequest, conflict, Fault, forbidden, notFound } from '../http/fault.ts';
import { type Operation, operation, Reply, type RequestContext } from '../http/service.ts';
import { crudOperations } from '../resource/crud.ts';
import { claimName, type Core, holdDomain, mergedOptions, missing, refuseImmutable } from './core.ts';
import { newId, type RoleRow, roles } from './resources.ts';
import { admin, systemReader } from './rules.ts';

const noRole = missing('role');

const twice = (name: string, domainId: string | null) => () =>
  `Conflict occurred attempting to store role - Duplicate entry found with name ${name}${domainId === null ? '' : ` at domain ID ${domainId}`}.`;

export function roleOperations(core: Core): Operation[] {
  const plain = crudOperations<RoleRow>({
    db: core.db,
    convention: core.convention,
    store: roles,
    path: '/roles',
    updateMethod: 'PATCH',
    policies: {
      list: systemReader('list_roles'),
      show: systemReader('get_role'),
      create: admin('create_role'),
      update: admin('update_role'),
      remove: admin('delete_role'),
    },
    visible: () => [],
    // A domain's own roles are listed only where that domain is asked for.
    conditions: ({ query }) => (query.domain_id === undefined ? [sql<SqlBool>`domain_id is null`] : []),
    missing: noRole,
    creating: async (given, _context, tx) => {
      const domain_id = given.domain_id ?? null;
      if (domain_id !== null && (await holdDomain(tx, domain_id)) === undefined) throw missing('domain')(domain_id);
      const options = mergedOptions({}, given.options);
      const row = { ...given, options, id: newId(), domain_id } as RoleRow;
      const claim = { table: 'identity_roles', domainId: domain_id, name: row.name, id: row.id };
      await claimName(tx, claim, twice(row.name, domain_id));
      return row;
    },
    updating: async (before, given, _context, tx) => {
      refuseImmutable('role', before, 'update', given.options);
      if (given.domain_id !== undefined && given.domain_id !== before.domain_id) {
        throw badRequest('Update of `domain_id` is not allowed.');
      }
      if (given.name !== undefined) {
        const claim = { table: 'identity_roles', domainId: before.domain_id, name: given.name, id: before.id };
        await claimName(tx, claim, twice(given.name, before.domain_id));
      }
      return { ...given, options: mergedOptions(before.options, given.options) };
    },
    updated: (_row, _before, _context, tx) => core.changes.announce(tx, 'all'),
    removing: async (row, _context, tx) => {
      refuseImmutable('role', row, 'delete');
      await core.changes.announce(tx, 'all');
    },
    committed: () => core.changes.apply('all'),
  });
  return [...plain, ...implications(core)];
}

interface Implication {
  prior_id: string;
  prior_name: string;
  implied_id: string;
  implied_name: string;
}

function implications(core: Core): Operation[] {
  const path = '/roles/:prior_role_id/implies';
  const one = `${path}/:implied_role_id`;
  const shown = (context: RequestContext, id: string, name: string) => ({
    id,
    links: { self: `${context.baseUrl}/roles/${id}` },
    name,
  });
  const find = async (prior: string | null, implied: string | null): Promise<Implication[]> => {
    const { rows } = await sql<Implication>`
      select p.id as prior_id, p.name as prior_name, r.id as implied_id, r.name as implied_name
      from identity_implied_roles i join identity_roles p on p.id = i.prior_role_id
        join identity_roles r on r.id = i.implied_role_id
      where (${prior}::text is null or p.id = ${prior}) and (${implied}::text is null or r.id = ${implied})
      order by p.name, p.id, r.name`.execute(core.db.query);
    return rows;
  };
  const pair = async (params: Readonly<Record<string, string>>): Promise<{ prior: RoleRow; implied: RoleRow }> => {
    const { prior_role_id = '', implied_role_id = '' } = params;
    const prior = await roles.find(core.db.query, prior_role_id);
    if (prior === undefined) throw noRole(prior_role_id);
    const implied = await roles.find(core.db.query, implied_role_id);
    if (implied === undefined) throw noRole(implied_role_id);
    return { prior, implied };
  };
  const inference = (context: RequestContext, prior: RoleRow, implied: RoleRow) => ({
    role_inference: {
      prior_role: shown(context, prior.id, prior.name),
      implies: shown(context, implied.id, implied.name),
    },
    links: { self: `${context.baseUrl}/roles/${prior.id}/implies/${implied.id}` },
  });
  const check = async (params: Readonly<Record<string, string>>) => {
    const { prior, implied } = await pair(params);
    if ((await find(prior.id, implied.id)).length === 0) throw notFound(`${prior.id} does not imply ${implied.id}.`);
    return { prior, implied };
  };
  return [
    operation({
      method: 'GET',
      path: '/role_inferences',
      policy: systemReader('list_role_inference_rules'),
      status: 200,
      summary: 'List which roles imply which',
      handle: async ({ context }) => {
        const rules = new Map<string, { prior_role: unknown; implies: unknown[] }>();
        for (const row of await find(null, null)) {
          const rule = rules.get(row.prior_id) ?? {
            prior_role: shown(context, row.prior_id, row.prior_name),
            implies: [],
          };
          rule.implies.push(shown(context, row.implied_id, row.implied_name));
          rules.set(row.prior_id, rule);
        }
        return { role_inferences: [...rules.values()] };
      },
    }),
    operation({
      method: 'GET',
      path,
      policy: systemReader('list_implied_roles'),
      status: 200,
      summary: 'List the roles that a role implies',
      handle: async ({ context, params }) => {
        const id = params.prior_role_id as string;
        const prior = await roles.find(core.db.query, id);
        if (prior === undefined) throw noRole(id);
        const implies = (await find(id, null)).map((row) => shown(context, row.implied_id, row.implied_name));
        return {
          role_inference: { prior_role: shown(context, id, prior.name), implies },
          links: { self: `${context.baseUrl}/roles/${id}/implies` },
        };
      },
    }),
    operation({
      method: 'GET',
      path: one,
      policy: systemReader('get_implied_role'),
      status: 200,
      summary: 'Show that a role implies another',
      handle: async ({ context, params }) => {
        const { prior, implied } = await check(params);
        return inference(context, prior, implied);
      },
    }),
    operation({
      method: 'HEAD',
      path: one,
      policy: systemReader('check_implied_role'),
      status: 204,
      summary: 'Check whether a role implies another',
      handle: async ({ params }) => void (await check(params)),
    }),
    operation({
      method: 'PUT',
      path: one,
      policy: admin('create_implied_role'),
      status: 201,
      summary: 'Let a role imply another',
      handle: async ({ context, params }) => {
        const { prior, implied } = await pair(params);
        // A role of the whole cloud means the same everywhere; to imply the administrator would make administrators of all who hold the prior role.
        const widens = prior.domain_id === null && implied.domain_id !== null;
        if (implied.name === 'admin' || widens) throw forbidden(`${implied.id} cannot be an implied roles.`);
        if (prior.id === implied.id) throw new Fault(409, 'A role cannot imply itself.');
        await core.db.transaction(async (tx) => {
          const { numAffectedRows } = await sql`insert into identity_implied_roles (prior_role_id, implied_role_id)
            values (${prior.id}, ${implied.id}) on conflict do nothing`.execute(tx);
          if (numAffectedRows !== 1n) {
            throw conflict('Conflict occurred attempting to store implied_role - Duplicate entry.');
          }
          await core.changes.announce(tx, 'all');
        });
        core.changes.apply('all');
        return new Reply(201, inference(context, prior, implied));
      },
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: admin('delete_implied_role'),
      status: 204,
      summary: 'Let a role imply another no longer',
      handle: async ({ params }) => {
        const { prior, implied } = await check(params);
        await core.db.transaction(async (tx) => {
          await sql`delete from identity_implied_roles
            where prior_role_id = ${prior.id} and implied_role_id = ${implied.id}`.execute(tx);
          await core.changes.announce(tx, 'all');
        });
        core.changes.apply('all');
      },
    }),
  ];
}
