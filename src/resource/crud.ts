/**
 * The usual five operations of a resource, from its description. A service says which rules hold, who sees which rows,
 * and what else a change entails; the rest is the same for every plain resource of every service.
 */
import type { RawBuilder, SqlBool } from 'kysely';
import { sql } from 'kysely';
import { randomUUID } from 'node:crypto';
import type { Db, Tx } from '../db/database.ts';
import { badRequest, type Fault } from '../http/fault.ts';
import {
  type Call,
  type Convention,
  type Operation,
  operation,
  type PolicyRule,
  type RequestContext,
} from '../http/service.ts';
import { converted } from './convert.ts';
import { listBody, parseListing, unknownMarker } from './listing.ts';
import { renderer, shownValue, type View } from './render.ts';
import { apiName, type BaseRow, isStored, type Resource } from './resource.ts';
import { bodySchema, type Purpose, takes } from './schema.ts';
import type { NewRow, Store } from './store.ts';

/** A request's attributes under the keys of the description, with only what the client gave. */
export type Given<R> = Partial<R>;

export interface Crud<R extends BaseRow> {
  readonly db: Db;
  readonly convention: Convention;
  readonly store: Store<R>;
  /** Below the service's root: `/networks`. */
  readonly path: string;
  readonly policies: {
    readonly list: PolicyRule;
    readonly show: PolicyRule;
    readonly create?: PolicyRule;
    readonly update?: PolicyRule;
    readonly remove?: PolicyRule;
  };
  /** Which rows a caller may see at all. */
  readonly visible: (context: RequestContext) => readonly RawBuilder<SqlBool>[];
  /** Which rows a caller sees who names one; the same as `visible` where it is not said. */
  readonly shown?: (context: RequestContext) => readonly RawBuilder<SqlBool>[];
  /** Which rows a caller may change; the same as `visible` where it is not said. A row seen but not owned gives 403. */
  readonly owned?: (row: R, context: RequestContext) => boolean;
  /** Which rows a caller may delete, where these are others than may be changed. */
  readonly removable?: (row: R, context: RequestContext) => boolean;
  /** What the rules are asked about, where that is more than the caller's own project. */
  readonly target?: Operation['target'];
  readonly missing: (id: string) => Fault;
  readonly updateMethod?: 'PUT' | 'PATCH';
  readonly createStatus?: number;
  /** Takes `{ "<collection>": [...] }` as well (Neutron): all are made or none. */
  readonly bulk?: boolean;
  /** What the list shows of each; Nova's plain lists are summaries. */
  readonly listView?: View;
  /** Query parameters of the list that `conditions` reads. */
  readonly ignore?: readonly string[];
  readonly conditions?: (call: Call) => readonly RawBuilder<SqlBool>[];
  /** Completes a new row from what was given, in the transaction that stores it; throws what speaks against it. */
  readonly creating: (given: Given<R>, context: RequestContext, tx: Tx) => Promise<NewRow<R>>;
  readonly created?: (row: R, context: RequestContext, tx: Tx) => Promise<R | void>;
  readonly updating?: (row: R, given: Given<R>, context: RequestContext, tx: Tx) => Promise<Given<R>>;
  readonly updated?: (row: R, before: R, context: RequestContext, tx: Tx) => Promise<R | void>;
  /** Throws what speaks against it; takes along what goes with it. The row itself is then removed. */
  readonly removing?: (row: R, context: RequestContext, tx: Tx) => Promise<void>;
  /** After the transaction of any change has been committed (wake-ups). */
  readonly committed?: () => void;
}

/** The operations list, show, create, update and delete, as far as `crud.policies` names them. */
export function crudOperations<R extends BaseRow>(crud: Crud<R>): Operation[] {
  const { store, convention, path, policies } = crud;
  const { resource } = store;
  const item = `${path}/:${resource.name}_id`;
  const idOf = (call: Call): string => call.params[`${resource.name}_id`] as string;
  const one = (row: R, context: RequestContext, view: View = 'detail') => ({
    [resource.name]: renderer<R>(resource, convention, context, view)(row),
  });
  const operations = [
    operation({
      method: 'GET',
      path,
      policy: policies.list,
      status: 200,
      summary: `List ${resource.collection}`,
      handle: (call) => list(crud, call),
    }),
    operation({
      method: 'GET',
      path: item,
      policy: policies.show,
      status: 200,
      summary: `Show a ${resource.name}`,
      handle: async (call) => {
        const row = await store.find(crud.db.query, idOf(call), (crud.shown ?? crud.visible)(call.context));
        if (row === undefined) throw crud.missing(idOf(call));
        const fields = convention.paging.fields ? [call.query.fields ?? []].flat() : [];
        return { [resource.name]: renderer<R>(resource, convention, call.context, 'detail', fields)(row) };
      },
    }),
  ];
  if (policies.create !== undefined) {
    operations.push(
      operation<Record<string, unknown>>({
        method: 'POST',
        path,
        policy: policies.create,
        status: crud.createStatus ?? 201,
        summary: `Create a ${resource.name}`,
        ...conversion(crud, 'create'),
        body: (version) =>
          bodySchema(resource, 'create', version, { bulk: crud.bulk === true, aliases: convention.aliases }),
        handle: async (call) => {
          const many = call.body[resource.collection] as Record<string, unknown>[] | undefined;
          const bodies = many ?? [call.body[resource.name] as Record<string, unknown>];
          const rows = await crud.db.transaction(async (tx) => {
            const made: R[] = [];
            for (const body of bodies) made.push(await createRow(crud, body, call.context, tx));
            return made;
          });
          crud.committed?.();
          if (many === undefined) return one(rows[0] as R, call.context);
          return { [resource.collection]: rows.map(renderer<R>(resource, convention, call.context, 'detail')) };
        },
      }),
    );
  }
  if (policies.update !== undefined) {
    const rule = policies.update;
    operations.push(
      operation<Record<string, unknown>>({
        method: crud.updateMethod ?? 'PUT',
        path: item,
        policy: rule,
        status: 200,
        summary: `Update a ${resource.name}`,
        ...conversion(crud, 'update'),
        body: (version) => bodySchema(resource, 'update', version, { aliases: convention.aliases }),
        handle: async (call) => {
          const body = call.body[resource.name] as Record<string, unknown>;
          if (resource.unknownAttributes === 'keep' && (body.id ?? idOf(call)) !== idOf(call)) {
            throw badRequest('Cannot change ID');
          }
          const row = await crud.db.transaction(async (tx) => {
            const before = await locked(crud, idOf(call), call, tx, rule);
            const given = keepingExtra(before, givenOf(crud, 'update', body, call.context));
            const patch = crud.updating === undefined ? given : await crud.updating(before, given, call.context, tx);
            const after = Object.keys(patch).length === 0 ? before : ((await store.update(tx, before.id, patch)) as R);
            return (await crud.updated?.(after, before, call.context, tx)) ?? after;
          });
          crud.committed?.();
          return one(row, call.context);
        },
      }),
    );
  }
  if (policies.remove !== undefined) {
    const rule = policies.remove;
    operations.push(
      operation({
        method: 'DELETE',
        path: item,
        policy: rule,
        status: 204,
        summary: `Delete a ${resource.name}`,
        handle: async (call) => {
          await crud.db.transaction(async (tx) => {
            const owned = crud.removable ?? crud.owned;
            const row = await locked({ ...crud, ...(owned && { owned }) }, idOf(call), call, tx, rule);
            await removeRow(crud, row, call.context, tx);
          });
          crud.committed?.();
        },
      }),
    );
  }
  const { target } = crud;
  return operations.map((op) => ({
    ...op,
    ...(target === undefined ? {} : { target }),
    ...(convention.hidesUnreadable ? { refused: (call: Call) => hidden(crud, op, call) } : {}),
  }));
}

/**
 * What is answered to whom the rule of an operation refuses, where what may not be read is not shown to be there.
 * @throws Fault 404 for what may not be read, 403 for what may be read and not changed
 */
async function hidden<R extends BaseRow>(crud: Crud<R>, op: Operation, call: Call): Promise<unknown> {
  const { policies, convention, store } = crud;
  if (op.method === 'GET' && op.path === crud.path) return { [store.resource.collection]: [] };
  if (op.policy === policies.create || call.context.allowed(policies.show.name)) {
    const id = call.params[`${store.resource.name}_id`];
    const seen = (crud.shown ?? crud.visible)(call.context);
    if (id !== undefined && (await store.find(crud.db.query, id, seen)) === undefined) throw crud.missing(id);
    throw convention.refusal(op.policy === 'none' ? '' : op.policy.name);
  }
  throw convention.unknownPath();
}

const conversion = <R extends BaseRow>({ convention, store }: Crud<R>, purpose: Purpose) =>
  convention.convertsValues ? { convert: (body: unknown) => converted(store.resource, purpose, body) } : {};

async function list<R extends BaseRow>(crud: Crud<R>, call: Call): Promise<unknown> {
  const { store, convention, path } = crud;
  const { resource } = store;
  const { context, query } = call;
  const visible = crud.visible(context);
  const listing = parseListing(resource, convention, context, query, {
    conditions: [...visible, ...(crud.conditions?.(call) ?? [])],
    visible,
    ...(crud.ignore === undefined ? {} : { ignore: crud.ignore }),
  });
  const rows = await store.page(crud.db.query, listing);
  if (rows === undefined) {
    const marker = listing.marker ?? '';
    throw convention.paging.links === 'neutron' ? crud.missing(marker) : unknownMarker(convention, marker);
  }
  const render = renderer<R>(resource, convention, context, crud.listView ?? 'detail', listing.fields);
  const ids = rows.map((row) => row.id);
  return listBody(resource, convention, context, listing, query, path, rows.map(render), ids);
}

/**
 * Makes one row in a transaction: field rules, the service's own part, storage. Also for callers outside HTTP.
 * @param body as a client would give it under the resource's name
 */
export async function createRow<R extends BaseRow>(
  crud: Crud<R>,
  body: Record<string, unknown>,
  context: RequestContext,
  tx: Tx,
): Promise<R> {
  const given = givenOf(crud, 'create', body, context);
  const row = await crud.store.insert(tx, { id: randomUUID(), ...(await crud.creating(given, context, tx)) });
  return (await crud.created?.(row, context, tx)) ?? row;
}

/** Takes one row away in a transaction, with what goes with it. Also for callers outside HTTP. */
export async function removeRow<R extends BaseRow>(
  crud: Crud<R>,
  row: R,
  context: RequestContext,
  tx: Tx,
): Promise<void> {
  await crud.removing?.(row, context, tx);
  await crud.store.remove(tx, row.id);
}

async function locked<R extends BaseRow>(
  crud: Crud<R>,
  id: string,
  { context, headers }: Pick<Call, 'context' | 'headers'>,
  tx: Tx,
  rule: PolicyRule,
): Promise<R> {
  const row = await crud.store.lock(tx, id, crud.visible(context));
  if (row === undefined) throw crud.missing(id);
  if (crud.owned !== undefined && !crud.owned(row, context)) throw crud.convention.refusal(rule.name);
  crud.convention.precondition?.(headers, (name) => shownValue(crud.store.resource, name, row, context));
  return row;
}

/**
 * The body's attributes under the description's keys, after aliases and the rules of single fields.
 * @throws Fault 403 for an attribute that this role may not set, 400 for two that contradict each other
 */
function givenOf<R extends BaseRow>(
  crud: Pick<Crud<R>, 'store' | 'convention'>,
  purpose: Purpose,
  body: Record<string, unknown>,
  context: RequestContext,
): Given<R> {
  const { resource } = crud.store;
  const given: Record<string, unknown> = {};
  for (const [key, f] of Object.entries(resource.fields)) {
    if (!isStored(f) || !takes(f, purpose, context.version)) continue;
    const name = apiName(key, f);
    const alias = crud.convention.aliases[name];
    const aliased = alias === undefined ? undefined : body[alias];
    const value = body[name] ?? aliased;
    if (value === undefined && body[name] === undefined) {
      if (purpose === 'create' && f.create === 'required') {
        throw badRequest(`Failed to parse request. Required attribute '${name}' not specified`, 'HTTPBadRequest');
      }
      continue;
    }
    if (aliased !== undefined && body[name] !== undefined && aliased !== body[name]) {
      throw badRequest(`'${name}' and '${alias}' do not match`, 'HTTPBadRequest');
    }
    if (f.settableBy !== undefined && !sameAsDefault(value, f.default)) {
      const rule = `${purpose}_${resource.name}:${name}`;
      if (!context.allowed(rule)) throw crud.convention.refusal(rule);
    }
    given[key] = value ?? null;
  }
  if (resource.unknownAttributes === 'keep') {
    const extra = extraOf(resource, body);
    if (Object.keys(extra).length > 0) given.extra = extra;
  }
  return given as Given<R>;
}

const EXTRA_MAX_CHARACTERS = 16_384;

/** The attributes that no field is named after: even those that may not be set here are not kept under their name. */
function extraOf(resource: Resource, body: Record<string, unknown>): Record<string, unknown> {
  const names = new Set([
    'id',
    'links',
    'extra',
    ...Object.entries(resource.fields).map(([key, f]) => apiName(key, f)),
  ]);
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !names.has(name)));
  if (JSON.stringify(extra).length > EXTRA_MAX_CHARACTERS)
    throw badRequest('There are too many additional attributes.');
  return extra;
}

/** An update names some additional attributes; the others stay. */
function keepingExtra<R extends BaseRow>(before: R, given: Given<R>): Given<R> {
  const { extra } = given as { extra?: object };
  return extra === undefined ? given : { ...given, extra: { ...(before as { extra?: object }).extra, ...extra } };
}

/** Saying what holds anyway needs no right: clients send whole objects back. */
function sameAsDefault(value: unknown, fallback: unknown): boolean {
  return fallback !== undefined && JSON.stringify(value) === JSON.stringify(fallback);
}

/** The condition that most services want: the caller's project, or everything for an admin. */
export function ownProjectOrAdmin(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  return context.identity.isAdmin ? [] : [sql<SqlBool>`project_id = ${context.identity.project?.id ?? '-'}`];
}
