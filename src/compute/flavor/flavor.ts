/** The flavor: its description, its rows, and who may see it. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Queryable } from '../../db/database.ts';
import { type Fault, notFound } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { computed, field, nullable, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { BOOLEAN, numberOf, PRINTABLE, PRINTABLE_NAME } from '../parameters.ts';
import { resourceLinks } from '../links.ts';
import { extraSpecPolicies } from './policies.ts';

const INTEGER_MAX = 2_147_483_647;

/** Nova takes sizes as numbers and as text of digits. */
const size = (minimum: number) => numberOf(minimum, INTEGER_MAX);

export const flavorResource = resource({
  name: 'flavor',
  table: 'flavors',
  fields: {
    id: field(Type.String(), {
      show: 'always',
      create: 'optional',
      input: Type.Unsafe({
        type: ['string', 'number', 'null'],
        minLength: 1,
        maxLength: 255,
        pattern: '^(?! )[a-zA-Z0-9. _-]+(?<! )$',
      }),
    }),
    name: field(Type.String(), { column: true, show: 'always', create: 'required', input: PRINTABLE_NAME }),
    ram: field(Type.Integer(), { column: true, create: 'required', input: size(1), description: 'In MiB.' }),
    vcpus: field(Type.Integer(), { column: true, create: 'required', input: size(1) }),
    disk: field(Type.Integer(), { column: true, create: 'required', input: size(0), description: 'In GiB.' }),
    ephemeral: field(Type.Integer(), {
      name: 'OS-FLV-EXT-DATA:ephemeral',
      column: true,
      create: 'optional',
      input: size(0),
      default: 0,
      description: 'In GiB.',
    }),
    swap: field(Type.Integer(), { column: true, create: 'optional', input: size(0), default: 0, show: 'never' }),
    // Until 2.74 no swap was an empty text.
    swap_shown: computed<Flavor>((row, { version }) => (row.swap === 0 && version < 75 ? '' : row.swap), {
      name: 'swap',
      description: 'In MiB.',
    }),
    rxtx_factor: field(Type.Number(), {
      column: true,
      create: 'optional',
      default: 1,
      input: Type.Unsafe({
        type: ['number', 'string'],
        pattern: '^[0-9]{1,38}(\\.[0-9]{1,38})?$',
        exclusiveMinimum: 0,
        maximum: 3.40282e38,
      }),
    }),
    disabled: field(Type.Boolean(), { name: 'OS-FLV-DISABLED:disabled', column: true, default: false }),
    is_public: field(Type.Boolean(), {
      name: 'os-flavor-access:is_public',
      column: true,
      create: 'optional',
      default: true,
      input: BOOLEAN,
    }),
    description: field(nullable(Type.String({ maxLength: 65_535 })), {
      since: 55,
      show: 'always',
      create: 'optional',
      update: true,
      input: nullable(Type.String({ maxLength: 65_535, pattern: PRINTABLE })),
    }),
    extra_specs: field(Type.Record(Type.String(), Type.String()), { default: {}, show: 'never' }),
    extra_specs_shown: computed<Flavor>(
      (row, context) => (context.allowed(extraSpecPolicies.index.name) ? row.extra_specs : undefined),
      { name: 'extra_specs', since: 61 },
    ),
    links: computed<Flavor>((row, context) => resourceLinks(context, `/flavors/${encodeURIComponent(row.id)}`), {
      show: 'always',
    }),
  },
});

/** A flavor as stored: ram and swap in MiB, disk and ephemeral in GiB. */
export interface Flavor {
  id: string;
  project_id: string;
  created_at: string;
  updated_at: string;
  revision: number;
  name: string;
  ram: number;
  vcpus: number;
  disk: number;
  ephemeral: number;
  swap: number;
  rxtx_factor: number;
  disabled: boolean;
  is_public: boolean;
  description: string | null;
  extra_specs: Record<string, string>;
}

declare module '../../db/tables.ts' {
  interface Tables {
    flavors: TableOf<typeof flavorResource>;
    flavor_access: { flavor_id: string; project_id: string };
  }
}

export const flavorStore = createStore<typeof flavorResource, Row<typeof flavorResource>>(flavorResource);

/** Which flavors a caller sees: public ones, those its project was given, all for an admin. */
function flavorVisible(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  return context.identity.isAdmin ? [] : [publicOrGiven(context.identity.project?.id)];
}

/** Public flavors and those that were given to the project. */
export function publicOrGiven(projectId: string | undefined): RawBuilder<SqlBool> {
  if (projectId === undefined) return sql<SqlBool>`is_public`;
  return sql<SqlBool>`(is_public or exists (
    select 1 from flavor_access a where a.flavor_id = flavors.id and a.project_id = ${projectId}))`;
}

/** Nova's words for a flavor that there is not, or that the caller does not see. */
export const flavorNotFound = (id: string): Fault => notFound(`Flavor ${id} could not be found.`);

/**
 * A flavor that the caller may see.
 * @throws Fault 404
 */
export async function visibleFlavor(query: Queryable, context: RequestContext, id: string): Promise<Flavor> {
  const row = await flavorStore.find(query, id, flavorVisible(context));
  if (row === undefined) throw flavorNotFound(id);
  return row;
}
