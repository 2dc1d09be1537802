/** A value that fits a JSON schema, for tests that call every operation without knowing what it is about. */
import { sample as draw, stringMatching } from 'fast-check';
import type { TSchema } from 'typebox';
import { check } from '../http/validation.ts';

interface Schema {
  readonly type?: string | readonly string[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly if?: Schema;
  readonly else?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: boolean | Schema;
  readonly required?: readonly string[];
  readonly minProperties?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly pattern?: string;
  readonly format?: string;
}

export interface SampleOptions {
  /** What a property of this name could hold (the id of a network for `network_id`); the first that fits is taken. */
  readonly hint?: (name: string) => readonly unknown[];
  /** Optional properties to give too: all, none, or those of these names. */
  readonly optional?: 'all' | 'none' | ReadonlySet<string>;
}

const WORDS = [
  'sample',
  'a',
  '1',
  '00000000-0000-4000-8000-000000000451',
  '198.51.100.0/24',
  '198.51.100.9',
  '2001:db8::9',
  'fa:16:3e:00:04:51',
  'c2FtcGxl',
  'true',
  'http://sample.test',
  '2026-01-01T00:00:00Z',
  'A',
  'sample@sample.test',
];

/** Gives a value that fits the schema, the least there is unless optional properties are asked for. */
export function sample(schema: TSchema, options: SampleOptions = {}): unknown {
  return make(schema as Schema, options, '', 0);
}

/** The names of all properties that a schema knows, at any depth. */
export function propertiesOf(schema: TSchema): Set<string> {
  const names = new Set<string>();
  const visit = (part: unknown): void => {
    if (part === null || typeof part !== 'object') return;
    for (const [key, inner] of Object.entries(part)) {
      if (key === 'properties' && typeof inner === 'object') for (const name of Object.keys(inner)) names.add(name);
      visit(inner);
    }
  };
  visit(schema);
  return names;
}

function make(schema: Schema, options: SampleOptions, name: string, depth: number): unknown {
  const hinted = options.hint?.(name).find((value) => check(schema as TSchema, value) === undefined);
  if (hinted !== undefined) return hinted;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) {
    const made = choices.map((choice) => make(merged(schema, choice), options, name, depth));
    return made.find((value) => value !== null && check(schema as TSchema, value) === undefined) ?? made[0];
  }
  if (schema.allOf !== undefined) {
    const { allOf, ...rest } = schema;
    return make(allOf.reduce(merged, rest), options, name, depth);
  }
  if (schema.if !== undefined && schema.else !== undefined) return make(schema.else, options, name, depth);
  return typed(schema, options, name, depth);
}

function typed(schema: Schema, options: SampleOptions, name: string, depth: number): unknown {
  const types = [schema.type ?? (schema.properties === undefined ? [] : 'object')].flat();
  switch (types.find((type) => type !== 'null') ?? types[0]) {
    case 'object':
      return object(schema, options, depth);
    case 'array':
      return Array.from({ length: Math.max(schema.minItems ?? 0, options.optional === 'all' ? 1 : 0) }, () =>
        make(schema.items ?? {}, options, name.replace(/s$/, ''), depth + 1),
      );
    case 'integer':
    case 'number':
      return number(schema);
    case 'boolean':
      return true;
    case 'null':
      return null;
    default:
      return text(schema);
  }
}

function object(schema: Schema, options: SampleOptions, depth: number): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  const { optional = 'none' } = options;
  for (const [key, part] of Object.entries(schema.properties ?? {})) {
    const isAsked = optional === 'all' ? depth < 6 : optional !== 'none' && optional.has(key);
    if (schema.required?.includes(key) === true || isAsked) made[key] = make(part, options, key, depth + 1);
  }
  for (const key of schema.required ?? []) if (!(key in made)) made[key] = make({}, options, key, depth + 1);
  if (Object.keys(made).length < (schema.minProperties ?? 0))
    Object.assign(made, oneMore(schema, made, options, depth));
  return made;
}

/** A property that nothing requires, for a schema that wants at least some. */
function oneMore(schema: Schema, made: object, options: SampleOptions, depth: number): Record<string, unknown> {
  const known = Object.entries(schema.properties ?? {}).find(([key]) => !(key in made));
  if (known !== undefined) return { [known[0]]: make(known[1], options, known[0], depth + 1) };
  const [pattern, part] = Object.entries(schema.patternProperties ?? {})[0] ?? [];
  if (pattern !== undefined) return { [text({ pattern })]: make(part ?? {}, options, '', depth + 1) };
  const other = typeof schema.additionalProperties === 'object' ? schema.additionalProperties : {};
  return { sample: make(other, options, '', depth + 1) };
}

function number({ minimum, exclusiveMinimum, maximum }: Schema): number {
  const least = minimum ?? (exclusiveMinimum === undefined ? 1 : exclusiveMinimum + 1);
  return Math.min(Math.max(least, 1), maximum ?? Number.MAX_SAFE_INTEGER);
}

function text(schema: Schema): string {
  const fits = (word: string): boolean => check({ ...schema, type: 'string' } as TSchema, word) === undefined;
  const word = WORDS.find(fits);
  if (word !== undefined) return word;
  const long = 'sample'.padEnd(schema.minLength ?? 0, 'e');
  if (schema.pattern === undefined || fits(long)) return long;
  const [drawn] = draw(stringMatching(new RegExp(schema.pattern)).filter(fits), { numRuns: 1, seed: 451 });
  return drawn as string;
}

function merged(one: Schema, other: Schema): Schema {
  const { anyOf: _anyOf, oneOf: _oneOf, ...base } = one;
  return {
    ...base,
    ...other,
    ...(base.properties === undefined && other.properties === undefined
      ? {}
      : { properties: { ...base.properties, ...other.properties } }),
    ...(base.required === undefined && other.required === undefined
      ? {}
      : { required: [...(base.required ?? []), ...(other.required ?? [])] }),
  };
}
