/** Signatures of OAuth 1 requests (RFC 5849), by secrets that both sides know. */
import { createHmac, timingSafeEqual } from 'node:crypto';

const HASHES: ReadonlyMap<string, string> = new Map([
  ['HMAC-SHA1', 'sha1'],
  ['HMAC-SHA256', 'sha256'],
  ['HMAC-SHA512', 'sha512'],
]);

/** How far a request's clock may be from ours. */
const CLOCKS_APART_S = 600;
const HEADER_MAX_CHARACTERS = 4096;

/** What an `Authorization: OAuth ...` says, by name; empty where there is none. */
export function oauthParameters(header: string | undefined): ReadonlyMap<string, string> {
  const [, text = ''] = /^OAuth\s+(.*)$/is.exec((header ?? '').slice(0, HEADER_MAX_CHARACTERS)) ?? [];
  const parameters = new Map<string, string>();
  for (const [, name = '', value = ''] of text.matchAll(/([^\s,=]+)="([^"]*)"/g)) {
    parameters.set(unescaped(name), unescaped(value));
  }
  return parameters;
}

/** Percent-encodes as RFC 3986 wants it, which leaves only unreserved characters. */
const escaped = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export interface SignedRequest {
  readonly method: string;
  /** Without its query. */
  readonly url: string;
  readonly query: Readonly<Record<string, string | readonly string[]>>;
  readonly parameters: ReadonlyMap<string, string>;
}

/** What is signed: the method, the address and all parameters in order. */
export function baseString({ method, url, query, parameters }: SignedRequest): string {
  const pairs = Object.entries(query).flatMap(([name, given]) => [given].flat().map((value) => [name, value] as const));
  for (const [name, value] of parameters) {
    if (name !== 'oauth_signature' && name !== 'realm') pairs.push([name, value]);
  }
  const sorted = pairs
    .map(([name, value]) => [escaped(name), escaped(value)] as const)
    .toSorted((one, other) => compare(one[0], other[0]) || compare(one[1], other[1]));
  const { protocol, host, pathname } = new URL(url);
  const normalized = sorted.map(([name, value]) => `${name}=${value}`).join('&');
  return [method.toUpperCase(), `${protocol}//${host}${pathname}`, normalized].map(escaped).join('&');
}

const compare = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);

/**
 * Whether a request was signed with these secrets, a short while ago.
 * @param now_s Unix time in seconds
 */
export function isSigned(
  request: SignedRequest,
  secrets: { readonly consumer: string; readonly token: string },
  now_s: number,
): boolean {
  const { parameters } = request;
  const hash = HASHES.get(parameters.get('oauth_signature_method') ?? '');
  const timestamp = parameters.get('oauth_timestamp') ?? '';
  const version = parameters.get('oauth_version') ?? '1.0';
  if (hash === undefined || version !== '1.0' || (parameters.get('oauth_nonce') ?? '') === '') return false;
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(Number(timestamp) - now_s) > CLOCKS_APART_S) return false;
  const key = `${escaped(secrets.consumer)}&${escaped(secrets.token)}`;
  const expected = createHmac(hash, key).update(baseString(request)).digest();
  const given = Buffer.from(parameters.get('oauth_signature') ?? '', 'base64');
  return given.length === expected.length && timingSafeEqual(given, expected);
}
