/** Lists of servers: what may be filtered by, at which microversion and by whom; each is one query. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { badRequest, forbidden } from '../../http/fault.ts';
import { compute } from '../../http/conventions.ts';
import type { Call, Query, RequestContext } from '../../http/service.ts';
import { listBody, listBytes, parseListing, unknownMarker } from '../../resource/listing.ts';
import type { ServerDependencies } from './dependencies.ts';
import { hostStatuses } from './host-status.ts';
import { server, serverRenderings } from './resource.ts';
import { inner } from './rules.ts';
import { statesOf } from './state.ts';

type Condition = RawBuilder<SqlBool>;
type Make = (values: readonly string[]) => Condition;

interface Filter {
  readonly make: Make;
  readonly since?: number;
  /** From which microversion on everybody may use it; before, and where it is not said, only admins. */
  readonly open?: number;
}

const equals =
  (column: string): Make =>
  (values) =>
    values.length === 1
      ? sql<SqlBool>`${sql.ref(column)} = ${values[0]}`
      : sql<SqlBool>`${sql.ref(column)} = any(${[...values]})`;

/** Nova matches most texts as regular expressions; plain ones, which most are, need none. */
const matches = (expression: RawBuilder<unknown>): Make => {
  return ([pattern = '']) => {
    if (pattern.length > 255 || /\\\d|\(\?/.test(pattern)) throw badRequest('The filter is too complex.');
    return /[\\^$.|?*+()[\]{}]/.test(pattern)
      ? sql<SqlBool>`${expression} ~* ${pattern}`
      : sql<SqlBool>`position(lower(${pattern}) in lower(${expression})) > 0`;
  };
};
const column = (name: string): Make => matches(sql.ref(name));
const inBody = (key: string): Make => matches(sql`coalesce(body->>${sql.lit(key)}, '')`);

/** An address as a pattern, or a part of one: Nova's ip and ip6. */
const address =
  (version: 4 | 6): Make =>
  ([pattern = '']) => {
    const family = version === 4 ? sql<SqlBool>`position(':' in ip) = 0` : sql<SqlBool>`position(':' in ip) > 0`;
    if (/^[0-9a-f.:]+$/i.test(pattern) && /^(\d+\.){3}\d+$/.test(pattern)) {
      // A whole address is its own prefix's start: exact ones are found by containment, as a prefix by the pattern.
      return sql<SqlBool>`exists (select 1 from unnest(ips) as ip where ${family} and starts_with(ip, ${pattern}))`;
    }
    if (pattern.length > 255 || /\\\d|\(\?/.test(pattern)) throw badRequest('The filter is too complex.');
    return sql<SqlBool>`exists (select 1 from unnest(ips) as ip where ${family} and ip ~ ${pattern})`;
  };

const moment = (name: string, text: string): string => {
  // The database reads more forms than the API takes; this one is ISO 8601, with or without a zone.
  if (
    !/^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(Z|[+ -]\d\d:?\d\d)?$/.test(text) ||
    Number.isNaN(Date.parse(text.replace(' ', text.includes('T') ? '+' : 'T')))
  ) {
    throw badRequest(
      `Invalid input for query parameters ${name}. Value: ${text.slice(0, 64)}. '${text.slice(0, 64)}' is not a 'date-time'`,
    );
  }
  return text.includes('T') ? text.replace(' ', '+') : text;
};

const integer =
  (name: string): Make =>
  ([text = '']) => {
    if (!/^\d{1,9}$/.test(text)) throw badRequest(`Invalid filter field: ${name}.`);
    return sql<SqlBool>`${sql.ref(name)} = ${Number(text)}`;
  };

/** Also a server that boots from a volume, and for which the image was named all the same. */
const ofImage: Make = (values) =>
  sql<SqlBool>`(image_id = any(${[...values]}) or body->>'image_ref' = any(${[...values]}))`;

const tagList = (values: readonly string[]): string[] => values.flatMap((value) => value.split(',')).slice(0, 64);
const FILTERS: Readonly<Record<string, Filter>> = {
  name: { make: column('name'), open: 1 },
  display_name: { make: column('name') },
  reservation_id: { make: equals('reservation_id'), open: 1 },
  image: { make: ofImage, open: 1 },
  image_ref: { make: ofImage },
  flavor: { make: equals('flavor_id'), open: 1 },
  ip: { make: address(4), open: 1 },
  ip6: { make: address(6), open: 5 },
  'changes-since': {
    make: ([text = '']) => sql<SqlBool>`updated_at >= ${moment('changes-since', text)}::timestamptz`,
    open: 1,
  },
  'changes-before': {
    make: ([text = '']) => sql<SqlBool>`updated_at <= ${moment('changes-before', text)}::timestamptz`,
    since: 66,
    open: 66,
  },
  tags: { make: (values) => sql<SqlBool>`tags @> ${tagList(values)}::text[]`, since: 26, open: 26 },
  'tags-any': { make: (values) => sql<SqlBool>`tags && ${tagList(values)}::text[]`, since: 26, open: 26 },
  'not-tags': { make: (values) => sql<SqlBool>`not tags @> ${tagList(values)}::text[]`, since: 26, open: 26 },
  'not-tags-any': { make: (values) => sql<SqlBool>`not tags && ${tagList(values)}::text[]`, since: 26, open: 26 },
  locked: { make: ([text = '']) => lockedIs(text), since: 73, open: 73 },
  availability_zone: { make: equals('zone'), open: 83 },
  key_name: { make: equals('key_name'), open: 83 },
  config_drive: {
    make: ([text = '']) => sql<SqlBool>`body->>'config_drive' = ${/^(true|1|yes|on)$/i.test(text) ? 'True' : ''}`,
    open: 83,
  },
  created_at: { make: matches(sql`created_at::text`), open: 83 },
  launched_at: { make: matches(sql`coalesce(launched_at::text, '')`), open: 83 },
  terminated_at: { make: matches(sql`coalesce(terminated_at::text, '')`), open: 83 },
  power_state: { make: integer('power_state'), open: 83 },
  task_state: { make: equals('task_state'), open: 83 },
  vm_state: { make: equals('vm_state'), open: 83 },
  progress: { make: ([text = '']) => sql<SqlBool>`coalesce(body->>'percent', '0') = ${text}`, open: 83 },
  user_id: { make: equals('user_id'), open: 83 },
  hostname: { make: column('hostname'), open: 90 },
  host: { make: equals('child') },
  node: { make: equals('child') },
  uuid: { make: equals('id') },
  description: { make: inBody('description') },
  display_description: { make: inBody('description') },
  launch_index: { make: ([text = '']) => sql<SqlBool>`coalesce(body->>'launch_index', '0') = ${text}` },
  root_device_name: { make: inBody('root_device_name') },
  access_ip_v4: { make: inBody('access_ip_v4') },
  access_ip_v6: { make: inBody('access_ip_v6') },
};

/** Known to Nova, without anything here that they could narrow. */
const WITHOUT_EFFECT = new Set(['kernel_id', 'ramdisk_id', 'locked_by', 'auto_disk_config', 'soft_deleted']);
const REFUSED = new Set([
  'block_device_mapping',
  'services',
  'metadata',
  'system_metadata',
  'info_cache',
  'security_groups',
  'pci_devices',
]);
const OURS = new Set([
  'all_tenants',
  'project_id',
  'tenant_id',
  'deleted',
  'status',
  'limit',
  'marker',
  'sort_key',
  'sort_dir',
]);

const SORT_KEYS: Readonly<Record<string, string>> = {
  display_name: 'name',
  uuid: 'id',
  created_at: 'created_at',
  updated_at: 'updated_at',
  availability_zone: 'zone',
  hostname: 'hostname',
  image_ref: 'image_id',
  instance_type_id: 'flavor_id',
  key_name: 'key_name',
  power_state: 'power_state',
  project_id: 'project_id',
  user_id: 'user_id',
  vm_state: 'vm_state',
};
/** Sortable in Nova; here they would need an index each for what nobody sorts by, and the usual order is kept instead. */
const UNSORTED = new Set(
  `access_ip_v4 access_ip_v6 auto_disk_config config_drive display_description host kernel_id
   launch_index launched_at locked_by node progress ramdisk_id root_device_name task_state
   terminated_at architecture cell_name cleaned default_ephemeral_device default_swap_device deleted
   deleted_at disable_terminate ephemeral_gb ephemeral_key_uuid id key_data launched_on memory_mb
   os_type reservation_id root_gb shutdown_terminate user_data vcpus vm_mode locked`.split(/\s+/),
);

const lockedIs = (text: string): Condition => {
  if (!/^(true|1|yes|on|t|y|false|0|no|off|f|n)$/i.test(text))
    throw badRequest(
      `Unrecognized value '${text.slice(0, 64)}', acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'`,
    );
  return sql<SqlBool>`locked = ${/^(true|1|yes|on|t|y)$/i.test(text)}`;
};

const END = Buffer.from('}');

/** Answers `GET /servers` and `/servers/detail`. */
export async function listServers(
  dependencies: ServerDependencies,
  call: Call,
  view: 'summary' | 'detail',
): Promise<unknown> {
  const { context, query } = call;
  const path = view === 'summary' ? '/servers' : '/servers/detail';
  const conditions = conditionsOf(context, query, view);
  const paging = pagingOf(context, query);
  const listing = parseListing(server, compute, context, paging, { conditions: conditions ?? [] });
  const found =
    conditions === undefined
      ? { shown: [], ids: [] }
      : await serverRenderings.page(dependencies.db.query, listing, context, view, { child: sql.ref('child') });
  if (found === undefined) throw unknownMarker(compute, listing.marker ?? '');
  const withStatus = view === 'detail' && context.version >= 16 && context.allowed(inner.hostStatus.name);
  const statusOf = withStatus ? await hostStatuses(dependencies) : undefined;
  const items = found.shown.map(({ open, live }) =>
    statusOf === undefined ? [open, END] : [open, `,"host_status":"${statusOf(live.child as string | null)}"}`],
  );
  return listBytes(server, listBody(server, compute, context, listing, query, path, items, found.ids), items);
}

/** What narrows the list; undefined where nothing can fit. */
function conditionsOf(context: RequestContext, query: Query, view: string): Condition[] | undefined {
  const conditions: Condition[] = [];
  const mayAll = context.allowed(inner.allFilters.name);
  const allTenants = isAllTenants(query, context, view);
  for (const [name, given] of Object.entries(query)) {
    if (REFUSED.has(name) || name.startsWith('_')) {
      if (mayAll) throw badRequest(`Invalid filter field: ${name.slice(0, 64)}.`);
      continue;
    }
    const filter = FILTERS[name];
    const known =
      (filter !== undefined && context.version >= (filter.since ?? 0)) || OURS.has(name) || WITHOUT_EFFECT.has(name);
    if (!known && context.version >= 75) {
      throw badRequest(
        `Invalid input for query parameters ${name.slice(0, 64)}. Additional properties are not allowed ('${name.slice(0, 64)}' was unexpected)`,
      );
    }
    if (filter === undefined || context.version < (filter.since ?? 0)) continue;
    if (!mayAll && context.version < (filter.open ?? Number.MAX_SAFE_INTEGER)) continue;
    conditions.push(filter.make([given].flat()));
  }
  const states = query.status === undefined ? undefined : statesOf([query.status].flat());
  if (query.status !== undefined && states === undefined) {
    if (context.version >= 38) throw badRequest('Invalid status value');
    return undefined;
  }
  const onlyDeleted = states?.vm_states.length === 1 && states.vm_states[0] === 'deleted';
  if (onlyDeleted && !context.identity.isAdmin) throw forbidden('Only administrators may list deleted instances');
  if (states !== undefined) {
    conditions.push(sql<SqlBool>`vm_state = any(${states.vm_states})`);
    if (states.task_states !== undefined) conditions.push(sql<SqlBool>`task_state = any(${states.task_states})`);
  }
  const deleted = deletedCondition(query, mayAll, onlyDeleted);
  if (deleted !== undefined) conditions.push(deleted);
  const project = context.identity.project?.id;
  if (!allTenants) {
    conditions.push(
      project === undefined
        ? sql<SqlBool>`user_id = ${context.identity.user.id}`
        : sql<SqlBool>`project_id = ${project}`,
    );
  } else {
    const wanted = [query.project_id ?? query.tenant_id ?? []].flat();
    if (wanted.length > 0) conditions.push(equals('project_id')(wanted));
  }
  return conditions;
}

function isAllTenants(query: Query, context: RequestContext, view: string): boolean {
  if (query.all_tenants === undefined) return false;
  const text = [query.all_tenants].flat()[0] ?? '';
  if (!/^(|true|1|yes|on|t|y|false|0|no|off|f|n)$/i.test(text)) {
    throw badRequest(`Invalid input received: Unrecognized value '${text.slice(0, 64)}'`);
  }
  if (/^(false|0|no|off|f|n)$/i.test(text)) return false;
  context.enforce((view === 'summary' ? inner.allTenantsIndex : inner.allTenantsDetail).name);
  return true;
}

function deletedCondition(query: Query, mayAll: boolean, onlyDeleted: boolean): Condition | undefined {
  if (onlyDeleted) return sql<SqlBool>`deleted_at is not null`;
  if (mayAll && query.deleted !== undefined) {
    return /^(true|1|yes|on|t|y)$/i.test([query.deleted].flat()[0] ?? '')
      ? sql<SqlBool>`deleted_at is not null`
      : sql<SqlBool>`deleted_at is null`;
  }
  // Who asks for changes wants to hear of deletions too.
  if (query['changes-since'] !== undefined || query['changes-before'] !== undefined) return undefined;
  return sql<SqlBool>`deleted_at is null`;
}

/** Paging and sorting, in the names that the kernel knows. */
function pagingOf(context: RequestContext, query: Query): Query {
  const { limit, marker, sort_dir } = query;
  const keys: string[] = [];
  for (const key of [query.sort_key ?? []].flat()) {
    const known = SORT_KEYS[key] ?? (key === 'locked' && context.version >= 73 ? 'locked' : undefined);
    if (known !== undefined) keys.push(known);
    else if (!UNSORTED.has(key)) {
      throw badRequest(`Invalid input for query parameters sort_key. Value: ${key.slice(0, 64)}.`);
    }
  }
  return {
    ...(limit === undefined ? {} : { limit }),
    ...(marker === undefined ? {} : { marker }),
    ...(keys.length === 0 ? {} : { sort_key: keys }),
    ...(sort_dir === undefined || keys.length === 0 ? {} : { sort_dir }),
  };
}
