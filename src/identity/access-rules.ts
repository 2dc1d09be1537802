/** The access rules of users: which requests their application credentials may make. */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { badRequest, forbidden } from '../http/fault.ts';
import { type Operation, operation, type RequestContext } from '../http/service.ts';
import { collection, type Core, expecting, first, missing, userTarget } from './core.ts';
import { refuseTrustToken } from './delegation.ts';
import { newId } from './resources.ts';
import { accessRule } from './rules.ts';

const PER_USER_MAX = 1000;
const noRule = missing('Access Rule');

export interface AccessRuleRow {
  id: string;
  service: string;
  path: string;
  method: string;
}

export function accessRuleOperations(core: Core): Operation[] {
  const path = '/users/:user_id/access_rules';
  const one = `${path}/:access_rule_id`;
  const { db } = core;
  const target = userTarget(core);
  const shown = (row: AccessRuleRow, context: RequestContext) => ({
    ...row,
    links: { self: `${context.baseUrl}/access_rules/${row.id}` },
  });
  return [
    operation({
      method: 'GET',
      path,
      policy: accessRule.list,
      target,
      status: 200,
      summary: 'List the access rules of a user',
      handle: async ({ context, params, query }) => {
        refuseTrustToken(context.identity);
        const userId = params.user_id as string;
        const filters = (['service', 'path', 'method'] as const).flatMap((name) => {
          const value = first(query, name);
          return value === undefined ? [] : [sql`and ${sql.ref(name)} = ${value}`];
        });
        const { rows } = await sql<AccessRuleRow>`select id, service, path, method from identity_access_rules
          where user_id = ${userId} ${sql.join(filters, sql` `)} order by id limit ${PER_USER_MAX}`.execute(db.query);
        const items = rows.map((row) => shown(row, context));
        return collection(context, 'access_rules', `/users/${userId}/access_rules`, items, query);
      },
    }),
    operation({
      method: 'GET',
      path: one,
      policy: accessRule.get,
      target,
      status: 200,
      summary: 'Show an access rule',
      handle: async ({ context, params }) => {
        refuseTrustToken(context.identity);
        const { user_id, access_rule_id = '' } = params;
        const { rows } = await sql<AccessRuleRow>`select id, service, path, method from identity_access_rules
          where id = ${access_rule_id} and user_id = ${user_id}`.execute(db.query);
        if (rows[0] === undefined) throw noRule(access_rule_id);
        return { access_rule: shown(rows[0], context) };
      },
    }),
    operation({
      method: 'DELETE',
      path: one,
      policy: accessRule.remove,
      target,
      status: 204,
      summary: 'Delete an access rule that no application credential has',
      handle: async ({ context, params }) => {
        refuseTrustToken(context.identity);
        const { user_id, access_rule_id = '' } = params;
        await db.transaction(async (tx) => {
          const { rows } = await sql`select 1 from identity_access_rules
            where id = ${access_rule_id} and user_id = ${user_id} for update`.execute(tx);
          if (rows.length === 0) throw noRule(access_rule_id);
          const used = await sql`select 1 from identity_application_credential_rules
            where access_rule_id = ${access_rule_id} limit 1`.execute(tx);
          if (used.rows.length > 0) throw forbidden('May not delete access rule in use');
          await sql`delete from identity_access_rules where id = ${access_rule_id}`.execute(tx);
        });
      },
    }),
  ];
}

/**
 * Finds or makes the rules that a user names, by id or by all that they say.
 * @returns their ids
 * @throws Fault 400 for one that says too little or an id that is none of the user's, 403 where there are too many
 */
export async function keepAccessRules(
  tx: Queryable,
  userId: string,
  given: readonly Partial<AccessRuleRow>[],
): Promise<string[]> {
  const ids: string[] = [];
  for (const { id, service, path, method } of given) {
    if (id !== undefined) {
      const known = await sql`select 1 from identity_access_rules
        where id = ${id} and user_id = ${userId} for key share`.execute(tx);
      if (known.rows.length > 0) {
        ids.push(id);
        continue;
      }
    }
    if (service === undefined || path === undefined || method === undefined) {
      const lacking = service === undefined ? 'service' : path === undefined ? 'path' : 'method';
      throw badRequest(expecting(lacking, 'access_rule'));
    }
    const { rows } = await sql<{ id: string }>`insert into identity_access_rules (id, user_id, service, path, method)
      values (${newId()}, ${userId}, ${service}, ${path}, ${method})
      on conflict (user_id, service, path, method) do update set updated_at = clock_timestamp() returning id`.execute(
      tx,
    );
    ids.push((rows[0] as { id: string }).id);
  }
  const { rows } = await sql<{ count: number }>`select count(*)::integer as count from identity_access_rules
    where user_id = ${userId}`.execute(tx);
  if ((rows[0]?.count ?? 0) > PER_USER_MAX) throw forbidden(`A user has at most ${PER_USER_MAX} access rules.`);
  return ids;
}
