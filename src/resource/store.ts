/**
 * Rows of a resource in PostgreSQL: fields with columns in their columns, the rest in one `jsonb`. All writes go
 * through a transaction that the caller owns, so that a request stays one transaction.
 */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import type { BaseRow, Resource, Row } from './resource.ts';

/** A new row: base columns are filled in where not given. */
export type NewRow<R> = Partial<BaseRow> & Omit<R, keyof BaseRow>;

export interface Page {
  readonly conditions: readonly RawBuilder<SqlBool>[];
  /** Keys of columns; `id` is added at the end as a tie-break. */
  readonly sort: readonly (readonly [string, 'asc' | 'desc'])[];
  readonly limit: number;
  /** Id of the row after which the page begins. */
  readonly marker?: string | undefined;
  /** What the caller may see at all. A marker that names anything else is unknown, or it would tell that it is there. */
  readonly markerAmong?: readonly RawBuilder<SqlBool>[];
  /** Neutron's page_reverse: the page before the marker. */
  readonly reverse?: boolean;
}

/** Values read beside a row's version, by the names they get. */
export type Live = Readonly<Record<string, RawBuilder<unknown>>>;

export type Version = { readonly id: string; readonly version: string } & Readonly<Record<string, unknown>>;

export interface Store<R extends BaseRow> {
  readonly resource: Resource;
  /** Adds a row, and returns it as stored. */
  insert(tx: Queryable, row: NewRow<R>): Promise<R>;
  /** One row by id, or undefined; `conditions` narrow it (a foreign project's row is no row). */
  find(query: Queryable, id: string, conditions?: readonly RawBuilder<SqlBool>[]): Promise<R | undefined>;
  /** The same, locked until the transaction ends. */
  lock(tx: Queryable, id: string, conditions?: readonly RawBuilder<SqlBool>[]): Promise<R | undefined>;
  /** Every row that fits, the oldest first, kept from being deleted until the transaction ends. */
  keep(tx: Queryable, conditions: readonly RawBuilder<SqlBool>[]): Promise<R[]>;
  /** Several by id, in no order. */
  findMany(query: Queryable, ids: readonly string[]): Promise<R[]>;
  /**
   * Changes a row and returns it. `revise: false` for what the parent was told and does not want of anybody
   * (a status read from a child): the revision stays, and so do the replicas.
   */
  update(tx: Queryable, id: string, patch: Partial<R>, options?: { readonly revise?: boolean }): Promise<R | undefined>;
  /** Takes the row away; true where there was one. */
  remove(tx: Queryable, id: string): Promise<boolean>;
  /** One page, in one query. An unknown marker gives `undefined`. */
  page(query: Queryable, page: Page): Promise<R[] | undefined>;
  /**
   * The same page as ids and versions alone, with values that are read anew each time. A version stands for what the
   * row says: it changes with every change of it.
   */
  versions(query: Queryable, page: Page, live?: Live): Promise<Version[] | undefined>;
  /** Id and version of one row, or undefined. */
  version(
    query: Queryable,
    id: string,
    conditions: readonly RawBuilder<SqlBool>[],
    live?: Live,
  ): Promise<Version | undefined>;
  /** Rows by id, each with its version, in no order. */
  versioned(
    query: Queryable,
    ids: readonly string[],
    conditions: readonly RawBuilder<SqlBool>[],
  ): Promise<{ readonly row: R; readonly version: string }[]>;
  /** Every row that fits, unordered; for internal use with conditions that keep it small. */
  select(query: Queryable, conditions: readonly RawBuilder<SqlBool>[]): Promise<R[]>;
}

type Stored = Record<string, unknown> & { body: Record<string, unknown> };

/** Where PostgreSQL keeps this state of a row, and the transaction that wrote it: no other state of it has both. */
const VERSION = sql<string>`ctid::text || xmin::text`;

const withLive = (live: Live): RawBuilder<unknown> =>
  sql.join([
    sql`id, ${VERSION} as version`,
    ...Object.entries(live).map(([name, value]) => sql`${value} as ${sql.ref(name)}`),
  ]);

/** The store of a resource; makes no query of its own. */
export function createStore<const D extends Resource, R extends BaseRow = Row<D> & BaseRow>(resource: D): Store<R> {
  const table = sql.table(resource.table);
  const columns = new Set<string>(['id', 'project_id', 'created_at', 'updated_at', 'revision', ...resource.columns]);

  const flat = (stored: Stored): R => {
    const { body, ...rest } = stored;
    return Object.assign(rest, body) as unknown as R;
  };
  const valueOf = (key: string): RawBuilder<unknown> => {
    const f = resource.fields[key];
    return f !== undefined && 'sort' in f && typeof f.sort === 'object' ? f.sort : sql.ref(key);
  };
  const first = (rows: readonly Stored[]): R | undefined => (rows[0] === undefined ? undefined : flat(rows[0]));
  const select = async (query: Queryable, conditions: readonly RawBuilder<SqlBool>[], tail: RawBuilder<unknown>) =>
    (await sql<Stored>`select * from ${table} where ${all(conditions)} ${tail}`.execute(query)).rows;

  /** One page of whatever is selected; an unknown marker gives `undefined`. */
  async function paged<T>(query: Queryable, page: Page, selected: RawBuilder<unknown>): Promise<T[] | undefined> {
    const sort = withTieBreak(page.sort, page.reverse === true);
    const conditions = [...page.conditions];
    const { marker, markerAmong = [] } = page;
    const markers = all([sql<SqlBool>`id = ${marker}`, ...markerAmong]);
    if (marker !== undefined) conditions.push(after(resource.table, sort, markers, valueOf));
    const order = sql.join(sort.map(([key, direction]) => sql`${valueOf(key)} ${sql.raw(direction)}`));
    const { rows } = await sql<T>`select ${selected} from ${table} where ${all(conditions)}
      order by ${order} limit ${page.limit}`.execute(query);
    if (rows.length === 0 && marker !== undefined) {
      const known = await sql`select 1 from ${table} where ${markers}`.execute(query);
      if (known.rows.length === 0) return undefined;
    }
    return page.reverse === true ? rows.reverse() : rows;
  }

  return {
    resource,
    async insert(tx, row) {
      const { names, values, body } = split(columns, { ...defaults(resource), ...row });
      const rows =
        await sql<Stored>`insert into ${table} (${sql.join([...names.map((name) => sql.ref(name)), sql.ref('body')])})
        values (${sql.join([...values, sql`${JSON.stringify(body)}::jsonb`])}) returning *`.execute(tx);
      return first(rows.rows) as R;
    },
    async find(query, id, conditions = []) {
      return first(await select(query, [sql<SqlBool>`id = ${id}`, ...conditions], sql``));
    },
    async lock(tx, id, conditions = []) {
      return first(await select(tx, [sql<SqlBool>`id = ${id}`, ...conditions], sql`for update`));
    },
    async keep(tx, conditions) {
      return (await select(tx, conditions, sql`order by created_at, id for key share`)).map(flat);
    },
    async findMany(query, ids) {
      if (ids.length === 0) return [];
      return (await select(query, [sql<SqlBool>`id = any(${[...ids]})`], sql``)).map(flat);
    },
    async update(tx, id, patch, options = {}) {
      const { names, values, body } = split(columns, patch as Record<string, unknown>);
      const sets = names.map((name, at) => sql`${sql.ref(name)} = ${values[at]}`);
      if (Object.keys(body).length > 0) sets.push(sql`body = body || ${JSON.stringify(body)}::jsonb`);
      if (!names.includes('updated_at')) sets.push(sql`updated_at = clock_timestamp()`);
      if (options.revise !== false) sets.push(sql`revision = revision + 1`);
      const rows = await sql<Stored>`update ${table} set ${sql.join(sets)} where id = ${id} returning *`.execute(tx);
      return first(rows.rows);
    },
    async remove(tx, id) {
      const result = await sql`delete from ${table} where id = ${id}`.execute(tx);
      return (result.numAffectedRows ?? 0n) > 0n;
    },
    async page(query, page) {
      return (await paged<Stored>(query, page, sql`*`))?.map(flat);
    },
    versions: (query, page, live = {}) => paged<Version>(query, page, withLive(live)),
    async version(query, id, conditions, live = {}) {
      const { rows } = await sql<Version>`select ${withLive(live)} from ${table}
        where ${all([sql<SqlBool>`id = ${id}`, ...conditions])}`.execute(query);
      return rows[0];
    },
    async versioned(query, ids, conditions) {
      if (ids.length === 0) return [];
      const { rows } = await sql<Stored & { version: string }>`select *, ${VERSION} as version from ${table}
        where ${all([sql<SqlBool>`id = any(${[...ids]})`, ...conditions])}`.execute(query);
      return rows.map(({ version, ...row }) => ({ version, row: flat(row as unknown as Stored) }));
    },
    async select(query, conditions) {
      return (await select(query, conditions, sql``)).map(flat);
    },
  };
}

/** All of the conditions, or true. */
export function all(conditions: readonly RawBuilder<SqlBool>[]): RawBuilder<SqlBool> {
  return conditions.length === 0 ? sql<SqlBool>`true` : sql<SqlBool>`${sql.join([...conditions], sql` and `)}`;
}

function defaults(resource: Resource): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [key, f] of Object.entries(resource.fields)) {
    if ('schema' in f && f.default !== undefined) values[key] = f.default;
  }
  return values;
}

/** A row's values for columns and for the body; what is undefined is neither. */
function split(columns: ReadonlySet<string>, row: Record<string, unknown>) {
  const names: string[] = [];
  const values: unknown[] = [];
  const body: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(row)) {
    if (value === undefined) continue;
    if (columns.has(key)) {
      names.push(key);
      // Arrays of plain strings are PostgreSQL arrays; any other object is jsonb.
      const isJson = value !== null && typeof value === 'object' && !isStrings(value);
      values.push(isJson ? JSON.stringify(value) : value);
    } else {
      body[key] = value;
    }
  }
  return { names, values, body };
}

function isStrings(value: object): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function withTieBreak(sort: Page['sort'], reverse: boolean): [string, 'asc' | 'desc'][] {
  const last = sort.at(-1)?.[1] ?? 'asc';
  const keys = sort.some(([key]) => key === 'id') ? [...sort] : [...sort, ['id', last] as const];
  return keys.map(([key, direction]) => [key, reverse === (direction === 'asc') ? 'desc' : 'asc']);
}

/**
 * Keyset paging: the rows after the marker's. Where all keys go the same way it is one row comparison, which an index
 * on them answers; mixed directions need the long form.
 */
function after(
  table: string,
  sort: readonly (readonly [string, 'asc' | 'desc'])[],
  marker: RawBuilder<SqlBool>,
  valueOf: (key: string) => RawBuilder<unknown>,
): RawBuilder<SqlBool> {
  const markerKeys = (keys: readonly string[]) =>
    sql`(select ${sql.join(keys.map(valueOf))} from ${sql.table(table)} where ${marker})`;
  const directions = new Set(sort.map(([, direction]) => direction));
  const keys = sort.map(([key]) => key);
  if (directions.size === 1) {
    const than = sql.raw(sort[0]?.[1] === 'asc' ? '>' : '<');
    return sql<SqlBool>`(${sql.join(keys.map(valueOf))}) ${than} ${markerKeys(keys)}`;
  }
  const alternatives = sort.map(([key, direction], at) => {
    const equal = keys.slice(0, at).map((before) => sql<SqlBool>`${valueOf(before)} = ${markerKeys([before])}`);
    const beyond = sql<SqlBool>`${valueOf(key)} ${sql.raw(direction === 'asc' ? '>' : '<')} ${markerKeys([key])}`;
    return sql<SqlBool>`(${sql.join([...equal, beyond], sql` and `)})`;
  });
  return sql<SqlBool>`(${sql.join(alternatives, sql` or `)})`;
}
