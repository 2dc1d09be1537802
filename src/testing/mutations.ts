/** What a client could send instead of what an operation takes. */
import * as fc from 'fast-check';

/** A request as it goes out. */
export interface Mutant {
  readonly body: string | Buffer | undefined;
  readonly query: string;
  /** The path's parameters: undefined for the id that there is. */
  readonly ids: readonly (string | undefined)[];
  readonly headers: Readonly<Record<string, string>>;
}

const oddTexts = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '\0',
    'a\0b',
    '\ud800',
    'x\udfffy',
    'null',
    '-1',
    '1e309',
    '%',
    '%00',
    '../../etc/passwd',
    "'; drop table servers; --",
    '\\',
    '🦜'.repeat(70),
    'a'.repeat(256),
    'b'.repeat(5000),
    'é'.repeat(255),
    '00000000-0000-0000-0000-000000000000',
    '0000000000000000000000000000000g',
    '10.0.0.0/33',
    '256.1.1.1',
    '::1/129',
    '0.0.0.0/0',
    'fe80::1%eth0',
    '2026-02-30T25:61:61Z',
    '9999999999999999999999',
    'constructor',
    '__proto__',
    'in:a,b',
    'neq:',
    'gt:x',
    '[a-',
    '*',
    '\r\nx-injected: 1',
  ),
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
);

const oddNumbers = fc.oneof(
  fc.constantFrom(-1, 0, 1.5, -0.1, 2 ** 31, 2 ** 53, -(2 ** 63), 1e21, 1e308),
  fc.integer(),
  fc.double({ noNaN: true }),
);

const oddValues: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 4, arbitrary: oddTexts },
  { weight: 2, arbitrary: oddNumbers },
  fc.constantFrom(null, true, false, [], {}, [[]], [null], { '': null }, [{}]),
  fc.array(oddTexts, { maxLength: 4 }),
  fc.dictionary(oddTexts, oddNumbers, { maxKeys: 3 }),
  fc.integer({ min: 1, max: 100 }).map(nested),
  fc.integer({ min: 100, max: 3000 }).map((length) => Array.from({ length }, (_, at) => at)),
);

/** A valid body with one to three of its parts swapped, dropped, added to or wrapped. */
function mutated(body: unknown): fc.Arbitrary<unknown> {
  const paths = pathsOf(body);
  const change = fc.record({
    path: fc.constantFrom(...paths),
    way: fc.constantFrom('put', 'put', 'put', 'drop', 'add', 'wrap', 'twice'),
    name: oddTexts,
    value: oddValues,
  });
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => {
    let result = structuredClone(body);
    for (const { path, way, name, value } of changes) result = changed(result, path, way, name, value);
    return result;
  });
}

/**
 * What to send to an operation.
 * @param samples valid bodies; none where it takes none
 * @param parameters how many ids its path has
 * @param filters names that its query may know
 */
export function mutants(
  samples: readonly unknown[],
  parameters: number,
  filters: readonly string[],
): fc.Arbitrary<Mutant> {
  const valid = samples.map((body) => ({ weight: 6, arbitrary: mutated(body).map((value) => text(value)) }));
  const bodies: fc.Arbitrary<string | Buffer | undefined> = fc.oneof(
    { weight: samples.length === 0 ? 4 : 1, arbitrary: fc.constant(undefined) },
    ...valid,
    ...samples.map((body) => ({ weight: 1, arbitrary: fc.constant(text(body)) })),
    { weight: 1, arbitrary: oddValues.map((value) => text(value)) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('', '{', '{"a":1}x', 'null', '[]', '"', '\0', '{"a":1,"a":2}', '\ufeff{}'),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
  );
  const pair = fc.tuple(
    filters.length === 0 ? oddTexts : fc.oneof(fc.constantFrom(...filters), fc.constantFrom(...filters), oddTexts),
    fc.oneof(oddTexts, fc.constantFrom('1', 'true', 'None', 'id', 'asc', 'created_at:desc,id')),
  );
  const ids = fc.oneof(
    { weight: 3, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: oddTexts.map((value) => encoded(value)) },
    { weight: 1, arbitrary: fc.constantFrom('%', '%zz', '%ff', '%2e%2e', '%2F', '%00', '.', '..', 'x;y', 'é') },
  );
  return fc.record({
    body: bodies,
    query: fc.oneof(
      { weight: 2, arbitrary: fc.constant('') },
      { weight: 3, arbitrary: fc.array(pair, { minLength: 1, maxLength: 4 }).map(queryOf) },
      {
        weight: 1,
        arbitrary: fc.constantFrom('?&&&', '?=', '?a[]=1&a[b]=2', '?%', '?limit=%', `?${'a=1&'.repeat(1500)}`),
      },
    ),
    ids: fc.array(ids, { minLength: parameters, maxLength: parameters }),
    headers: fc.oneof(
      { weight: 8, arbitrary: fc.constant({}) },
      {
        weight: 1,
        arbitrary: fc.record({
          'content-type': fc.constantFrom(
            'text/plain',
            'application/xml',
            'application/octet-stream',
            'application/json; charset=utf-16',
            'application/openstack-images-v2.1-json-patch',
            'multipart/form-data; boundary=x',
            'x',
            '',
          ),
        }),
      },
      {
        weight: 1,
        arbitrary: fc
          .constantFrom('latest', '2.1', '2.999', '3.0', '9.9', 'x', '2.-1', '2.53', '3.27', '')
          .map((version) => ({
            'openstack-api-version': `compute ${version}, volume ${version}`,
            'x-openstack-nova-api-version': version,
          })),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom<Record<string, string>>(
          { accept: '*/*' },
          { accept: 'text/html' },
          { range: 'bytes=9-1' },
          { 'content-range': 'bytes x' },
          { 'x-subject-token': 'x'.repeat(300) },
          { 'x-openstack-request-id': 'req-x' },
          { 'x-image-meta-size': '-1' },
        ),
      },
    ),
  });
}

/** Deeper than any schema. */
function nested(depth: number): unknown {
  let value: unknown = {};
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? { a: value } : [value];
  return value;
}

type Path = readonly (string | number)[];

function pathsOf(value: unknown, path: Path = []): Path[] {
  if (value === null || typeof value !== 'object') return [path];
  return [
    path,
    ...Object.entries(value).flatMap(([key, inner]) =>
      pathsOf(inner, [...path, Array.isArray(value) ? Number(key) : key]),
    ),
  ];
}

function changed(root: unknown, path: Path, way: string, name: string, value: unknown): unknown {
  const [first, ...rest] = path;
  if (first === undefined) return here(root, way, name, value);
  if (root === null || typeof root !== 'object') return root;
  const copy = (Array.isArray(root) ? [...root] : { ...root }) as Record<string | number, unknown>;
  if (rest.length === 0 && way === 'drop') {
    delete copy[first];
    return Array.isArray(copy) ? copy.filter((one) => one !== undefined) : copy;
  }
  if (rest.length === 0 && way === 'twice' && Array.isArray(root)) return [...root, ...root];
  if (Object.hasOwn(copy, first)) copy[first] = changed(copy[first], rest, way, name, value);
  return copy;
}

function here(part: unknown, way: string, name: string, value: unknown): unknown {
  if (way === 'wrap') return [part];
  if (way === 'add' && part !== null && typeof part === 'object') {
    return Array.isArray(part) ? [...part, value] : { ...part, [name]: value };
  }
  return way === 'put' ? value : part;
}

function text(value: unknown): string {
  return JSON.stringify(value) ?? '';
}

function encoded(value: string): string {
  return encodeURIComponent(value.replace(/[\ud800-\udfff]/gu, '')) || '%20';
}

function queryOf(pairs: readonly (readonly [string, string])[]): string {
  return `?${pairs.map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join('&')}`;
}
