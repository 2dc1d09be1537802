/** Nova's two links of a resource, and its query parameters' schemas. */
import { type TSchema, Type } from 'typebox';
import type { RequestContext } from '../http/service.ts';

export interface Link {
  readonly rel: string;
  readonly href: string;
}

/**
 * The links of one resource: `self` with the API version in it, `bookmark` without.
 * @param path below the service's root, beginning with a slash: `/flavors/1`
 */
export function resourceLinks(context: RequestContext, path: string): Link[] {
  return [
    { rel: 'self', href: `${context.baseUrl}${path}` },
    { rel: 'bookmark', href: `${context.baseUrl.slice(0, context.baseUrl.lastIndexOf('/'))}${path}` },
  ];
}

/** A query parameter that is a number, and none below zero. */
export const NON_NEGATIVE: object = { type: 'string', pattern: '^[0-9]*$', minLength: 1 };

/** A query parameter that is a moment, and one whose value is a regular expression. */
export const MOMENT: object = { type: 'string', format: 'isotime' };
export const PATTERN: object = { type: 'string', format: 'regex' };

const single = new WeakSet<object>();

/** A query parameter that may be given once alone. */
export function once(schema: object): object {
  const own = { ...schema };
  single.add(own);
  return own;
}

/** A query parameter that may be anything. */
export const ANY_TEXT: object = { type: 'string' };

/** Parameters of every list that pages. */
export const PAGING_PARAMETERS: Readonly<Record<string, object>> = { limit: NON_NEGATIVE, marker: ANY_TEXT };

/**
 * The schema of a query: each parameter once or repeatedly. Others are passed over, until Nova began to refuse them in
 * microversion 2.75.
 */
export function queryParameters(
  parameters: Readonly<Record<string, object>>,
  strictSince = 75,
): (version: number) => TSchema {
  const properties = Object.fromEntries(
    Object.entries(parameters).map(([name, schema]) => [
      name,
      {
        if: { type: 'string' },
        then: schema,
        else: { type: 'array', items: schema, ...(single.has(schema) ? { maxItems: 1 } : {}) },
      },
    ]),
  );
  const schema = (additionalProperties: boolean): TSchema =>
    Type.Unsafe({ type: 'object', properties, additionalProperties });
  const loose = schema(true);
  const strict = schema(false);
  return (version) => (version >= strictSince ? strict : loose);
}

/** The first value of a query parameter, or undefined. */
export function firstOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' || value === undefined ? value : value[0];
}
