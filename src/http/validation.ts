/** JSON Schema checks of bodies and queries, with problems worded as the OpenStack services word them. */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import type { TSchema } from 'typebox';
import type { SchemaProblem } from './service.ts';

const UUID = /^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$/;

const ajv = new Ajv({ allErrors: false, strict: false, verbose: true, ownProperties: true });
addFormats.default(ajv);
// OpenStack takes ids with and without dashes wherever it says uuid.
ajv.addFormat('uuid', UUID);

/** Names under which secrets come; what they hold is not repeated in a fault, not even to whoever sent it. */
const SECRET = /pass|secret|user_data|token|private|blob/i;

/** Whether a value at this JSON pointer may be a secret. */
export const isSecret = (path: string): boolean => SECRET.test(path);

const compiled = new WeakMap<object, ValidateFunction>();

/**
 * Holds a value against a schema, compiled at first use.
 * @returns the first thing that does not fit, or undefined where all does
 */
export function check(schema: TSchema, value: unknown): SchemaProblem | undefined {
  let validate = compiled.get(schema);
  if (validate === undefined) {
    validate = ajv.compile(schema);
    compiled.set(schema, validate);
  }
  if (validate(value)) return undefined;
  const error = mostTelling(validate.errors ?? []);
  return error === undefined
    ? { path: '', keyword: 'false', message: 'is not valid', value, property: undefined }
    : problem(error);
}

/** Of the errors of an `anyOf`, the one that got furthest into the value says most. */
function mostTelling(errors: readonly ErrorObject[]): ErrorObject | undefined {
  const summary = errors.at(-1);
  if (summary?.keyword !== 'anyOf' && summary?.keyword !== 'oneOf') return errors[0];
  const deepest = errors.toSorted((one, other) => other.instancePath.length - one.instancePath.length)[0];
  return deepest !== undefined && deepest.instancePath.length > summary.instancePath.length ? deepest : summary;
}

function problem(error: ErrorObject): SchemaProblem {
  const property =
    (error.params as { additionalProperty?: string }).additionalProperty ??
    (error.params as { missingProperty?: string }).missingProperty;
  return { path: error.instancePath, keyword: error.keyword, message: words(error), value: error.data, property };
}

/** The words of Python's jsonschema, which the services pass on to their clients. */
function words(error: ErrorObject): string {
  const value = isSecret(error.instancePath) ? "'***'" : repr(error.data);
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'required':
      return `'${String(params.missingProperty)}' is a required property`;
    case 'additionalProperties':
      return `Additional properties are not allowed ('${String(params.additionalProperty)}' was unexpected)`;
    case 'type':
      return `${value} is not of type ${[params.type].flat().map(repr).join(', ')}`;
    case 'enum':
      return `${value} is not one of ${repr(params.allowedValues)}`;
    case 'const':
      return `${repr(params.allowedValue)} was expected`;
    case 'minLength':
    case 'minItems':
      return `${value} is too short`;
    case 'maxLength':
    case 'maxItems':
      return `${value} is too long`;
    case 'minProperties':
      return `${value} does not have enough properties`;
    case 'maxProperties':
      return `${value} has too many properties`;
    case 'uniqueItems':
      return `${value} has non-unique elements`;
    case 'pattern':
      return `${value} does not match ${repr(params.pattern)}`;
    case 'format':
      return `${value} is not a ${repr(params.format)}`;
    case 'minimum':
      return `${value} is less than the minimum of ${String(params.limit)}`;
    case 'maximum':
      return `${value} is greater than the maximum of ${String(params.limit)}`;
    default:
      return `${value} is not valid under any of the given schemas`;
  }
}

/** A value as Python would print it, cut to a line. */
function repr(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'string') {
    return `'${(value.length > 120 ? `${value.slice(0, 120)}...` : value).replaceAll('\\', '\\\\')}'`;
  }
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.slice(0, 20).map(repr).join(', ')}]`;
  if (typeof value === 'object') {
    const pairs = Object.entries(value).slice(0, 8);
    return `{${pairs.map(([key, inner]) => `'${key}': ${/data/i.test(key) || isSecret(key) ? "'***'" : repr(inner)}`).join(', ')}}`;
  }
  return String(value);
}
