/** Routers: their operations, and what else a change to one entails. */
import { type Static, Type } from 'typebox';
import type { Tx } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { badRequest } from '../http/fault.ts';
import { type Operation, operation, type PolicyRule, type RequestContext } from '../http/service.ts';
import { type Crud, crudOperations, type Given } from '../resource/crud.ts';
import { renderer } from '../resource/render.ts';
import { checkZoneHints } from './availability-zone.ts';
import { type EdgeParts, portsOfDevice, ROUTER_INTERFACE } from './edge-core.ts';
import { plainPolicies, projectOf } from './network-project.ts';
import { countQuota } from './network-quota.ts';
import { routerInUse, routerNotFound } from './router-fault.ts';
import { dropGateway, setGateway } from './router-gateway.ts';
import { type GatewayRequest, type Router, router, routers, type Routes, visibleRouters } from './router-resource.ts';
import { joinRouter } from './transit/join.ts';
import { checkReachable, checkRoutes, withoutRoutes, withRoutes } from './router-route.ts';

const policies = plainPolicies('router', 'a router');

/** Rules that are enforced within the handlers of routers. */
export const routerRules: readonly PolicyRule[] = [
  ...router.fieldRules,
  ...['create', 'update'].flatMap((verb) =>
    ['enable_snat', 'external_fixed_ips'].map((part) => ({
      name: `${verb}_router:external_gateway_info:${part}`,
      check: 'rule:admin_only',
      description: `Set ${part} of a router's gateway`,
    })),
  ),
];

/** The plain operations on routers. */
export const routerOperations = (parts: EdgeParts): Operation[] => crudOperations(routerCrud(parts));

/** What a router's plain operations are made of. */
export function routerCrud(parts: EdgeParts): Crud<Router> {
  const { db, cascade } = parts;
  return {
    db,
    convention,
    store: routers,
    path: '/routers',
    policies,
    visible: visibleRouters,
    missing: routerNotFound,
    bulk: true,
    creating: async (given, context, tx) => {
      await checkZoneHints(cascade, tx, given.availability_zone_hints ?? []);
      return newRouter(given, context);
    },
    created: async (row, context, tx) => {
      // The port belongs to the router, so that the router comes first.
      const { external_gateway_info, ...rest } = row;
      const bare = { ...rest, external_gateway_info: null, gw_port_id: null };
      const patch = await setGateway(tx, parts, context, bare, external_gateway_info as GatewayRequest | null);
      await countQuota(tx, row.project_id, { router: 1 });
      return routers.update(tx, row.id, patch, { revise: false });
    },
    updating: async (row, given, context, tx) => {
      const { external_gateway_info, ...patch } = given;
      if (external_gateway_info !== undefined) {
        const wanted = external_gateway_info as GatewayRequest | null;
        Object.assign(patch, await setGateway(tx, parts, context, row, wanted));
      }
      if (patch.routes !== undefined) {
        patch.routes ??= [];
        checkRoutes(patch.routes);
        await checkReachable(tx, row, patch.routes);
      }
      return patch;
    },
    updated: (row, before, context, tx) => {
      const options = { requestId: context.requestId };
      const leadsElsewhere =
        row.gateway_network_id !== before.gateway_network_id ||
        row.distributed !== before.distributed ||
        row.gateway_qos_policy_id !== before.gateway_qos_policy_id ||
        row.external_gateway_info?.enable_snat !== before.external_gateway_info?.enable_snat ||
        JSON.stringify(row.routes) !== JSON.stringify(before.routes);
      return leadsElsewhere ? joinRouter(tx, parts, row.id, options) : cascade.revise(tx, 'router', row.id, options);
    },
    removing: async (row, context, tx) => {
      const interfaces = await portsOfDevice(tx, [row.id], ROUTER_INTERFACE);
      if (interfaces.length > 0) {
        throw routerInUse(
          row.id,
          interfaces.map(({ id }) => id),
        );
      }
      await dropGateway(tx, parts, row);
      await cascade.retire(tx, 'router', row.id, { requestId: context.requestId });
      await countQuota(tx, row.project_id, { router: -1 });
    },
    committed: () => cascade.poke(),
  };
}

function newRouter(given: Given<Router>, context: RequestContext) {
  return {
    project_id: projectOf(context, given.project_id),
    name: given.name ?? '',
    description: given.description ?? '',
    admin_state_up: given.admin_state_up ?? true,
    status: 'ACTIVE',
    distributed: given.distributed ?? false,
    ha: given.ha ?? false,
    availability_zone_hints: given.availability_zone_hints ?? [],
    zones: given.availability_zone_hints ?? [],
    // As it was asked for, until the gateway is made in the same transaction.
    external_gateway_info: given.external_gateway_info ?? null,
    gateway_network_id: null,
    gw_port_id: null,
    gateway_qos_policy_id: null,
    routes: [],
    tags: [],
  };
}

const ExtraRoutes = Type.Object(
  { router: Type.Object({ routes: Type.Optional(Type.Unknown()) }, { additionalProperties: false }) },
  { additionalProperties: false },
);

/** `PUT /routers/:router_id/add_extraroutes` and `.../remove_extraroutes`: single routes, whoever changes others. */
export function extraRouteOperations(parts: EdgeParts): Operation[] {
  const change = (name: string, summary: string, next: (routes: Routes, given: Routes) => Routes): Operation =>
    operation<Static<typeof ExtraRoutes>>({
      method: 'PUT',
      path: `/routers/:router_id/${name}`,
      policy: { name, check: 'rule:project_member_or_admin', description: summary },
      body: ExtraRoutes,
      status: 200,
      summary,
      handle: async ({ body, context, params }) => {
        const given = routesGiven(body.router.routes);
        const row = await parts.db.transaction((tx) =>
          changeRoutes(tx, parts, context, params.router_id ?? '', (routes) => next(routes, given)),
        );
        parts.cascade.poke();
        return { router: renderer<Router>(router, convention, context, 'detail')(row) };
      },
    });
  return [
    change('add_extraroutes', 'Add extra routes to a router', withRoutes),
    change('remove_extraroutes', 'Remove extra routes from a router', withoutRoutes),
  ];
}

async function changeRoutes(
  tx: Tx,
  parts: EdgeParts,
  context: RequestContext,
  id: string,
  next: (routes: Routes) => Routes,
): Promise<Router> {
  const row = await routers.lock(tx, id, visibleRouters(context));
  if (row === undefined) throw routerNotFound(id);
  const routes = next(row.routes);
  await checkReachable(tx, row, routes);
  const changed = (await routers.update(tx, id, { routes })) as Router;
  await joinRouter(tx, parts, id, { requestId: context.requestId });
  return changed;
}

function routesGiven(routes: unknown): Routes {
  const isRoute = (route: unknown): route is Routes[number] =>
    typeof route === 'object' &&
    route !== null &&
    Object.keys(route).length === 2 &&
    'destination' in route &&
    typeof route.destination === 'string' &&
    'nexthop' in route &&
    typeof route.nexthop === 'string';
  if (!Array.isArray(routes) || routes.length > 256 || !routes.every(isRoute)) {
    throw badRequest('Invalid input for routes. Reason: Invalid data format for hostroute.', 'HTTPBadRequest');
  }
  checkRoutes(routes);
  return routes;
}
