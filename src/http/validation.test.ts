import { Type } from 'typebox';
import { describe, expect, it } from 'vitest';
import { compute } from './conventions.ts';
import { check, isotime } from './validation.ts';

const schemaOf = (json: object) => Type.Unsafe({ type: 'object', properties: { it: json } });
const message = (json: object, it: unknown, part: 'body' | 'query' = 'body'): string | undefined => {
  const problem = check(schemaOf(json), { it });
  return problem === undefined ? undefined : compute.invalid(problem, part).message;
};

describe('values', () => {
  it('are bounded as numbers, also where they are written as text', () => {
    const count = { type: ['integer', 'string'], pattern: '^[0-9]*$', minLength: 1, minimum: 1, maximum: 10 };
    for (const fine of [1, 10, '1', '10', '007']) expect(message(count, fine), String(fine)).toBeUndefined();
    const says = 'Invalid input for field/attribute it. Value: ';
    expect(message(count, 0)).toBe(`${says}0. 0 is less than the minimum of 1`);
    expect(message(count, '0')).toBe(`${says}0. 0 is less than the minimum of 1`);
    expect(message(count, '11')).toBe(`${says}11. 11 is greater than the maximum of 10`);
    expect(message(count, '')).toBe(`${says}. '' is too short`);
    expect(message({ exclusiveMinimum: 0 }, '0')).toBe(`${says}0. 0 is less than or equal to the minimum of 0`);
  });

  it('are shown as Python shows them, where it looked for them', () => {
    expect(message({ type: 'string' }, true)).toBe(
      "Invalid input for field/attribute it. Value: True. True is not of type 'string'",
    );
    expect(message({ type: 'string', pattern: '^a$' }, 'b', 'query')).toBe(
      "Invalid input for query parameters it. Value: b. 'b' does not match '^a$'",
    );
  });
});

describe('properties', () => {
  it('that nobody knows are refused by what their names may be like, where that is said', () => {
    const closed = { type: 'object', properties: { a: {} }, additionalProperties: false };
    expect(message(closed, { b: 1 })).toContain("Additional properties are not allowed ('b' was unexpected)");
    expect(message({ ...closed, patternProperties: { '^_': {} } }, { b: 1 })).toContain(
      "'b' does not match any of the regexes: '^_'",
    );
  });
});

describe('names', () => {
  const wrong = (reason: string) => `An invalid 'name' value was provided. The name must be: ${reason}`;
  it('are printable characters, with a space at neither end', () => {
    for (const fine of ['a', 'a b', 'ä\u3000ö', '']) expect(message({ format: 'name' }, fine), fine).toBeUndefined();
    for (const odd of [' a', 'a ', 'a\tb', 'a\u2028b', '\u{1F600}', 'a\n']) {
      expect(message({ format: 'name' }, odd), JSON.stringify(odd)).toBe(
        wrong('printable characters. Can not start or end with whitespace.'),
      );
    }
    expect(message({ format: 'name' }, 'a:b')).toBeUndefined();
    expect(message({ format: 'az_name' }, 'a:b')).toContain('printable characters except :.');
  });
});

describe('base64', () => {
  it('may have other characters between, but not too few', () => {
    for (const fine of ['', 'dGVzdA==', 'dGVz dA==', 'dGVz', '***']) {
      expect(message({ format: 'base64' }, fine), fine).toBeUndefined();
    }
    for (const odd of ['a', 'ab', 'abc', 'abcde=']) expect(message({ format: 'base64' }, odd), odd).toBeDefined();
  });
});

describe('moments', () => {
  it('are ISO 8601, from the year on', () => {
    expect(isotime('2020')).toBe('2020-01-01T00:00:00.0Z');
    expect(isotime('2020-02-29T10:11:12Z')).toBe('2020-02-29T10:11:12.0Z');
    expect(isotime('2020-02-28 10:11')).toBe('2020-02-28T10:11:00.0Z');
    expect(isotime('2020-02-28T10:11:12.1234567+0200')).toBe('2020-02-28T10:11:12.123456+02:00');
    // A plus in a URL that was not encoded.
    expect(isotime('2020-02-28T10:11:12 02:00')).toBe('2020-02-28T10:11:12.0+02:00');
    for (const odd of ['', 'now', '2021-02-29', '2020-13-01', '2020-01-01T25:00', '20', '2020-1-1x']) {
      expect(isotime(odd), odd).toBeUndefined();
    }
    expect(message({ format: 'isotime' }, 'now', 'query')).toBe(
      "Invalid input for query parameters it. Value: now. 'now' is not a 'date-time'",
    );
  });
});
