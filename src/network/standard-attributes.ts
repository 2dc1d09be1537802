/**
 * Neutron's standard attributes, which almost every object of its has: tags, timestamps and revisions, and the filters
 * by them. The revision number counts what replicas are held against (`revision`), and what no child is told of
 * (`touched`).
 */
import { type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Queryable } from '../db/database.ts';
import { computed, type FilterCondition, field, Timestamp } from '../resource/resource.ts';
import { invalidInput } from './network-fault.ts';
import type { Extension } from './extension-type.ts';

/** What it announces in the list of extensions. */
export const standardExtensions: readonly Extension[] = [
  {
    alias: 'revision-if-match',
    name: 'If-Match constraints based on revision_number',
    description: 'Changes that hold for one revision.',
    updated: '2016-12-11T00:00:00-00:00',
  },
  {
    alias: 'standard-attr-description',
    name: 'standard-attr-description',
    description: 'Every object has a description.',
    updated: '2016-02-10T10:00:00-00:00',
  },
  {
    alias: 'standard-attr-revisions',
    name: 'Resource revision numbers',
    description: 'Every object counts its changes.',
    updated: '2016-04-11T10:00:00-00:00',
  },
  {
    alias: 'standard-attr-tag',
    name: 'Tag support for resources with standard attribute: port, subnet, subnetpool, network, security_group, router, floatingip, policy, trunk',
    description: 'Objects can be tagged.',
    updated: '2017-01-01T00:00:00-00:00',
  },
  {
    alias: 'standard-attr-timestamp',
    name: 'Resource timestamps',
    description: 'Every object tells when it was made and changed.',
    updated: '2016-09-12T10:00:00-00:00',
  },
];

interface Revised {
  readonly revision: number;
  readonly touched?: number;
}

/** Revision of a new object: 1 where Neutron makes it in two steps. */
type First = 0 | 1;

/** To be spread into the fields of an object that cannot be tagged. */
export const revisedAttributes = (first: First) => ({
  created_at: field(Timestamp),
  updated_at: field(Timestamp),
  revision_number: computed((row: Revised) => row.revision - 1 + first + (row.touched ?? 0)),
});

/** To be spread into a description's fields. Columns: `tags`, `touched`. */
export const standardAttributes = (first: First) => ({
  tags: field(Type.Array(Type.String()), { column: true, default: [] }),
  ...revisedAttributes(first),
});

const wanted = (values: readonly string[]): string[] =>
  values.flatMap((value) => value.split(',')).filter((tag) => tag !== '');

const tagFilters: Readonly<Record<string, FilterCondition>> = {
  tags: (values) => sql<SqlBool>`tags @> ${wanted(values)}::text[]`,
  'tags-any': (values) => sql<SqlBool>`tags && ${wanted(values)}::text[]`,
  'not-tags': (values) => sql<SqlBool>`not tags @> ${wanted(values)}::text[]`,
  'not-tags-any': (values) => sql<SqlBool>`not tags && ${wanted(values)}::text[]`,
};

/** To be spread into the filters of an object that cannot be tagged. */
export const revisedFilters = (first: First, touched = sql`0`): Readonly<Record<string, FilterCondition>> => ({
  revision_number: (values) =>
    sql<SqlBool>`revision - 1 + ${first}::int + ${touched} = any(${values.map(revisionOf)}::bigint[])`,
  changed_since: ([text = '']) => sql<SqlBool>`updated_at >= ${momentOf(text)}::timestamptz`,
});

/** To be spread into a description's filters. */
export const standardFilters = (first: First): Readonly<Record<string, FilterCondition>> => ({
  ...tagFilters,
  ...revisedFilters(first, sql`touched`),
});

function revisionOf(text: string): number {
  if (/^-?\d{1,15}$/.test(text)) return Number(text);
  throw invalidInput(`'${text.slice(0, 64)}' is not an integer.`);
}

const MOMENT = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?$/;

/** A moment in ISO 8601; without a zone it is UTC. */
function momentOf(text: string): string {
  const spaced = text.replace(' ', 'T');
  const hasZone = /(Z|T.*[+-]\d\d(:?\d\d)?)$/.test(spaced);
  const moment = spaced.includes('T') ? spaced : `${spaced}T00:00`;
  const zoned = hasZone ? moment : `${moment}Z`;
  if (MOMENT.test(spaced) && !Number.isNaN(Date.parse(zoned))) return zoned;
  throw invalidInput('The input changed_since must be in the following format: YYYY-MM-DDTHH:MM:SSZ.');
}

/** An object changed in what no child is told of. */
export async function touch(query: Queryable, table: string, ids: readonly string[]): Promise<void> {
  await sql`update ${sql.table(table)} set touched = touched + 1, updated_at = clock_timestamp()
    where id = any(${[...ids]}::text[])`.execute(query);
}
