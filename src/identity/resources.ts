/** What projects, users and their like consist of: requests, answers, filters and tables are read off these. */
import { randomUUID } from 'node:crypto';
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import { badRequest } from '../http/fault.ts';
import { booleanOf } from '../resource/listing.ts';
import { momentOf } from './moment.ts';
import {
  computed,
  field,
  type FilterCondition,
  nullable,
  resource,
  type Row,
  type TableOf,
  Timestamp,
} from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';

/** Ids as Keystone makes them. */
export const newId = (): string => randomUUID().replaceAll('-', '');

export const Id = Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-zA-Z0-9-]+$' });
const ShortName = Type.String({ minLength: 1, maxLength: 64, pattern: '[\\S]+' });
export const Name = Type.String({ minLength: 1, maxLength: 255, pattern: '[\\S]+' });
export const Description = nullable(Type.String({ maxLength: 65_535 }));
const Tags = Type.Array(Type.String({ minLength: 1, maxLength: 255, pattern: '^[^,/]*$' }), {
  maxItems: 80,
  uniqueItems: true,
});
const Immutable = Type.Object({ immutable: Type.Optional(nullable(Type.Boolean())) }, { additionalProperties: false });
const UserOptions = Type.Object(
  {
    ignore_change_password_upon_first_use: Type.Optional(nullable(Type.Boolean())),
    ignore_password_expiry: Type.Optional(nullable(Type.Boolean())),
    ignore_lockout_failure_attempts: Type.Optional(nullable(Type.Boolean())),
    lock_password: Type.Optional(nullable(Type.Boolean())),
    ignore_user_inactivity: Type.Optional(nullable(Type.Boolean())),
    multi_factor_auth_enabled: Type.Optional(nullable(Type.Boolean())),
    multi_factor_auth_rules: Type.Optional(
      Type.Array(Type.Array(Type.String({ maxLength: 64 }), { minItems: 1, maxItems: 8, uniqueItems: true }), {
        maxItems: 8,
        uniqueItems: true,
      }),
    ),
  },
  { additionalProperties: false },
);

/** Keystone's `links`, for the collection below the root. */
export const selfLink = (path: string) =>
  computed<{ id: string }>((row, context) => ({ self: `${context.baseUrl}/${path}/${row.id}` }), { show: 'always' });

const id = field(Type.String(), { show: 'always' });
const name = (schema: typeof Name) => field(schema, { create: 'required', update: true, filter: true });
const enabled = field(Type.Boolean(), {
  create: 'optional',
  update: true,
  column: true,
  default: true,
  // Whatever is no no is a yes, and so is the name alone.
  filter: ([value = '']) => sql<SqlBool>`enabled = ${booleanOf(value) ?? true}`,
});
/** Taken in an update, since clients send whole objects back; another domain than the present one is refused there. */
const domainId = field(nullable(Id), { create: 'optional', update: true, filter: true });

/** `name__contains` and its like for texts in columns of their own, where `i` takes no notice of case. */
function inexactly(...columns: readonly string[]): Readonly<Record<string, FilterCondition>> {
  const filters = columns.flatMap((name) => {
    const column = sql.ref(name);
    const conditions: Readonly<Record<string, FilterCondition>> = {
      contains: ([text = '']) => sql<SqlBool>`position(${text} in ${column}) > 0`,
      icontains: ([text = '']) => sql<SqlBool>`position(lower(${text}) in lower(${column})) > 0`,
      startswith: ([text = '']) => sql<SqlBool>`starts_with(${column}, ${text})`,
      istartswith: ([text = '']) => sql<SqlBool>`starts_with(lower(${column}), lower(${text}))`,
      endswith: ([text = '']) => sql<SqlBool>`right(${column}, length(${text})) = ${text}`,
      iendswith: ([text = '']) => sql<SqlBool>`right(lower(${column}), length(${text})) = lower(${text})`,
    };
    return Object.entries(conditions).map(([comparator, condition]) => [`${name}__${comparator}`, condition] as const);
  });
  return Object.fromEntries(filters);
}

/** Filters by who vouches for a user: here nobody else does. */
const nobodys: FilterCondition = () => sql<SqlBool>`false`;
const federationFilters = { idp_id: nobodys, protocol_id: nobodys, unique_id: nobodys };

const COMPARISONS: Readonly<Record<string, string>> = { lt: '<', lte: '<=', gt: '>', gte: '>=', eq: '=', neq: '<>' };

/** `password_expires_at=lt:2026-11-28T00:00:00Z`. */
const passwordExpiry: FilterCondition = ([text = '']) => {
  const [, name = 'eq', moment = ''] = /^(?:([a-z]{2,3}):)?(.*)$/.exec(text) ?? [];
  const comparison = Object.hasOwn(COMPARISONS, name) ? COMPARISONS[name] : undefined;
  if (comparison === undefined)
    throw badRequest(
      `The given operator ${name} is not valid. It must be one of the following: 'eq', 'neq', 'lt', 'lte', 'gt', or 'gte'.`,
    );
  return sql<SqlBool>`password_expires_at ${sql.raw(comparison)} ${momentOf(moment)}`;
};

const words = (values: readonly string[]): string[] => values.flatMap((value) => value.split(','));
const tagFilters: Readonly<Record<string, FilterCondition>> = {
  tags: (values) => sql<SqlBool>`tags @> ${words(values)}::text[]`,
  'tags-any': (values) => sql<SqlBool>`tags && ${words(values)}::text[]`,
  'not-tags': (values) => sql<SqlBool>`not tags @> ${words(values)}::text[]`,
  'not-tags-any': (values) => sql<SqlBool>`not tags && ${words(values)}::text[]`,
};

export const domain = resource({
  name: 'domain',
  table: 'identity_domains',
  unknownAttributes: 'keep',
  filters: inexactly('name'),
  fields: {
    id,
    name: name(ShortName),
    description: field(Description, { create: 'optional', update: true, default: '' }),
    enabled,
    tags: field(Tags, { create: 'optional', update: true, default: [] }),
    options: field(Immutable, { create: 'optional', update: true, default: {} }),
    /** For a domain of a chosen id, which Keystone offers to those who federate. */
    explicit_domain_id: field(Type.String({ maxLength: 64 }), { create: 'optional', show: 'never' }),
    links: selfLink('domains'),
  },
});

export const project = resource({
  name: 'project',
  table: 'identity_projects',
  unknownAttributes: 'keep',
  filters: { ...inexactly('name', 'domain_id', 'parent_id'), ...tagFilters },
  fields: {
    id,
    name: name(ShortName),
    domain_id: domainId,
    description: field(Description, { create: 'optional', update: true, default: '' }),
    enabled,
    parent_id: field(nullable(Id), { create: 'optional', update: true, filter: true }),
    is_domain: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      default: false,
      filter: ([value = '']) => sql<SqlBool>`${/^(0|false|no)$/i.test(value)}::boolean`,
    }),
    tags: field(Tags, { create: 'optional', update: true, default: [], column: true }),
    options: field(Immutable, { create: 'optional', update: true, default: {} }),
    links: selfLink('projects'),
  },
});

export const user = resource({
  name: 'user',
  table: 'identity_users',
  unknownAttributes: 'keep',
  filters: { ...inexactly('name', 'domain_id'), ...federationFilters },
  fields: {
    id,
    name: name(Name),
    domain_id: domainId,
    enabled,
    default_project: field(nullable(Id), {
      name: 'default_project_id',
      create: 'optional',
      update: true,
      show: 'never',
      column: true,
    }),
    // Shown only where there is one.
    shown_default_project: computed<{ default_project?: string | null }>((row) => row.default_project ?? undefined, {
      name: 'default_project_id',
    }),
    // What a request says is hashed before it gets here.
    password: field(nullable(Type.String()), { create: 'optional', update: true, show: 'never', column: true }),
    token_generation: field(Type.Integer(), { show: 'never', column: true, default: 1 }),
    password_expires_at: field(nullable(Timestamp), { column: true, default: null, filter: passwordExpiry }),
    password_set_at: field(nullable(Timestamp), { show: 'never', column: true, default: null }),
    password_is_own: field(Type.Boolean(), { show: 'never', column: true, default: false }),
    failed_auth_count: field(Type.Integer(), { show: 'never', column: true, default: 0 }),
    failed_auth_at: field(nullable(Timestamp), { show: 'never', column: true, default: null }),
    options: field(UserOptions, { create: 'optional', update: true, default: {} }),
    links: selfLink('users'),
  },
});

export const group = resource({
  name: 'group',
  table: 'identity_groups',
  unknownAttributes: 'keep',
  filters: inexactly('name', 'domain_id'),
  fields: {
    id,
    name: name(Name),
    domain_id: domainId,
    description: field(Description, { create: 'optional', update: true, default: '' }),
    links: selfLink('groups'),
  },
});

export const role = resource({
  name: 'role',
  table: 'identity_roles',
  unknownAttributes: 'keep',
  filters: inexactly('name', 'domain_id'),
  fields: {
    id,
    name: name(Name),
    domain_id: domainId,
    description: field(Description, { create: 'optional', update: true, default: null }),
    options: field(Immutable, { create: 'optional', update: true, default: {} }),
    links: selfLink('roles'),
  },
});

const RegionId = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^/]+$' });

export const region = resource({
  name: 'region',
  table: 'identity_regions',
  unknownAttributes: 'keep',
  filters: inexactly('parent_region_id'),
  fields: {
    id,
    region_id: field(RegionId, { name: 'id', create: 'optional', show: 'never' }),
    description: field(Description, { create: 'optional', update: true, default: '' }),
    parent_region_id: field(nullable(RegionId), { create: 'optional', update: true, filter: true }),
    links: selfLink('regions'),
  },
});

export const service = resource({
  name: 'service',
  table: 'identity_services',
  unknownAttributes: 'keep',
  filters: inexactly('name', 'type'),
  fields: {
    id,
    name: field(Name, { create: 'optional', update: true, filter: true, default: '' }),
    type: field(Type.String({ minLength: 1, maxLength: 255 }), { create: 'required', update: true, filter: true }),
    description: field(Description, { create: 'optional', update: true, show: 'never' }),
    // Shown only where there is one.
    shown_description: computed<{ description?: string | null }>((row) => row.description, { name: 'description' }),
    enabled: field(Type.Boolean(), { create: 'optional', update: true, default: true, column: true }),
    links: selfLink('services'),
  },
});

export const endpoint = resource({
  name: 'endpoint',
  table: 'identity_endpoints',
  unknownAttributes: 'keep',
  filters: inexactly('interface', 'service_id', 'region_id'),
  fields: {
    id,
    interface: field(Type.Enum(['admin', 'internal', 'public']), { create: 'required', update: true, filter: true }),
    url: field(Type.String({ minLength: 1, maxLength: 1024, pattern: '^[a-zA-Z0-9+.-]+:.+' }), {
      create: 'required',
      update: true,
      column: true,
    }),
    service_id: field(Id, { create: 'required', update: true, filter: true }),
    region_id: field(nullable(RegionId), { create: 'optional', update: true, filter: true }),
    /** The region's old name; taken too, and then the region is made where there is none. */
    region_name: field(nullable(RegionId), { name: 'region', create: 'optional', update: true, show: 'never' }),
    region: computed<{ region_id: string | null }>((row) => row.region_id),
    enabled: field(Type.Boolean(), { create: 'optional', update: true, default: true, column: true }),
    links: selfLink('endpoints'),
  },
});

export type DomainRow = Row<typeof domain>;
export type ProjectRow = Row<typeof project>;
export type UserRow = Row<typeof user>;
export type GroupRow = Row<typeof group>;
export type RoleRow = Row<typeof role>;
export type RegionRow = Row<typeof region>;
export type ServiceRow = Row<typeof service>;
export type EndpointRow = Row<typeof endpoint>;

export const domains = createStore<typeof domain, DomainRow>(domain);
export const projects = createStore<typeof project, ProjectRow>(project);
export const users = createStore<typeof user, UserRow>(user);
export const groups = createStore<typeof group, GroupRow>(group);
export const roles = createStore<typeof role, RoleRow>(role);
export const regions = createStore<typeof region, RegionRow>(region);
export const services = createStore<typeof service, ServiceRow>(service);
export const endpoints = createStore<typeof endpoint, EndpointRow>(endpoint);

declare module '../db/tables.ts' {
  interface Tables {
    identity_domains: TableOf<typeof domain>;
    identity_projects: TableOf<typeof project>;
    identity_users: TableOf<typeof user>;
    identity_groups: TableOf<typeof group>;
    identity_roles: TableOf<typeof role>;
    identity_regions: TableOf<typeof region>;
    identity_services: TableOf<typeof service>;
    identity_endpoints: TableOf<typeof endpoint>;
  }
}
