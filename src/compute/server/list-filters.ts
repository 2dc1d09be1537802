/** What lists of servers may be filtered and sorted by, at which microversion and by whom. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { TSchema } from 'typebox';
import { badRequest } from '../../http/fault.ts';
import { isotime } from '../../http/validation.ts';
import { ANY_TEXT, MOMENT, PAGING_PARAMETERS, PATTERN, queryParameters } from '../links.ts';

type Condition = RawBuilder<SqlBool>;

export interface Filter {
  /** Of the last of the values that were given, as Nova takes it. */
  readonly make: (value: string) => Condition;
  /** From which microversion on there is such a filter. */
  readonly since?: number;
  /** From which microversion on everybody may use it; before, and where it is not said, only admins. */
  readonly open?: number;
  /** What Nova's schema asks of the value. */
  readonly schema?: object;
}

const PATTERN_MAX = 255;
/** Words of oslo.utils for texts that are no truth values. */
const BOOLEANS = "'0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'";

/** A truth value as oslo.utils reads it. @throws Fault 400 for what is none */
export function truth(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (/^(true|1|yes|on|t|y)$/.test(word)) return true;
  if (/^(false|0|no|off|f|n)$/.test(word)) return false;
  throw badRequest(`Unrecognized value '${text.slice(0, 64)}', acceptable values are: ${BOOLEANS}`);
}

const equals =
  (column: string): Filter['make'] =>
  (value) =>
    sql<SqlBool>`${sql.ref(column)} = ${value}`;

/** Nova matches most texts as regular expressions; plain ones, which most are, need none. */
const matches = (expression: RawBuilder<unknown>): Filter['make'] => {
  return (given) => {
    if (given.length > PATTERN_MAX || /\\\d|\(\?/.test(given)) throw badRequest('The filter is too complex.');
    // An OR is none to Nova: what stands on both sides of it, and itself, is looked for.
    const pattern = given.replaceAll('|', '\\|');
    return /[\\^$.?*+()[\]{}]/.test(pattern)
      ? sql<SqlBool>`${expression} ~* ${pattern}`
      : sql<SqlBool>`position(lower(${pattern}) in lower(${expression})) > 0`;
  };
};
const column = (name: string): Filter => ({ make: matches(sql.ref(name)), schema: PATTERN });
const inBody = (key: string): Filter => ({
  make: matches(sql`coalesce(body->>${sql.lit(key)}, '')`),
  schema: PATTERN,
});
const moments = (name: string): Filter => ({
  make: matches(sql`coalesce(to_char(${sql.ref(name)} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'), '')`),
  schema: PATTERN,
});
const changed = (sign: '>=' | '<='): Filter['make'] => {
  return (text) => sql<SqlBool>`updated_at ${sql.raw(sign)} ${isotime(text)}::timestamptz`;
};

/** Part of an address, as Neutron looks for it; where it can be none, a pattern. */
const address =
  (version: 4 | 6): Filter['make'] =>
  (pattern) => {
    const family = version === 4 ? sql<SqlBool>`position(':' in ip) = 0` : sql<SqlBool>`position(':' in ip) > 0`;
    if (/^[0-9a-f.:]*$/i.test(pattern)) {
      return sql<SqlBool>`exists (select 1 from unnest(ips) as ip where ${family} and position(${pattern} in ip) > 0)`;
    }
    if (pattern.length > PATTERN_MAX || /\\\d|\(\?/.test(pattern)) throw badRequest('The filter is too complex.');
    return sql<SqlBool>`exists (select 1 from unnest(ips) as ip where ${family} and ip ~ ${pattern})`;
  };

/** Also a server that boots from a volume, and for which the image was named all the same. */
const ofImage: Filter['make'] = (value) => sql<SqlBool>`(image_id = ${value} or body->>'image_ref' = ${value})`;

const tagList = (value: string): string[] => value.split(',').slice(0, 64);
const tagged = (condition: (tags: string[]) => Condition): Filter => ({
  make: (value) => condition(tagList(value)),
  since: 26,
  open: 26,
  schema: PATTERN,
});

export const FILTERS: Readonly<Record<string, Filter>> = {
  name: { ...column('name'), open: 1 },
  display_name: column('name'),
  reservation_id: { ...column('reservation_id'), open: 1 },
  image: { make: ofImage, open: 1 },
  image_ref: { make: ofImage },
  flavor: { make: equals('flavor_id'), open: 1, schema: PATTERN },
  ip: { make: address(4), open: 1, schema: PATTERN },
  ip6: { make: address(6), open: 5, schema: PATTERN },
  'changes-since': { make: changed('>='), open: 1, schema: MOMENT },
  'changes-before': { make: changed('<='), since: 66, open: 66, schema: MOMENT },
  tags: tagged((tags) => sql<SqlBool>`tags @> ${tags}::text[]`),
  'tags-any': tagged((tags) => sql<SqlBool>`tags && ${tags}::text[]`),
  'not-tags': tagged((tags) => sql<SqlBool>`not tags @> ${tags}::text[]`),
  'not-tags-any': tagged((tags) => sql<SqlBool>`not tags && ${tags}::text[]`),
  locked: { make: (text) => sql<SqlBool>`locked = ${truth(text)}`, since: 73, open: 73 },
  availability_zone: { ...column('zone'), open: 83 },
  key_name: { ...column('key_name'), open: 83 },
  config_drive: {
    make: (text) =>
      /^(true|1|yes|on)$/i.test(text)
        ? sql<SqlBool>`body->>'config_drive' = 'True'`
        : inBody('config_drive').make(text),
    open: 83,
    schema: PATTERN,
  },
  created_at: { ...moments('created_at'), open: 83 },
  launched_at: { ...moments('launched_at'), open: 83 },
  terminated_at: { ...moments('terminated_at'), open: 83 },
  power_state: { make: matches(sql`power_state::text`), open: 83, schema: PATTERN },
  task_state: { make: equals('task_state'), open: 83 },
  vm_state: { make: equals('vm_state'), open: 83 },
  progress: { make: matches(sql`coalesce(body->>'percent', '0')`), open: 83, schema: PATTERN },
  user_id: { make: equals('user_id'), open: 83 },
  hostname: { ...column('hostname'), open: 90 },
  host: { make: equals('child') },
  node: { make: matches(sql`coalesce(child, '')`), schema: PATTERN },
  uuid: { make: equals('id') },
  description: inBody('description'),
  display_description: inBody('description'),
  launch_index: { make: matches(sql`coalesce(body->>'launch_index', '0')`) },
  root_device_name: inBody('root_device_name'),
  access_ip_v4: inBody('access_ip_v4'),
  access_ip_v6: inBody('access_ip_v6'),
};

/** Known to Nova, without anything here that they could narrow. */
const WITHOUT_EFFECT = ['kernel_id', 'ramdisk_id', 'locked_by', 'auto_disk_config'];
/** Tables that Nova joins: filters that may be named, but not by whoever may use them. */
export const REFUSED: ReadonlySet<string> = new Set([
  'block_device_mapping',
  'services',
  'metadata',
  'system_metadata',
  'info_cache',
  'security_groups',
  'pci_devices',
]);
const OURS = ['soft_deleted', 'all_tenants', 'project_id', 'tenant_id', 'deleted', 'status', 'sort_dir'];

/**
 * Nova's names of what servers are sorted by, as fields of ours. Few have an index: within a project any is sorted by
 * soon enough (docs/decisions/2026-11-28-sorting-without-an-index.md).
 */
export const SORT_KEYS: Readonly<Record<string, string>> = {
  display_name: 'name',
  uuid: 'id',
  created_at: 'created_at',
  updated_at: 'updated_at',
  access_ip_v4: 'access_ip_v4',
  access_ip_v6: 'access_ip_v6',
  auto_disk_config: 'disk_config',
  availability_zone: 'zone',
  config_drive: 'config_drive',
  display_description: 'description',
  host: 'child',
  hostname: 'hostname',
  image_ref: 'image_id',
  instance_type_id: 'flavor_id',
  // No server has either, so that only the id tells one from another.
  kernel_id: 'id',
  ramdisk_id: 'id',
  key_name: 'key_name',
  launch_index: 'launch_index',
  launched_at: 'launched_at',
  locked: 'locked',
  locked_by: 'locked_by',
  node: 'child',
  power_state: 'power_state',
  progress: 'percent',
  project_id: 'project_id',
  root_device_name: 'root_device_name',
  task_state: 'task_state',
  terminated_at: 'terminated_at',
  user_id: 'user_id',
  vm_state: 'vm_state',
};
/** Sorted by in Nova, by administrators alone. */
export const ADMIN_SORT_KEYS: ReadonlySet<string> = new Set(['host', 'node']);
/** What Nova passes over, and refuses from 2.75 on. */
const PASSED_OVER = `architecture cell_name cleaned default_ephemeral_device default_swap_device deleted deleted_at
   disable_terminate ephemeral_gb ephemeral_key_uuid id key_data launched_on memory_mb os_type reservation_id root_gb
   shutdown_terminate user_data vcpus vm_mode`.split(/\s+/);

/** Whether Nova passes over a sort key. */
export const isPassedOver = (key: string, version: number): boolean =>
  PASSED_OVER.includes(key) || (key === 'locked' && version < LOCKED_SINCE);

/** Since when a sort key may be `locked`, and since when nothing unknown may stand in a query. */
const LOCKED_SINCE = 73;
const STRICT_SINCE = 75;

const schemas = new Map<string, TSchema>();

/** The query of a list of servers at a microversion. */
export function listQuery(version: number): TSchema {
  const stage = [26, 66, LOCKED_SINCE, STRICT_SINCE].filter((since) => version >= since).length;
  const known = schemas.get(String(stage));
  if (known !== undefined) return known;
  const filters = Object.entries(FILTERS).flatMap(([name, { since = 0, schema = ANY_TEXT }]) =>
    version >= since ? [[name, schema] as const] : [],
  );
  const plain = [...REFUSED, ...OURS].map((name) => [name, ANY_TEXT] as const);
  const patterns = WITHOUT_EFFECT.map((name) => [name, PATTERN] as const);
  const { locked: _locked, ...always } = SORT_KEYS;
  const keys = [
    ...Object.keys(version >= LOCKED_SINCE ? SORT_KEYS : always),
    ...(version >= STRICT_SINCE ? [] : PASSED_OVER),
    ...(version < LOCKED_SINCE ? ['locked'] : []),
  ];
  const schema = queryParameters({
    ...Object.fromEntries([...filters, ...plain, ...patterns]),
    ...PAGING_PARAMETERS,
    sort_key: { type: 'string', enum: keys },
  })(version);
  // What begins with an underscore is refused in other words.
  const open = { ...schema, patternProperties: { '^_': {} } } as TSchema;
  schemas.set(String(stage), open);
  return open;
}
