/** JSON Schema checks of bodies and queries, with problems worded as the OpenStack services word them. */
import { _, Ajv, type ErrorObject, type KeywordCxt, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import type { TSchema } from 'typebox';
import type { SchemaProblem } from './service.ts';

const UUID = /^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$/;

const ajv = new Ajv({ allErrors: false, strict: false, verbose: true, ownProperties: true });
addFormats.default(ajv);
// OpenStack takes ids with and without dashes wherever it says uuid.
ajv.addFormat('uuid', UUID);

/**
 * Names as Nova and Cinder take them, under the names of their own formats. Printable is what is no control character and
 * no space but a horizontal one, within the first 65,536 characters.
 */
const EDGE = '[\\p{C}\\p{Z}]';
const printable = (without: string): RegExp =>
  new RegExp(`^(?!${EDGE})[^\\p{C}\\u2028\\u2029\\u{10000}-\\u{10FFFF}${without}]*(?<!${EDGE})$`, 'u');
const LETTERS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
const NAMES: Readonly<Record<string, { readonly regex: RegExp; readonly reason: string }>> = {
  name: { regex: printable(''), reason: 'printable characters. Can not start or end with whitespace.' },
  az_name: { regex: printable(':'), reason: 'printable characters except :.Can not start or end with whitespace.' },
  keypair_name_20: { regex: /^[\w -]*$/, reason: `Only expected characters: [_- ${LETTERS}]` },
  keypair_name_292: { regex: /^[\w@. -]*$/, reason: `Only expected characters: [@._- ${LETTERS}]` },
};
for (const [name, { regex }] of Object.entries(NAMES)) ajv.addFormat(name, regex);

/** Moments as Nova reads them: any part of ISO 8601 from the year on, UTC where no zone is named. */
const ISOTIME =
  /^(\d{4})(?:-?(\d{1,2})(?:-?(\d{1,2})(?:[ T](\d{2})(?::?(\d{2})(?::?(\d{1,2})(?:[.,](\d+))?)?)?(Z|[ +-]\d{2}(?::?\d{2})?)?)?)?)?$/;

/** A moment in full ISO 8601; undefined where the text is none. */
export function isotime(text: string): string | undefined {
  const parts = ISOTIME.exec(text);
  if (parts === null) return undefined;
  const [, year, month = '1', day = '1', hour = '0', minute = '0', second = '0', fraction = '0', zone = 'Z'] = parts;
  const two = (part: string): string => part.padStart(2, '0');
  // A plus that was not encoded in a URL has become a space.
  const digits = zone.replace(':', '').slice(1);
  const shift = zone === 'Z' ? 'Z' : `${zone[0] === '-' ? '-' : '+'}${digits.slice(0, 2)}:${digits.slice(2) || '00'}`;
  const full = `${year}-${two(month)}-${two(day)}T${two(hour)}:${two(minute)}:${two(second)}.${fraction.slice(0, 6)}${shift}`;
  // Dates that there are not are moved by Date into the next month.
  const isDay = new Date(`${year}-${two(month)}-${two(day)}T00:00:00Z`).getUTCDate() === Number(day);
  return isDay && !Number.isNaN(Date.parse(full)) ? full : undefined;
}
ajv.addFormat('isotime', (text) => isotime(text) !== undefined);

ajv.addFormat('regex', (text) => {
  try {
    return text !== '' && RegExp(text) instanceof RegExp;
  } catch {
    return false;
  }
});

/** Python passes over what is not of the alphabet, and misses only what fills up the last four. */
ajv.addFormat('base64', (text) => {
  const letters = text.replaceAll(/[^A-Za-z0-9+/=]/g, '');
  const data = letters.replaceAll('=', '').length % 4;
  return data === 0 || (data !== 1 && letters.length - letters.replaceAll('=', '').length >= 4 - data);
});

// Bounds hold for numbers that are written as text, too, as in the services' own validators.
for (const [keyword, outside] of [
  ['minimum', _`<`],
  ['maximum', _`>`],
  ['exclusiveMinimum', _`<=`],
] as const) {
  ajv.removeKeyword(keyword);
  ajv.addKeyword({
    keyword,
    type: ['number', 'string'],
    schemaType: 'number',
    error: { message: 'is out of bounds', params: ({ schemaCode }) => _`{limit: ${schemaCode}}` },
    code(cxt: KeywordCxt) {
      const { data, schemaCode } = cxt;
      cxt.fail(_`${data} !== "" && Number(${data}) ${outside} ${schemaCode}`);
    },
  });
}

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
  const name = error.keyword === 'format' ? NAMES[String((error.params as { format?: unknown }).format)] : undefined;
  return {
    path: error.instancePath,
    keyword: error.keyword,
    message: words(error),
    value: error.data,
    property,
    ...(name === undefined ? {} : { nameReason: name.reason }),
  };
}

/** The words of Python's jsonschema, which the services pass on to their clients. */
function words(error: ErrorObject): string {
  const value = isSecret(error.instancePath) ? "'***'" : repr(error.data);
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case 'required':
      return `'${String(params.missingProperty)}' is a required property`;
    case 'additionalProperties': {
      const patterns = Object.keys((error.parentSchema?.patternProperties as object | undefined) ?? {});
      if (patterns.length > 0) {
        const named = patterns.map(repr).join(', ');
        return `${repr(params.additionalProperty)} does not match any of the regexes: ${named}`;
      }
      return `Additional properties are not allowed ('${String(params.additionalProperty)}' was unexpected)`;
    }
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
      return `${value} is not a ${repr(params.format === 'isotime' ? 'date-time' : params.format)}`;
    case 'minimum':
      return `${Number(error.data)} is less than the minimum of ${String(params.limit)}`;
    case 'exclusiveMinimum':
      return `${Number(error.data)} is less than or equal to the minimum of ${String(params.limit)}`;
    case 'maximum':
      return `${Number(error.data)} is greater than the maximum of ${String(params.limit)}`;
    default:
      return `${value} is not valid under any of the given schemas`;
  }
}

/** A value as Python would print it, cut to a line, without what may be secret. */
export function repr(value: unknown): string {
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
