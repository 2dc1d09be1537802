/** Lists of volumes and snapshots: plain and detailed, paged, and counted where that is asked for. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Db } from '../db/database.ts';
import { volume as convention } from '../http/conventions.ts';
import { badRequest, type Fault } from '../http/fault.ts';
import type { Call, Query } from '../http/service.ts';
import { listBody, parseListing } from '../resource/listing.ts';
import { renderer, type View } from '../resource/render.ts';
import type { BaseRow } from '../resource/resource.ts';
import { all, type Store } from '../resource/store.ts';
import { projectIn } from './hosted.ts';
import { isTrue } from './shapes.ts';

export interface List<R extends BaseRow> {
  readonly db: Db;
  readonly store: Store<R>;
  readonly path: string;
  readonly view: View;
  readonly conditions: readonly RawBuilder<SqlBool>[];
  readonly missing: (id: string) => Fault;
}

const READ_ELSEWHERE = ['all_tenants', 'project_id', 'tenant_id', 'with_count', 'offset'];
const OFFSET_MOST = 1_000_000;

/** One page as Cinder answers it: an unknown marker is 404, `with_count` (3.45) adds the size of the whole list. */
export async function list<R extends BaseRow>(of: List<R>, call: Call): Promise<Record<string, unknown>> {
  const { context } = call;
  const query = sortable(call.query);
  const { resource } = of.store;
  const listing = parseListing(resource, convention, context, query, {
    conditions: of.conditions,
    ignore: READ_ELSEWHERE,
  });
  refuseOffset(query);
  const rows = await of.store.page(of.db.query, listing);
  if (rows === undefined) throw of.missing(listing.marker ?? '');
  const items = rows.map(renderer<R>(resource, convention, context, of.view));
  const path = `/${projectIn(context)}${of.path}`;
  const ids = rows.map(({ id }) => id);
  const body = listBody(resource, convention, context, listing, query, path, items, ids);
  if (context.version >= 45 && isTrue([query.with_count ?? ''].flat()[0])) {
    const total = await sql<{ count: number }>`
      select count(*)::int as count from ${sql.table(resource.table)} where ${all(listing.conditions)}`.execute(
      of.db.query,
    );
    body.count = total.rows[0]?.count ?? 0;
  }
  return body;
}

/** Old clients sort by Cinder's own column names. */
function sortable(query: Query): Query {
  const renamed = (text: string): string => text.replace(/\bdisplay_name\b/g, 'name');
  const { sort, sort_key } = query;
  return {
    ...query,
    ...(sort === undefined ? {} : { sort: [sort].flat().map(renamed) }),
    ...(sort_key === undefined ? {} : { sort_key: [sort_key].flat().map(renamed) }),
  };
}

/** Keyset paging knows no offset; 0, which clients send along, is none. */
function refuseOffset(query: Query): void {
  const offset = [query.offset ?? '0'].flat()[0] ?? '0';
  if (!/^\d{1,9}$/.test(offset) || Number(offset) > OFFSET_MOST) throw badRequest('offset param must be an integer');
  if (Number(offset) > 0) throw badRequest('offset is not served here; use marker.');
}
