/** Schemas of parameters that several of compute's resources take. */
import { type TSchema, Type } from 'typebox';

/** Printable characters, no space at either end: what Nova takes as a name. */
export const PRINTABLE_NAME: TSchema = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^(?![\\p{Z}\\p{C}])[^\\p{C}\\u2028\\u2029]*(?<![\\p{Z}\\p{C}])$',
});

/** The same without colons, for availability zones. */
export const ZONE_NAME: TSchema = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^(?![\\p{Z}\\p{C}])[^\\p{C}\\u2028\\u2029:]*(?<![\\p{Z}\\p{C}])$',
});

const TRUE = ['True', 'TRUE', 'true', '1', 'ON', 'On', 'on', 'YES', 'Yes', 'yes'];
const FALSE = ['False', 'FALSE', 'false', '0', 'OFF', 'Off', 'off', 'NO', 'No', 'no'];

/** Nova's booleans: a boolean, or a word for one. */
export const BOOLEAN: TSchema = Type.Unsafe<boolean | string>({
  type: ['boolean', 'string'],
  enum: [true, ...TRUE, false, ...FALSE],
});

/** A value that fits BOOLEAN, as a boolean. */
export const booleanOf = (value: unknown): boolean => value === true || TRUE.includes(String(value));
