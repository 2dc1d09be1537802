/** Which projects see a flavor that is not public. */
import { Type } from 'typebox';
import type { Queryable } from '../../db/database.ts';
import { badRequest, conflict, notFound } from '../../http/fault.ts';
import { type Operation, operation } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { visibleFlavor } from './flavor.ts';
import { flavorAccessPolicies } from './policies.ts';

const actionBody = (action: string) =>
  Type.Object(
    {
      [action]: Type.Object({ tenant: Type.String({ minLength: 1, maxLength: 255 }) }, { additionalProperties: false }),
    },
    { additionalProperties: false },
  );
const ADD = actionBody('addTenantAccess');
const REMOVE = actionBody('removeTenantAccess');

/** The access list and its two actions. */
export function accessOperations({ db, projectExists }: ComputeDependencies): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/flavors/:flavor_id/os-flavor-access',
      policy: flavorAccessPolicies.list,
      status: 200,
      summary: 'List the projects that a flavor was given to',
      handle: async ({ context, params }) => {
        const flavor = await visibleFlavor(db.query, context, params.flavor_id as string);
        if (flavor.is_public) throw notFound('Access list not available for public flavors.');
        return accessOf(db.query, flavor.id);
      },
    }),
    operation<{ tenant: string }>({
      method: 'POST',
      path: '/flavors/:flavor_id/action',
      action: 'addTenantAccess',
      policy: flavorAccessPolicies.add,
      body: ADD,
      status: 200,
      summary: 'Give a flavor to a project',
      handle: async ({ context, params, body: { tenant } }) => {
        if (projectExists !== undefined && !(await projectExists(db.query, tenant))) {
          throw badRequest(`Project ID ${tenant} is not a valid project.`);
        }
        return db.transaction(async (tx) => {
          const flavor = await visibleFlavor(tx, context, params.flavor_id as string);
          if (context.version >= 7 && flavor.is_public) throw conflict('Can not add access to a public flavor.');
          const added = await tx
            .insertInto('flavor_access')
            .values({ flavor_id: flavor.id, project_id: tenant })
            .onConflict((clash) => clash.doNothing())
            .returning('project_id')
            .execute();
          if (added.length === 0) {
            throw conflict(`Flavor access already exists for flavor ${flavor.id} and project ${tenant} combination.`);
          }
          return accessOf(tx, flavor.id);
        });
      },
    }),
    operation<{ tenant: string }>({
      method: 'POST',
      path: '/flavors/:flavor_id/action',
      action: 'removeTenantAccess',
      policy: flavorAccessPolicies.remove,
      body: REMOVE,
      status: 200,
      summary: 'Take a flavor from a project',
      handle: ({ context, params, body: { tenant } }) =>
        db.transaction(async (tx) => {
          const flavor = await visibleFlavor(tx, context, params.flavor_id as string);
          const removed = await tx
            .deleteFrom('flavor_access')
            .where('flavor_id', '=', flavor.id)
            .where('project_id', '=', tenant)
            .returning('project_id')
            .execute();
          if (removed.length === 0) {
            throw notFound(`Flavor access not found for ${flavor.id} / ${tenant} combination.`);
          }
          return accessOf(tx, flavor.id);
        }),
    }),
  ];
}

async function accessOf(query: Queryable, flavorId: string) {
  const rows = await query
    .selectFrom('flavor_access')
    .select(['flavor_id', 'project_id as tenant_id'])
    .where('flavor_id', '=', flavorId)
    .orderBy('project_id')
    .limit(10_000)
    .execute();
  return { flavor_access: rows };
}
