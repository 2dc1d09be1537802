/** Neutron's four tag filters, for every resource with a `tags text[]` column. */
import { sql, type SqlBool } from 'kysely';
import type { FilterCondition } from '../resource/resource.ts';

const wanted = (values: readonly string[]): string[] =>
  values.flatMap((value) => value.split(',')).filter((tag) => tag !== '');

/** To be spread into a resource's `filters`. */
export const tagFilters: Readonly<Record<string, FilterCondition>> = {
  tags: (values) => sql<SqlBool>`tags @> ${wanted(values)}::text[]`,
  'tags-any': (values) => sql<SqlBool>`tags && ${wanted(values)}::text[]`,
  'not-tags': (values) => sql<SqlBool>`not tags @> ${wanted(values)}::text[]`,
  'not-tags-any': (values) => sql<SqlBool>`not tags && ${wanted(values)}::text[]`,
};
