/**
 * Objects that other projects may use, too: what every kind of them stores of it, shows and filters by. With whom an
 * object is shared stands on its own row, so that a list stays one query.
 */
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { RequestContext } from '../http/service.ts';
import { computed, type FieldOptions, field } from '../resource/resource.ts';
import { booleanOf } from '../resource/listing.ts';
import { invalidInput } from './network-fault.ts';
import { callersProject } from './network-project.ts';

interface Shared {
  readonly shared: boolean;
  readonly shared_with: readonly string[];
}

/** Whether the caller's project is one that the object is shared with, as it is shown. */
export const isSharedWith = (row: Shared, context: RequestContext): boolean =>
  row.shared || row.shared_with.includes(callersProject(context));

/** The columns of an object that only policies share, and that does not show it. */
export const hiddenShared = {
  shared: field(Type.Boolean(), { column: true, default: false, show: 'never' }),
  shared_with: field(Type.Array(Type.String()), { column: true, default: [], show: 'never' }),
} as const;

/**
 * The fields of an object that can be shared, for its description. Columns: `shared`, `shared_with`.
 * @param given when a request may say it, and who; nothing where only policies do
 */
export const sharedFields = (given: Pick<FieldOptions, 'create' | 'update' | 'settableBy'>) => ({
  /** With everybody. */
  shared: field(Type.Boolean(), { ...given, default: false, sort: true, show: 'never', filter: sharedFilter }),
  /** With these projects; kept by the policies (`rbac/`). */
  shared_with: field(Type.Array(Type.String()), { column: true, default: [], show: 'never' }),
  is_shared: computed(isSharedWith, { name: 'shared' }),
});

/** What an object is that nobody but its project may use; for rows that are made without the API. */
export const NOT_SHARED = { shared: false, shared_with: [] as string[] };

/** The condition of a filter `shared=`: about the caller's project, as it is shown. */
function sharedFilter(values: readonly string[], context: RequestContext): RawBuilder<SqlBool> {
  return sql<SqlBool>`${sharedCondition(context)} = any(${values.map(sharedValue)}::boolean[])`;
}

/** What a filter `shared=` says. @throws Fault 400 */
export function sharedValue(text: string): boolean {
  const is = booleanOf(text);
  if (is === undefined) throw invalidInput(`'${text.slice(0, 64)}' cannot be converted to boolean.`);
  return is;
}

/** Shared with the caller's project. Unqualified columns. */
export const sharedCondition = (context: RequestContext): RawBuilder<SqlBool> =>
  sql<SqlBool>`(shared or (shared_with <> '{}' and shared_with @> array[${callersProject(context)}]::text[]))`;

/** Own ones and those shared with the caller's project; an admin sees all. Unqualified columns. */
export const ownOrShared = (context: RequestContext): readonly RawBuilder<SqlBool>[] =>
  context.identity.isAdmin
    ? []
    : [sql<SqlBool>`(project_id = ${callersProject(context)} or ${sharedCondition(context)})`];
