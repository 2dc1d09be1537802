/** The catalog: what a client finds the services by. Kept for a few seconds, since every token carries it. */
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { Db, Queryable } from '../db/database.ts';
import type { Convention } from '../http/service.ts';
import type { Changes } from './changes.ts';
import { endpointsOf } from './endpoint-filters.ts';
import type { Token } from './tokens.ts';

export const REGION = 'RegionOne';
const INTERFACES = ['public', 'internal', 'admin'] as const;
const TTL_MS = 10_000;

/** The whole catalog, and whether any project sees but a part of it. */
interface Known {
  readonly rows: readonly CatalogRow[];
  readonly isFiltered: boolean;
}

interface CatalogRow {
  service_id: string;
  type: string;
  name: string;
  endpoints: { id: string; interface: string; region_id: string | null; url: string }[];
}

export interface CatalogEntry {
  readonly endpoints: readonly {
    readonly id: string;
    readonly interface: string;
    readonly region_id: string | null;
    readonly url: string;
    readonly region: string | null;
  }[];
  readonly id: string;
  readonly type: string;
  readonly name: string;
}

export interface Catalog {
  /** The catalog as a token sees it: URLs with its project, and none that need one where it has none. */
  of(token: Token): Promise<readonly CatalogEntry[]>;
}

/** @param now Unix time in milliseconds */
export function createCatalog(db: Db, changes: Changes, now: () => number): Catalog {
  let known: { readonly read: Promise<Known>; readonly until_ms: number } | undefined;
  changes.onChange((change) => {
    if (change === 'catalog' || change === 'all') known = undefined;
  });
  return {
    async of({ payload }) {
      if (known === undefined || known.until_ms <= now()) {
        known = { read: readCatalog(db.query), until_ms: now() + TTL_MS };
      }
      const reading = known;
      const { rows, isFiltered } = await reading.read.catch((error: unknown) => {
        if (known === reading) known = undefined;
        throw error;
      });
      const project = payload.scope.kind === 'project' ? payload.scope.id : undefined;
      const shown = isFiltered && project !== undefined ? await endpointsOf(db.query, project) : new Set<string>();
      const isShown = ({ id }: { id: string }): boolean => shown.size === 0 || shown.has(id);
      const within = shown.size === 0 ? rows : rows.filter(({ endpoints }) => endpoints.some(isShown));
      return within.map((row) => ({
        endpoints: row.endpoints.filter(isShown).flatMap((endpoint) => {
          const url = fill(endpoint.url, project, payload.user_id);
          return url === undefined ? [] : [{ ...endpoint, url, region: endpoint.region_id }];
        }),
        id: row.service_id,
        type: row.type,
        name: row.name,
      }));
    },
  };
}

/** `%(project_id)s`, or `$(project_id)s` as Keystone's documents write it. */
function fill(url: string, project: string | undefined, user: string): string | undefined {
  if (project === undefined && /[%$]\((?:project|tenant)_id\)s/.test(url)) return undefined;
  return url.replace(/[%$]\((?:project|tenant)_id\)s/g, project ?? '').replace(/[%$]\(user_id\)s/g, user);
}

async function readCatalog(query: Queryable): Promise<Known> {
  const { rows } = await sql<CatalogRow>`
    select s.id as service_id, s.type, s.name, coalesce(json_agg(
      json_build_object('id', e.id, 'interface', e.interface, 'region_id', e.region_id, 'url', e.url) order by e.id
    ) filter (where e.id is not null), '[]'::json) as endpoints
    from identity_services s left join identity_endpoints e on e.service_id = s.id and e.enabled
    where s.enabled group by s.id order by s.type, s.id`.execute(query);
  const filtered = await sql<{ is: boolean }>`select exists (select 1 from identity_project_endpoints)
    or exists (select 1 from identity_project_endpoint_groups) as is`.execute(query);
  return { rows, isFiltered: filtered.rows[0]?.is === true };
}

/**
 * Enters the parent's own services where they are not, and corrects their URLs where the public one has changed. What
 * an operator added beside them is left alone. Their ids follow from their type, so that every process makes the same.
 */
export async function ensureCatalog(
  tx: Queryable,
  publicUrl: string,
  conventions: Readonly<Record<string, Convention>>,
): Promise<void> {
  await sql`insert into identity_regions (id, body) values (${REGION}, '{"description": ""}') on conflict do nothing`.execute(
    tx,
  );
  for (const { name, catalogType, catalogName, catalogPath } of Object.values(conventions)) {
    const serviceId = stableId(`service ${catalogType}`);
    await sql`insert into identity_services (id, type, name) values (${serviceId}, ${catalogType}, ${catalogName})
      on conflict do nothing`.execute(tx);
    const url = `${publicUrl}/${name}${catalogPath}`;
    for (const face of INTERFACES) {
      await sql`insert into identity_endpoints (id, service_id, region_id, interface, url)
        values (${stableId(`endpoint ${catalogType} ${face}`)}, ${serviceId}, ${REGION}, ${face}, ${url})
        on conflict (id) do update set url = excluded.url where identity_endpoints.url <> excluded.url`.execute(tx);
    }
  }
}

const stableId = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32);
