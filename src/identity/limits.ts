/** Unified limits: registered ones hold for every project, limits for one project or domain instead. Nothing here enforces them. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Queryable } from '../db/database.ts';
import { badRequest, conflict, forbidden, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, type RequestContext } from '../http/service.ts';
import { type Crud, crudOperations } from '../resource/crud.ts';
import { type BaseRow, field, nullable, resource, type RowOf, type TableOf } from '../resource/resource.ts';
import { createStore } from '../resource/store.ts';
import { type Core, expecting } from './core.ts';
import { Description, Id, newId, selfLink } from './resources.ts';
import { admin, ANYBODY, getLimit } from './rules.ts';

const RegionId = Type.String({ minLength: 1, maxLength: 255 });
const ResourceName = Type.String({ minLength: 1, maxLength: 255 });
const Amount = Type.Integer({ minimum: -1, maximum: 0x7fffffff });

const registeredLimit = resource({
  name: 'registered_limit',
  table: 'identity_registered_limits',
  fields: {
    id: field(Type.String(), { show: 'always' }),
    service_id: field(Id, { create: 'required', update: true, filter: true }),
    region_id: field(nullable(RegionId), { create: 'optional', update: true, filter: true, default: null }),
    resource_name: field(ResourceName, { create: 'required', update: true, filter: true }),
    default_limit: field(Amount, { create: 'required', update: true }),
    description: field(Description, { create: 'optional', update: true, default: null }),
    links: selfLink('registered_limits'),
  },
});

const limit = resource({
  name: 'limit',
  table: 'identity_limits',
  fields: {
    id: field(Type.String(), { show: 'always' }),
    owner_project_id: field(nullable(Id), { name: 'project_id', create: 'optional', filter: true, default: null }),
    domain_id: field(nullable(Id), { create: 'optional', filter: true, default: null }),
    service_id: field(Id, { create: 'required', filter: true }),
    region_id: field(nullable(RegionId), { create: 'optional', filter: true, default: null }),
    resource_name: field(ResourceName, { create: 'required', filter: true }),
    resource_limit: field(Amount, { create: 'required', update: true }),
    description: field(Description, { create: 'optional', update: true, default: null }),
    registered_limit_id: field(Id, { show: 'never', column: true }),
    links: selfLink('limits'),
  },
});

type RegisteredLimitRow = BaseRow & RowOf<(typeof registeredLimit)['fields']>;
type LimitRow = BaseRow & RowOf<(typeof limit)['fields']>;
const registeredLimits = createStore<typeof registeredLimit, RegisteredLimitRow>(registeredLimit);
const limits = createStore<typeof limit, LimitRow>(limit);

declare module '../db/tables.ts' {
  interface Tables {
    identity_registered_limits: TableOf<typeof registeredLimit>;
    identity_limits: TableOf<typeof limit>;
  }
}

export function limitOperations(core: Core): Operation[] {
  return [...registered(core), ...model(), ...overrides(core)];
}

function registered(core: Core): Operation[] {
  return crudOperations<RegisteredLimitRow>({
    db: core.db,
    convention: core.convention,
    store: registeredLimits,
    path: '/registered_limits',
    updateMethod: 'PATCH',
    bulk: true,
    policies: {
      list: ANYBODY('list_registered_limits'),
      show: ANYBODY('get_registered_limit'),
      create: admin('create_registered_limits'),
      update: admin('update_registered_limit'),
      remove: admin('delete_registered_limit'),
    },
    visible: () => [],
    missing: (id) => notFound(`Could not find registered limit for ${id}.`),
    creating: async (given, _context, tx) => {
      const row = { ...given, id: newId() } as RegisteredLimitRow;
      await requireService(tx, row, 'registered_limit');
      await claim(tx, row);
      return row;
    },
    updating: async (before, given, _context, tx) => {
      await requireUnused(tx, before.id);
      const after = { ...before, ...given };
      await requireService(tx, after, 'registered_limit');
      await claim(tx, after);
      return given;
    },
    removing: async (row, _context, tx) => requireUnused(tx, row.id),
  });
}

/** @throws Fault 409 where another registers the same; whoever else is at it waits */
async function claim(
  tx: Queryable,
  row: Pick<RegisteredLimitRow, 'id' | 'service_id' | 'resource_name'> & { region_id?: string | null },
): Promise<void> {
  const region = row.region_id ?? '';
  const key = JSON.stringify(['registered limit', row.service_id, region, row.resource_name]);
  await sql`select pg_advisory_xact_lock(hashtextextended(${key}, 0))`.execute(tx);
  const { rows } = await sql`select 1 from identity_registered_limits where id <> ${row.id}
    and service_id = ${row.service_id} and coalesce(region_id, '') = ${region}
    and resource_name = ${row.resource_name}`.execute(tx);
  if (rows.length > 0) {
    throw conflict('Conflict occurred attempting to store registered_limit - Duplicate entry.');
  }
}

/** @throws Fault 403 where limits override it */
async function requireUnused(tx: Queryable, id: string): Promise<void> {
  const { rows } = await sql`select 1 from identity_limits where registered_limit_id = ${id} limit 1`.execute(tx);
  if (rows.length > 0) {
    throw forbidden(
      `Unable to update or delete registered limit ${id} because there are project limits associated with it.`,
    );
  }
}

async function requireService(
  tx: Queryable,
  given: { readonly service_id: string; readonly region_id?: string | null },
  target: string,
): Promise<void> {
  const service = await sql`
    select 1 from identity_services where id = ${given.service_id} for key share`.execute(tx);
  if (service.rows.length === 0) throw badRequest(expecting('service_id', target));
  if (given.region_id === undefined || given.region_id === null) return;
  const region = await sql`select 1 from identity_regions where id = ${given.region_id} for key share`.execute(tx);
  if (region.rows.length === 0) throw badRequest(expecting('region_id', target));
}

const MODEL = {
  name: 'flat',
  description: 'Limit enforcement and validation does not take project hierarchy into consideration.',
};

function model(): Operation[] {
  return (['GET', 'HEAD'] as const).map((method) =>
    operation({
      method,
      path: '/limits/model',
      policy: ANYBODY('get_limit_model'),
      status: 200,
      summary: 'Show how limits are to be understood',
      handle: async () => ({ model: MODEL }),
    }),
  );
}

function overrides(core: Core): Operation[] {
  const target = async ({ params }: Call<unknown>) => ({ target: await targetOf(core.db.query, params.limit_id) });
  const crud: Crud<LimitRow> = {
    db: core.db,
    convention: core.convention,
    store: limits,
    path: '/limits',
    updateMethod: 'PATCH',
    bulk: true,
    policies: {
      list: ANYBODY('list_limits'),
      show: getLimit,
      create: admin('create_limits'),
      update: admin('update_limit'),
      remove: admin('delete_limit'),
    },
    visible: () => [],
    conditions: ({ context }) => [ofScope(context)],
    target,
    missing: (id) => notFound(`Could not find limit for ${id}.`),
    creating: async (given, _context, tx) => {
      const row = { ...given, id: newId() } as LimitRow;
      await requireOwner(tx, row);
      await requireService(tx, row, 'limit');
      const registered_limit_id = await registeredFor(tx, row);
      const twice = await sql`select 1 from identity_limits where registered_limit_id = ${registered_limit_id}
        and owner_project_id is not distinct from ${row.owner_project_id ?? null}
        and domain_id is not distinct from ${row.domain_id ?? null}`.execute(tx);
      if (twice.rows.length > 0) throw conflict('Conflict occurred attempting to store limit - Duplicate entry.');
      return { ...row, registered_limit_id };
    },
  };
  return crudOperations<LimitRow>(crud);
}

/** The limits that a token's scope is about: all for the system, else those of its domain or its project. */
function ofScope({ identity }: RequestContext): RawBuilder<SqlBool> {
  if (identity.system) return sql<SqlBool>`true`;
  const { domain, project } = identity;
  if (domain !== undefined) {
    return sql<SqlBool>`(domain_id = ${domain.id}
      or owner_project_id in (select id from identity_projects where domain_id = ${domain.id}))`;
  }
  return sql<SqlBool>`owner_project_id = ${project?.id ?? ''}`;
}

async function targetOf(query: Queryable, id: string | undefined): Promise<Record<string, unknown>> {
  if (id === undefined) return {};
  const { rows } = await sql<{ project_id: string | null; domain_id: string | null; of_domain: string | null }>`
    select l.owner_project_id as project_id, l.domain_id, p.domain_id as of_domain
    from identity_limits l left join identity_projects p on p.id = l.owner_project_id where l.id = ${id}`.execute(
    query,
  );
  const row = rows[0];
  if (row === undefined) return {};
  const owner =
    row.project_id === null
      ? { domain: { id: row.domain_id } }
      : { project_id: row.project_id, project: { domain_id: row.of_domain } };
  return { limit: owner };
}

/** @throws Fault 400 where it is for neither a project nor a domain, for both, or for one that there is not */
async function requireOwner(tx: Queryable, row: LimitRow): Promise<void> {
  const project = row.owner_project_id ?? null;
  const domain = row.domain_id ?? null;
  if ((project === null) === (domain === null)) {
    throw badRequest("Invalid input for field 'limits': a limit is for one project or one domain");
  }
  const table = project === null ? 'identity_domains' : 'identity_projects';
  const { rows } = await sql`
    select 1 from ${sql.table(table)} where id = ${project ?? domain} for key share`.execute(tx);
  if (rows.length === 0) throw badRequest(expecting(project === null ? 'domain_id' : 'project_id', 'limit'));
}

/** The registered limit that a limit overrides, held while it is. @throws Fault 403 where there is none */
async function registeredFor(tx: Queryable, row: LimitRow): Promise<string> {
  const { rows } = await sql<{ id: string }>`select id from identity_registered_limits
    where service_id = ${row.service_id} and resource_name = ${row.resource_name}
      and region_id is not distinct from ${row.region_id ?? null} for update`.execute(tx);
  if (rows[0] === undefined) {
    throw forbidden('Unable to create a limit that has no corresponding registered limit.');
  }
  return rows[0].id;
}
