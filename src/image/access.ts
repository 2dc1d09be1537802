/** Who sees which image, and what the rules are asked about. */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import type { Queryable, Tx } from '../db/database.ts';
import { type Fault, notFound } from '../http/fault.ts';
import type { RequestContext } from '../http/service.ts';
import { type ImageRow, images, rules } from './resource.ts';

/** The caller's project; '-' for a token without one, which owns nothing. */
export const projectOf = (context: RequestContext): string => context.identity.project?.id ?? '-';

/** Rows that the caller may see by id: own, public, community, and shared with it whatever it answered to that. */
export function visible(context: RequestContext): readonly RawBuilder<SqlBool>[] {
  if (context.identity.isAdmin) return [];
  const project = projectOf(context);
  return [
    sql<SqlBool>`(project_id = ${project} or visibility in ('public', 'community')
      or (visibility = 'shared' and exists
        (select 1 from image_members m where m.image_id = images.id and m.member_id = ${project})))`,
  ];
}

/** What the rules are asked about. A row that was found visible, shared and foreign can only be shared with the caller. */
export function targetOf(context: RequestContext, row: ImageRow): Readonly<Record<string, unknown>> {
  const project = projectOf(context);
  const isMember = row.visibility === 'shared' && row.project_id !== project && !context.identity.isAdmin;
  return {
    project_id: row.project_id,
    owner: row.project_id,
    visibility: row.visibility,
    image_id: row.id,
    ...(isMember ? { member_id: project } : {}),
  };
}

/** @throws Fault 403 where the rule does not allow it for this image; 404 where the image may not even be shown */
export function enforce(context: RequestContext, rule: string, row: ImageRow): void {
  const target = targetOf(context, row);
  if (!context.allowed(rules.show.name, target)) throw notFound('The resource could not be found.');
  context.enforce(rule, target);
}

/** Glance words a missing image differently from call to call. */
export const missing = (id: string): Fault => notFound(`No image found with ID ${id}`);
export const missingPlain = (id: string): Fault => notFound(`Image ${id} not found.`);

/** @throws Fault 404 where there is none that the caller may see */
export async function findVisible(
  query: Queryable,
  context: RequestContext,
  id: string,
  fault: (id: string) => Fault = missing,
): Promise<ImageRow> {
  const row = await images.find(query, id, visible(context));
  if (row === undefined) throw fault(id);
  return row;
}

/** The same, locked until the transaction ends. */
export async function lockVisible(
  tx: Tx,
  context: RequestContext,
  id: string,
  fault: (id: string) => Fault = missing,
): Promise<ImageRow> {
  const row = await images.lock(tx, id, visible(context));
  if (row === undefined) throw fault(id);
  return row;
}
