/** Schemas of parameters that several of compute's resources take. */
import { type TSchema, Type } from 'typebox';

/** What descriptions are made of, as a pattern. */
export const PRINTABLE = '^[^\\p{C}\\u2028\\u2029\\u{10000}-\\u{10FFFF}]*$';

/** Printable characters, no space at either end: what Nova takes as a name. */
export const PRINTABLE_NAME: TSchema = Type.String({ minLength: 1, maxLength: 255, format: 'name' });

/** The same without colons, for availability zones. */
export const ZONE_NAME: TSchema = Type.String({ minLength: 1, maxLength: 255, format: 'az_name' });

/** A number, or text that is one. */
export const numberOf = (minimum: number, maximum?: number): TSchema =>
  Type.Unsafe<number | string>({
    type: ['integer', 'string'],
    pattern: minimum < 0 ? '^-?[0-9]+$' : '^[0-9]*$',
    minLength: 1,
    minimum,
    ...(maximum === undefined ? {} : { maximum }),
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
