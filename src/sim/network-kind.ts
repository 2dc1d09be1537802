/** What every Neutron collection does alike: bulk create, filters, fields, sorting, paging, tags, revisions, quotas. */
import { type Call, type Reply, route, type Service } from './http.ts';
import {
  isRow,
  isTrue,
  type Json,
  newId,
  nowInSeconds_ms,
  type Row,
  rowOf,
  seconds,
  SimFault,
  textOf,
  textsOf,
  type World,
} from './world.ts';

export interface Kind {
  readonly singular: string;
  readonly plural: string;
  /** Where that is not the plural's. */
  readonly path?: string;
  /** Neutron's name of the collection in its fault types (`Network` of NetworkNotFound). */
  readonly missing: (id: string) => SimFault;
  readonly rows: Map<string, Row>;
  readonly creatable: readonly string[];
  readonly updatable: readonly string[];
  readonly required: readonly string[];
  readonly isQuotaed: boolean;
  readonly isTagged: boolean;
  /** True where a project that does not own it may see it (shared, external). */
  readonly isOpenTo?: (row: Row, projectId: string) => boolean;
  /** Fields that are worked out when shown. */
  readonly view?: (row: Row, call: Call) => Row;
  readonly beforeList?: (call: Call) => void;
  readonly create: (call: Call, given: Row, projectId: string) => Row;
  readonly update: (call: Call, row: Row, given: Row) => void;
  readonly remove: (call: Call, row: Row) => void;
}

export const default_network_quota: Readonly<Record<string, number>> = {
  network: 100,
  subnet: 100,
  subnetpool: -1,
  port: 500,
  router: 10,
  floatingip: 50,
  rbac_policy: 10,
  trunk: -1,
  security_group: 10,
  security_group_rule: 100,
};

/** Counts a change of the row as Neutron does: one revision more, a new time. */
export function touch(row: Row): void {
  row['revision_number'] = Number(row['revision_number'] ?? 0) + 1;
  row['updated_at'] = seconds(Date.now());
}

/** The fields that every object has. */
export function standardFields(projectId: string, given: Row): Row {
  const at = seconds(nowInSeconds_ms());
  return {
    id: newId(),
    name: textOf(given['name']),
    description: textOf(given['description']),
    tenant_id: projectId,
    project_id: projectId,
    tags: textsOf(given['tags']),
    created_at: at,
    updated_at: at,
    revision_number: 0,
  };
}

const controls = new Set(['fields', 'limit', 'marker', 'page_reverse', 'sort_key', 'sort_dir']);
const tag_filters = new Set(['tags', 'tags-any', 'not-tags', 'not-tags-any']);
// Neutron's filter validation refuses these even though every object shows them.
const unfilterable = new Set(['created_at', 'updated_at', 'dns_assignment', 'binding:vif_details', 'binding:profile']);

function fits(value: Json | undefined, wanted: string): boolean {
  if (Array.isArray(value)) {
    const [key = '', inner] = wanted.split(/=(.*)/s);
    return value.some((one) =>
      isRow(one) ? inner !== undefined && String(one[key]) === inner : String(one) === wanted,
    );
  }
  if (typeof value === 'boolean') return value === isTrue(wanted);
  if (value === null || value === undefined) return wanted === '' || wanted === 'None';
  return String(value) === wanted;
}

function fitsTags(row: Row, filter: string, value: string): boolean {
  const tags = textsOf(row['tags']);
  const wanted = value.split(',');
  const all = wanted.every((one) => tags.includes(one));
  const any = wanted.some((one) => tags.includes(one));
  if (filter === 'tags') return all;
  if (filter === 'tags-any') return any;
  return filter === 'not-tags' ? !all : !any;
}

/** All lists keep to one order where none is asked for, as MySQL's primary key gives it. */
function ordered(call: Call, rows: Row[]): Row[] {
  const keys = call.query.getAll('sort_key');
  const directions = call.query.getAll('sort_dir');
  if (keys.length !== directions.length) {
    throw new SimFault(400, 'The number of sort_keys and sort_dirs must be same');
  }
  const byField = (left: Row, right: Row): number => {
    for (const [index, key] of [...keys, 'id'].entries()) {
      const [one, other] = [String(left[key] ?? ''), String(right[key] ?? '')];
      if (one !== other) return (one < other ? -1 : 1) * (directions[index] === 'desc' ? -1 : 1);
    }
    return 0;
  };
  return rows.sort(byField);
}

function readLimit(call: Call): number {
  const text = call.query.get('limit');
  if (text === null) return 0;
  if (!/^\d+$/.test(text)) {
    throw new SimFault(
      400,
      `Bad limit request: Limit must be an integer 0 or greater and not '${text}'.`,
      'BadRequest',
    );
  }
  return Number(text);
}

const pick = (row: Row, fields: readonly string[]): Row =>
  fields.length === 0 ? row : Object.fromEntries(Object.entries(row).filter(([key]) => fields.includes(key)));

function list(world: World, kind: Kind, path: string, call: Call): Reply {
  kind.beforeList?.(call);
  const views = [...kind.rows.values()]
    .filter((row) => maySee(kind, call, row))
    .map((row) => kind.view?.(row, call) ?? row);
  const known = new Set([...kind.creatable, ...Object.keys(views[0] ?? {}), 'id', 'status', 'project_id', 'tenant_id']);
  const names = [...new Set(call.query.keys())].filter((name) => !controls.has(name));
  const wrong = names.find((name) => !tag_filters.has(name) && (!known.has(name) || unfilterable.has(name)));
  if (wrong !== undefined) throw new SimFault(400, `['${wrong}'] is invalid attribute for filtering`);
  let rows = views.filter((row) =>
    names.every((name) => {
      const values = call.query.getAll(name);
      if (tag_filters.has(name)) return values.every((value) => fitsTags(row, name, value));
      return values.some((value) => fits(row[name], value));
    }),
  );
  rows = ordered(call, rows);
  const limit = readLimit(call);
  const marker = call.query.get('marker');
  const isReverse = isTrue(call.query.get('page_reverse') ?? '');
  if (isReverse) rows.reverse();
  if (marker !== null && limit > 0) {
    const at = rows.findIndex((row) => row['id'] === marker);
    if (at < 0) throw kind.missing(marker);
    rows = rows.slice(at + 1);
  }
  const page = limit > 0 ? rows.slice(0, limit) : rows;
  if (isReverse) page.reverse();
  const body: Row = { [kind.plural]: page.map((row) => pick(row, call.query.getAll('fields'))) };
  if (limit > 0) body[`${kind.plural}_links`] = links(world, path, call, page, rows.length > page.length);
  return { status: 200, body };
}

function links(world: World, path: string, call: Call, page: readonly Row[], hasMore: boolean): Json {
  const link = (rel: string, id: Json | undefined, isReverse: boolean): Row => {
    const query = new URLSearchParams(call.query);
    query.delete('marker');
    query.delete('page_reverse');
    if (id !== undefined) query.set('marker', String(id));
    if (isReverse) query.set('page_reverse', 'True');
    return { rel, href: `${world.root()}/network/v2.0${path}?${query}` };
  };
  const next = hasMore ? [link('next', page.at(-1)?.['id'], false)] : [];
  return [...next, link('previous', page[0]?.['id'], true)];
}

function maySee(kind: Kind, call: Call, row: Row): boolean {
  return call.isAdmin || row['project_id'] === call.projectId || (kind.isOpenTo?.(row, call.projectId) ?? false);
}

function obtain(kind: Kind, call: Call, isChange: boolean): Row {
  const id = call.params['id'] ?? '';
  const row = kind.rows.get(id);
  if (row === undefined || !maySee(kind, call, row)) throw kind.missing(id);
  if (isChange && !call.isAdmin && row['project_id'] !== call.projectId) throw kind.missing(id);
  return row;
}

function checkAttributes(given: Row, allowed: readonly string[]): void {
  const unknown = Object.keys(given).filter((key) => !allowed.includes(key));
  if (unknown.length > 0) throw new SimFault(400, `Unrecognized attribute(s) '${unknown.join(', ')}'`);
}

function checkQuota(world: World, kind: Kind, projectId: string, wanted: number): void {
  if (!kind.isQuotaed) return;
  const limit = world.state.networkQuotas.get(projectId)?.[kind.singular] ?? default_network_quota[kind.singular] ?? -1;
  const used = [...kind.rows.values()].filter((row) => row['project_id'] === projectId).length;
  if (limit >= 0 && used + wanted > limit) {
    throw new SimFault(409, `Quota exceeded for resources: ['${kind.singular}'].`, 'OverQuota');
  }
}

const owner_fields = ['tenant_id', 'project_id'];

function create(world: World, kind: Kind, call: Call): Reply {
  const body = rowOf(call.body);
  const bulk = body[kind.plural];
  const single = body[kind.singular];
  const given = Array.isArray(bulk) ? bulk.map(rowOf) : isRow(single) ? [single] : undefined;
  if (given === undefined) throw new SimFault(400, `Unable to find '${kind.singular}' in request body`);
  for (const one of given) {
    const lacking = kind.required.find((name) => one[name] === undefined);
    if (lacking !== undefined) {
      throw new SimFault(400, `Failed to parse request. Required attribute '${lacking}' not specified`);
    }
    checkAttributes(one, [...kind.creatable, ...owner_fields]);
  }
  const made: Row[] = [];
  try {
    for (const one of given) {
      const asked = textOf(one['project_id'] ?? one['tenant_id']);
      if (asked !== '' && asked !== call.projectId && !call.isAdmin) {
        throw new SimFault(403, `(rule:create_${kind.singular}) is disallowed by policy`, 'PolicyNotAuthorized');
      }
      const projectId = asked || call.projectId;
      checkQuota(world, kind, projectId, 1);
      const row = kind.create(call, one, projectId);
      kind.rows.set(textOf(row['id']), row);
      made.push(row);
    }
  } catch (error) {
    // A bulk create is all or nothing.
    for (const row of made) {
      kind.remove(call, row);
      kind.rows.delete(textOf(row['id']));
    }
    throw error;
  }
  const views = made.map((row) => kind.view?.(row, call) ?? row);
  return { status: 201, body: Array.isArray(bulk) ? { [kind.plural]: views } : { [kind.singular]: views[0] ?? null } };
}

function update(kind: Kind, call: Call): Reply {
  const given = rowOf(call.body)[kind.singular];
  if (!isRow(given)) throw new SimFault(400, `Unable to find '${kind.singular}' in request body`);
  for (const key of Object.keys(given)) {
    if (kind.updatable.includes(key)) continue;
    const isKnown = kind.creatable.includes(key) || ['id', 'status', ...owner_fields].includes(key);
    throw new SimFault(
      400,
      isKnown ? `Cannot update read-only attribute ${key}` : `Unrecognized attribute(s) '${key}'`,
    );
  }
  const row = obtain(kind, call, true);
  kind.update(call, row, given);
  touch(row);
  return { status: 200, body: { [kind.singular]: kind.view?.(row, call) ?? row } };
}

/** Registers list, show, create, update, delete and tags of one collection. */
export function addKind(world: World, service: Service, kind: Kind): void {
  const path = kind.path ?? `/${kind.plural.replaceAll('_', '-')}`;
  route(service, 'GET', path, (call) => list(world, kind, path, call));
  route(service, 'POST', path, (call) => create(world, kind, call));
  route(service, 'GET', `${path}/:id`, (call) => {
    const row = obtain(kind, call, false);
    return { status: 200, body: { [kind.singular]: pick(kind.view?.(row, call) ?? row, call.query.getAll('fields')) } };
  });
  route(service, 'PUT', `${path}/:id`, (call) => update(kind, call));
  route(service, 'DELETE', `${path}/:id`, (call) => {
    const row = obtain(kind, call, true);
    kind.remove(call, row);
    kind.rows.delete(textOf(row['id']));
    return { status: 204 };
  });
  if (kind.isTagged) addTags(service, kind, path);
}

function addTags(service: Service, kind: Kind, path: string): void {
  const change = (call: Call, turn: (tags: string[]) => string[], status: number): Reply => {
    const row = obtain(kind, call, true);
    row['tags'] = [...new Set(turn(textsOf(row['tags'])))];
    touch(row);
    return status === 200 ? { status, body: { tags: row['tags'] } } : { status };
  };
  route(service, 'GET', `${path}/:id/tags`, (call) => ({
    status: 200,
    body: { tags: obtain(kind, call, false)['tags'] ?? [] },
  }));
  route(service, 'PUT', `${path}/:id/tags`, (call) => change(call, () => textsOf(rowOf(call.body)['tags']), 200));
  route(service, 'DELETE', `${path}/:id/tags`, (call) => change(call, () => [], 204));
  route(service, 'PUT', `${path}/:id/tags/:tag`, (call) =>
    change(call, (tags) => [...tags, call.params['tag'] ?? ''], 201),
  );
  route(service, 'DELETE', `${path}/:id/tags/:tag`, (call) =>
    change(call, (tags) => tags.filter((one) => one !== call.params['tag']), 204),
  );
}
