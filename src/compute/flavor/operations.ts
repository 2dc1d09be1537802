/** Flavors over HTTP: list, show, create, update, delete. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { randomUUID } from 'node:crypto';
import { type TSchema, Type } from 'typebox';
import { badRequest } from '../../http/fault.ts';
import { compute } from '../../http/conventions.ts';
import { type Call, type Operation, operation, type Query } from '../../http/service.ts';
import { listBody, parseListing, unknownMarker } from '../../resource/listing.ts';
import { renderer, type View } from '../../resource/render.ts';
import { nullable } from '../../resource/resource.ts';
import { bodySchema } from '../../resource/schema.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, PAGING_PARAMETERS, queryParameters } from '../links.ts';
import { booleanOf, PRINTABLE } from '../parameters.ts';
import { accessOperations } from './access.ts';
import { extraSpecOperations } from './extra-specs.ts';
import { type Flavor, flavorResource, flavorStore, publicOrGiven, visibleFlavor } from './flavor.ts';
import { createFlavor, deleteFlavor, describeFlavor } from './manage.ts';
import { flavorPolicies } from './policies.ts';

/** Nova's names of what flavors are sorted by, as columns. */
const SORT_COLUMNS: Readonly<Record<string, string>> = {
  created_at: 'created_at',
  description: 'description_order',
  disabled: 'disabled',
  ephemeral_gb: 'ephemeral',
  flavorid: 'id',
  id: 'id',
  is_public: 'is_public',
  memory_mb: 'ram',
  name: 'name',
  root_gb: 'disk',
  rxtx_factor: 'rxtx_factor',
  swap: 'swap',
  updated_at: 'updated_at',
  // No flavor has a weight.
  vcpu_weight: 'id',
  vcpus: 'vcpus',
};

const LIST_QUERY = queryParameters({
  ...PAGING_PARAMETERS,
  is_public: ANY_TEXT,
  minRam: ANY_TEXT,
  minDisk: ANY_TEXT,
  sort_key: { type: 'string', enum: Object.keys(SORT_COLUMNS) },
  sort_dir: { type: 'string', enum: ['asc', 'desc'] },
});

const UPDATE_BODY: TSchema = Type.Object(
  {
    flavor: Type.Object(
      { description: nullable(Type.String({ maxLength: 65_535, pattern: PRINTABLE })) },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
);

const one = (row: Flavor, call: Call) => ({
  flavor: renderer<Flavor>(flavorResource, compute, call.context, 'detail')(row),
});

/** Everything below `/flavors`. */
export function flavorOperations(deps: ComputeDependencies): Operation[] {
  const { db, cascade } = deps;
  return [
    operation({
      method: 'GET',
      path: '/flavors',
      policy: flavorPolicies.list,
      query: LIST_QUERY,
      status: 200,
      summary: 'List flavors',
      handle: (call) => list(deps, call, 'summary'),
    }),
    operation({
      method: 'GET',
      path: '/flavors/detail',
      policy: flavorPolicies.list,
      query: LIST_QUERY,
      status: 200,
      summary: 'List flavors with details',
      handle: (call) => list(deps, call, 'detail'),
    }),
    operation({
      method: 'GET',
      path: '/flavors/:flavor_id',
      policy: flavorPolicies.show,
      status: 200,
      summary: 'Show a flavor',
      handle: async (call) => one(await visibleFlavor(db.query, call.context, call.params.flavor_id as string), call),
    }),
    operation<{ flavor: Record<string, unknown> }>({
      method: 'POST',
      path: '/flavors',
      policy: flavorPolicies.create,
      body: (version) => bodySchema(flavorResource, 'create', version),
      status: 200,
      summary: 'Create a flavor',
      handle: async (call) => {
        const { flavor } = call.body;
        const given = flavor.id === undefined || flavor.id === null ? '' : String(flavor.id);
        const row = await db.transaction((tx) =>
          createFlavor(tx, {
            id: given === '' ? randomUUID() : given,
            name: flavor.name as string,
            ram: Number(flavor.ram),
            vcpus: Number(flavor.vcpus),
            disk: Number(flavor.disk),
            ephemeral: Number(flavor['OS-FLV-EXT-DATA:ephemeral'] ?? 0),
            swap: Number(flavor.swap ?? 0),
            rxtx_factor: factor(flavor.rxtx_factor),
            is_public: booleanOf(flavor['os-flavor-access:is_public'] ?? true),
            description: (flavor.description as string | null | undefined) ?? null,
          }),
        );
        return one(row, call);
      },
    }),
    operation<{ flavor: { description: string | null } }>({
      method: 'PUT',
      path: '/flavors/:flavor_id',
      since: 55,
      policy: flavorPolicies.update,
      body: UPDATE_BODY,
      status: 200,
      summary: "Update a flavor's description",
      handle: async (call) => {
        const { description } = call.body.flavor;
        const row = await db.transaction((tx) => describeFlavor(tx, call.params.flavor_id as string, description));
        return one(row, call);
      },
    }),
    operation({
      method: 'DELETE',
      path: '/flavors/:flavor_id',
      policy: flavorPolicies.remove,
      status: 202,
      summary: 'Delete a flavor',
      handle: async (call) => {
        const { requestId } = call.context;
        await db.transaction((tx) => deleteFlavor(tx, cascade, call.params.flavor_id as string, requestId));
        cascade.poke();
      },
    }),
    ...accessOperations(deps),
    ...extraSpecOperations(deps),
  ];
}

function factor(given: unknown): number {
  const value = Number(given ?? 1);
  if (value > 0 && value <= 3.40282e38) return value;
  throw badRequest("Invalid input received: 'rxtx_factor' argument must be a float between 0 and 3.40282e+38");
}

async function list({ db }: ComputeDependencies, call: Call, view: View): Promise<unknown> {
  const { context, query } = call;
  const { sort_key, sort_dir, ...rest } = query;
  const path = view === 'detail' ? '/flavors/detail' : '/flavors';
  const listing = {
    ...parseListing(flavorResource, compute, context, rest, {
      ignore: ['is_public', 'minRam', 'minDisk'],
      conditions: conditions(call),
      visible: context.identity.isAdmin ? [] : [publicOrGiven(context.identity.project?.id)],
    }),
    sort: sortOf(sort_key, sort_dir),
  };
  const rows = await flavorStore.page(db.query, listing);
  if (rows === undefined) throw unknownMarker(compute, listing.marker ?? '');
  const items = rows.map(renderer<Flavor>(flavorResource, compute, context, view));
  return listBody(
    flavorResource,
    compute,
    context,
    listing,
    query,
    path,
    items,
    rows.map((row) => row.id),
  );
}

function sortOf(keys: Query[string] | undefined, directions: Query[string] | undefined): [string, 'asc' | 'desc'][] {
  const column = SORT_COLUMNS[firstOf(keys) || 'flavorid'] ?? 'id';
  return [[column, firstOf(directions) === 'desc' ? 'desc' : 'asc']];
}

function conditions({ context, query }: Call): RawBuilder<SqlBool>[] {
  const found: RawBuilder<SqlBool>[] = [];
  const wanted = context.identity.isAdmin ? isPublic(firstOf(query.is_public)) : true;
  if (!context.identity.isAdmin) found.push(sql<SqlBool>`not disabled`);
  if (wanted === true) found.push(publicOrGiven(context.identity.project?.id));
  if (wanted === false) found.push(sql<SqlBool>`not is_public`);
  for (const [name, column] of [
    ['minRam', 'ram'],
    ['minDisk', 'disk'],
  ] as const) {
    const text = firstOf(query[name]);
    if (text === undefined) continue;
    if (!/^\s*[-+]?\d{1,9}\s*$/.test(text)) throw badRequest(`Invalid ${name} filter [${text.slice(0, 255)}]`);
    found.push(sql<SqlBool>`${sql.ref(column)} >= ${Number(text)}`);
  }
  return found;
}

/** Public ones unless said otherwise; undefined is every flavor. */
function isPublic(text: string | undefined): boolean | undefined {
  if (text === undefined) return true;
  if (text.toLowerCase() === 'none') return undefined;
  if (/^(1|t|true|on|y|yes)$/i.test(text.trim())) return true;
  if (/^(0|f|false|off|n|no)$/i.test(text.trim())) return false;
  throw badRequest(`Invalid is_public filter [${text.slice(0, 255)}]`);
}
