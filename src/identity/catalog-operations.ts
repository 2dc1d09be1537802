/** Regions, services and endpoints: what the catalog is made of, and what operators may add to it. */
import { sql } from 'kysely';
import { badRequest, conflict, Fault, forbidden } from '../http/fault.ts';
import type { Operation } from '../http/service.ts';
import { type Crud, crudOperations } from '../resource/crud.ts';
import type { Queryable, Tx } from '../db/database.ts';
import { type Core, expecting, missing } from './core.ts';
import { type EndpointRow, endpoints, newId, type RegionRow, regions, type ServiceRow, services } from './resources.ts';
import { admin, ANYBODY, systemReader } from './rules.ts';

export function catalogOperations(core: Core): Operation[] {
  const common = {
    db: core.db,
    convention: core.convention,
    updateMethod: 'PATCH',
    visible: () => [],
    committed: () => core.changes.apply('catalog'),
  } as const;
  const announce = (tx: Tx) => core.changes.announce(tx, 'catalog');
  const region: Crud<RegionRow> = {
    ...common,
    store: regions,
    path: '/regions',
    policies: {
      list: ANYBODY('list_regions'),
      show: ANYBODY('get_region'),
      create: admin('create_region'),
      update: admin('update_region'),
      remove: admin('delete_region'),
    },
    missing: missing('region'),
    creating: async ({ region_id, ...given }, _context, tx) => {
      const id = region_id ?? newId();
      await sql`select pg_advisory_xact_lock(hashtextextended(${`identity region ${id}`}, 0))`.execute(tx);
      if ((await regions.find(tx, id)) !== undefined) {
        throw conflict(`Conflict occurred attempting to store region - Duplicate ID, ${id}..`);
      }
      const parent_region_id = given.parent_region_id ?? null;
      await requireRegion(tx, parent_region_id);
      await announce(tx);
      return { ...given, id, parent_region_id } as RegionRow;
    },
    updating: async (before, given, _context, tx) => {
      await requireRegion(tx, given.parent_region_id ?? null);
      await refuseCircle(tx, before.id, given.parent_region_id ?? null);
      await announce(tx);
      return given;
    },
    removing: async (row, _context, tx) => {
      const { rows } = await sql<{ id: string; is_used: boolean }>`with recursive within(id) as (
          select ${row.id}::text union select r.id from identity_regions r join within w on r.parent_region_id = w.id
        ) select id, exists (select 1 from identity_endpoints e where e.region_id = within.id) as is_used
        from within`.execute(tx);
      if (rows.some(({ is_used }) => is_used)) {
        throw forbidden(`Unable to delete region ${row.id} because it or its child regions have associated endpoints.`);
      }
      const below = rows.flatMap(({ id }) => (id === row.id ? [] : [id]));
      await sql`delete from identity_regions where id = any(${below})`.execute(tx);
      await announce(tx);
    },
  };
  const service: Crud<ServiceRow> = {
    ...common,
    store: services,
    path: '/services',
    policies: {
      list: systemReader('list_services'),
      show: systemReader('get_service'),
      create: admin('create_service'),
      update: admin('update_service'),
      remove: admin('delete_service'),
    },
    missing: missing('service'),
    creating: async (given, _context, tx) => {
      await announce(tx);
      return { ...given, id: newId() } as ServiceRow;
    },
    updating: async (_before, given, _context, tx) => {
      await announce(tx);
      return given;
    },
    removing: async (_row, _context, tx) => announce(tx),
  };
  const endpoint: Crud<EndpointRow> = {
    ...common,
    store: endpoints,
    path: '/endpoints',
    policies: {
      list: systemReader('list_endpoints'),
      show: systemReader('get_endpoint'),
      create: admin('create_endpoint'),
      update: admin('update_endpoint'),
      remove: admin('delete_endpoint'),
    },
    missing: missing('endpoint'),
    creating: async (asked, _context, tx) => {
      const given = await withRegion(tx, asked);
      await checkEndpoint(tx, given);
      await announce(tx);
      return { ...given, id: newId(), region_id: given.region_id ?? null } as EndpointRow;
    },
    updating: async (_before, asked, _context, tx) => {
      const given = await withRegion(tx, asked);
      await checkEndpoint(tx, given);
      await announce(tx);
      return given;
    },
    removing: async (_row, _context, tx) => announce(tx),
  };
  const ofRegions = crudOperations(region);
  return [...ofRegions, ...putRegion(ofRegions), ...crudOperations(service), ...crudOperations(endpoint)];
}

/** `PUT /regions/{id}`: a region whose id stands in the path. */
function putRegion(ofRegions: readonly Operation[]): Operation[] {
  return ofRegions
    .filter(({ method }) => method === 'POST')
    .map((create) => ({
      ...create,
      method: 'PUT',
      path: '/regions/:region_id',
      summary: 'Create a region of a chosen id',
      handle: async (call) => {
        const { region } = call.body as { region: { id?: string } };
        const id = call.params.region_id as string;
        if (region.id !== undefined && region.id !== id) {
          throw badRequest(`Conflicting region IDs specified: "${id}" != "${region.id}"`);
        }
        return create.handle({ ...call, body: { region: { ...region, id } } });
      },
    }));
}

/** Old clients name a region that may not be there yet. */
async function withRegion(tx: Tx, { region_name, ...given }: Partial<EndpointRow>): Promise<Partial<EndpointRow>> {
  if (region_name === undefined || region_name === null || (given.region_id ?? null) !== null) return given;
  await sql`insert into identity_regions (id, body) values (${region_name}, '{"description": ""}')
    on conflict do nothing`.execute(tx);
  return { ...given, region_id: region_name };
}

async function requireRegion(tx: Queryable, id: string | null): Promise<void> {
  if (id === null) return;
  const { rows } = await sql`select 1 from identity_regions where id = ${id} for key share`.execute(tx);
  if (rows.length === 0) throw missing('region')(id);
}

async function refuseCircle(tx: Queryable, id: string, parentId: string | null): Promise<void> {
  if (parentId === null) return;
  const { rows } = await sql<{ id: string }>`with recursive above(id) as (select ${parentId}::text
      union select r.parent_region_id from identity_regions r join above a on r.id = a.id
        where r.parent_region_id is not null) select id from above where id = ${id}`.execute(tx);
  if (rows.length > 0) {
    throw new Fault(400, `The specified parent region ${parentId} would create a circular region hierarchy.`);
  }
}

const SUBSTITUTIONS = /[%$]\((?:project_id|tenant_id|user_id)\)s/g;

async function checkEndpoint(tx: Queryable, given: Partial<EndpointRow>): Promise<void> {
  if (given.url !== undefined && /[%$]\(/.test(given.url.replace(SUBSTITUTIONS, ''))) {
    throw badRequest(`Cannot create an endpoint with an invalid URL: ${given.url}.`);
  }
  if (given.service_id !== undefined) {
    const { rows } = await sql`select 1 from identity_services where id = ${given.service_id} for key share`.execute(
      tx,
    );
    if (rows.length === 0) throw badRequest(expecting('endpoint service_id', 'service table'));
  }
  if (given.region_id !== undefined && given.region_id !== null) {
    const { rows } = await sql`select 1 from identity_regions where id = ${given.region_id} for key share`.execute(tx);
    if (rows.length === 0) throw badRequest(expecting('endpoint region_id', 'region table'));
  }
}
