/** OS-ENDPOINT-POLICY: which policy holds for an endpoint: its own, that of its service in its region, or its service's. */
import { sql } from 'kysely';
import { notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, type PolicyRule } from '../http/service.ts';
import { renderer } from '../resource/render.ts';
import { collection, type Core, missing } from './core.ts';
import { policies, policy, type PolicyRow } from './policies.ts';
import { endpoint, type EndpointRow, endpoints, regions, services } from './resources.ts';
import { admin, systemReader } from './rules.ts';

/** What a policy is given to, and how its rules are called. */
const KINDS = [
  { path: 'endpoints/:endpoint_id', rule: 'endpoint', what: 'an endpoint' },
  { path: 'services/:service_id', rule: 'service', what: 'a service' },
  {
    path: 'services/:service_id/regions/:region_id',
    rule: 'region_and_service',
    what: 'a service in a region',
  },
] as const;
const STORES = { policy: policies, endpoint: endpoints, service: services, region: regions } as const;

export function endpointPolicyOperations(core: Core): Operation[] {
  return [...KINDS.flatMap((kind) => associations(core, kind)), ...lookups(core)];
}

/** @throws Fault 404 for the first of the policy and what it is given to that there is not */
async function named(core: Core, { params }: Call<unknown>) {
  for (const [kind, store] of Object.entries(STORES)) {
    const id = params[`${kind}_id`];
    if (id !== undefined && (await store.find(core.db.query, id)) === undefined) throw missing(kind)(id);
  }
  const { policy_id, endpoint_id = null, service_id = null, region_id = null } = params;
  return { policy_id, endpoint_id, service_id, region_id };
}

function associations(core: Core, { path: below, rule, what }: (typeof KINDS)[number]): Operation[] {
  const { query: db } = core.db;
  const path = `/policies/:policy_id/OS-ENDPOINT-POLICY/${below}`;
  const ruled = (verb: string, of: (name: string) => PolicyRule) => of(`${verb}_policy_association_for_${rule}`);
  const isIt = (at: Awaited<ReturnType<typeof named>>) => sql`policy_id = ${at.policy_id}
    and endpoint_id is not distinct from ${at.endpoint_id} and service_id is not distinct from ${at.service_id}
    and region_id is not distinct from ${at.region_id}`;
  return [
    ...(['GET', 'HEAD'] as const).map((method) =>
      operation({
        method,
        path,
        policy: ruled('check', systemReader),
        status: 204,
        summary: `Check whether a policy is that of ${what}`,
        handle: async (call) => {
          const at = await named(core, call);
          const { rows } = await sql`select 1 from identity_policy_associations where ${isIt(at)}`.execute(db);
          if (rows.length === 0) throw notFound('Could not find policy association.');
        },
      }),
    ),
    operation({
      method: 'PUT',
      path,
      policy: ruled('create', admin),
      status: 204,
      summary: `Make a policy that of ${what}`,
      handle: async (call) => {
        const at = await named(core, call);
        await sql`insert into identity_policy_associations (policy_id, endpoint_id, service_id, region_id)
          values (${at.policy_id}, ${at.endpoint_id}, ${at.service_id}, ${at.region_id})
          on conflict (coalesce(endpoint_id, ''), coalesce(service_id, ''), coalesce(region_id, ''))
          do update set policy_id = excluded.policy_id`.execute(db);
      },
    }),
    operation({
      method: 'DELETE',
      path,
      policy: ruled('delete', admin),
      status: 204,
      summary: `Make a policy no longer that of ${what}`,
      // Keystone does not say whether it was.
      handle: async (call) => {
        await sql`delete from identity_policy_associations where ${isIt(await named(core, call))}`.execute(db);
      },
    }),
  ];
}

/** The policy of an endpoint, and the endpoints of a policy. */
function lookups(core: Core): Operation[] {
  const { query: db } = core.db;
  return [
    operation({
      method: 'GET',
      path: '/endpoints/:endpoint_id/OS-ENDPOINT-POLICY/policy',
      policy: systemReader('get_policy_for_endpoint'),
      status: 200,
      summary: 'Show the policy that holds for an endpoint',
      handle: async (call) => {
        const { endpoint_id } = await named(core, call);
        // The nearest region first; one without a policy leaves it to those that it is in.
        const { rows } = await sql<{ policy_id: string }>`
          with recursive above(id, service_id, distance) as (
            select region_id, service_id, 0 from identity_endpoints where id = ${endpoint_id}
            union all select r.parent_region_id, a.service_id, a.distance + 1
              from identity_regions r join above a on r.id = a.id where r.parent_region_id is not null
          ) cycle id set is_cycle using path
          select p.policy_id from above a join identity_policy_associations p
            on (p.endpoint_id = ${endpoint_id} and a.distance = 0)
            or (p.service_id = a.service_id and p.region_id = a.id)
            or (p.service_id = a.service_id and p.region_id is null and a.distance = 0)
          order by p.endpoint_id is null, p.region_id is null, a.distance limit 1`.execute(db);
        const found = await policies.find(db, rows[0]?.policy_id ?? '');
        if (found === undefined) throw notFound(`No policy is associated with endpoint ${endpoint_id}.`);
        const shown = renderer<PolicyRow>(policy, core.convention, call.context, 'detail')(found);
        // Keystone's own link, below the endpoints.
        return { policy: { ...shown, links: { self: `${call.context.baseUrl}/endpoints/${found.id}` } } };
      },
    }),
    operation({
      method: 'GET',
      path: '/policies/:policy_id/OS-ENDPOINT-POLICY/endpoints',
      policy: systemReader('list_endpoints_for_policy'),
      status: 200,
      summary: 'List the endpoints that a policy is given to',
      handle: async (call) => {
        const { policy_id } = await named(core, call);
        const { rows } = await sql<{ id: string }>`
          with recursive within(service_id, region_id) as (
            select service_id, region_id from identity_policy_associations
              where policy_id = ${policy_id} and region_id is not null
            union select w.service_id, r.id from identity_regions r join within w on r.parent_region_id = w.region_id
          )
          select endpoint_id as id from identity_policy_associations
            where policy_id = ${policy_id} and endpoint_id is not null
          union select e.id from identity_endpoints e join identity_policy_associations p
            on p.service_id = e.service_id and p.region_id is null where p.policy_id = ${policy_id}
          union select e.id from identity_endpoints e join within w
            on w.service_id = e.service_id and w.region_id = e.region_id`.execute(db);
        const found = await endpoints.findMany(
          db,
          rows.map(({ id }) => id),
        );
        const render = renderer<EndpointRow>(endpoint, core.convention, call.context, 'detail');
        const path = `/policies/${policy_id}/OS-ENDPOINT-POLICY/endpoints`;
        return collection(call.context, 'endpoints', path, found.map(render), call.query);
      },
    }),
  ];
}
