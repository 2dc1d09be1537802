/** Signatures of requests to EC2 and S3 services, which have them checked here: they never see the secret. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** What a service passes on of the request that it got. */
export interface SignedRequest {
  readonly signature?: string;
  readonly host?: string;
  readonly verb?: string;
  readonly path?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, unknown>>;
  /** SHA-256 of the body, in hexadecimal. */
  readonly body_hash?: string;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const S3_SERVICES: ReadonlySet<string> = new Set(['s3', 'iam', 'sts']);

const hmac = (key: string | Buffer, text: string | Buffer): Buffer => createHmac('sha256', key).update(text).digest();

/** Whether an EC2 request is signed with the secret, by version 2 or 4 of the signature; older ones are broken. */
export function isEc2Signed(secret: string, request: SignedRequest): boolean {
  const { signature } = request;
  if (signature === undefined || signature === '') return false;
  // Some clients sign the host without its port.
  const hosts = [request.host ?? '', (request.host ?? '').replace(/:\d+$/, '')];
  return hosts.some((host) => {
    const expected = signatureOf(secret, { ...request, host });
    return expected !== undefined && isSame(signature, expected);
  });
}

function signatureOf(secret: string, request: SignedRequest & { readonly host: string }): string | undefined {
  const { params = {}, headers = {}, verb = '', host, path = '' } = request;
  if (params.SignatureVersion === '2') {
    const query = canonicalQuery({ ...params, SignatureMethod: 'HmacSHA256' });
    return hmac(secret, `${verb}\n${host}\n${path}\n${query}`).toString('base64');
  }
  const authorization = textOf(headers.Authorization);
  const isVersion4 = authorization?.startsWith(ALGORITHM) === true || params['X-Amz-Algorithm'] === ALGORITHM;
  if (params.SignatureVersion !== undefined || !isVersion4) return undefined;
  const given = (name: string): string =>
    authorization === undefined
      ? (textOf(params[`X-Amz-${name}`]) ?? '')
      : ((authorization.split(`${name}=`)[1] ?? '').split(',')[0] ?? '');
  const lower = new Map(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase().trim(), textOf(value) ?? '']),
  );
  const signed = given('SignedHeaders');
  const lines = signed.split(';').flatMap((name) => {
    const value = lower.get(name);
    return value === undefined ? [] : [`${name}:${value.trim()}`];
  });
  const canonical = [
    verb.toUpperCase(),
    path,
    // A POST has its parameters in the body.
    verb.toUpperCase() === 'POST' ? '' : canonicalQuery(params),
    `${lines.join('\n')}\n`,
    signed,
    request.body_hash ?? '',
  ].join('\n');
  const [, day = '', region = '', service = '', ...rest] = given('Credential').split('/');
  const date = textOf(headers['X-Amz-Date']) ?? textOf(params['X-Amz-Date']) ?? '';
  if (day === '' || !date.startsWith(day)) return undefined;
  const scope = [day, region, service, ...rest].join('/');
  const text = [ALGORITHM, date, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  return hmac(signingKey(secret, day, region, service), text).toString('hex');
}

/**
 * Whether an S3 request is signed with the secret, by the first or the fourth version of the signature.
 * @param token the text that was signed, in base64
 */
export function isS3Signed(secret: string, token: string, signature: string): boolean {
  const text = Buffer.from(token, 'base64url');
  if (!text.subarray(0, 4).equals(Buffer.from('AWS4'))) {
    return isSame(signature, createHmac('sha1', secret).update(text).digest('base64'));
  }
  const [algorithm, , scope = '', , ...more] = text.toString('utf8').split('\n');
  const [day = '', region = '', service = '', end, ...rest] = scope.split('/');
  const isWell = algorithm === ALGORITHM && more.length === 0 && end === 'aws4_request' && rest.length === 0;
  if (!isWell || text.toString('utf8').split('\n').length !== 4 || !S3_SERVICES.has(service)) return false;
  return isSame(signature, hmac(signingKey(secret, day, region, service), text).toString('hex'));
}

function signingKey(secret: string, day: string, region: string, service: string): Buffer {
  return [day, region, service, 'aws4_request'].reduce<Buffer>(
    (key, part) => hmac(key, part),
    Buffer.from(`AWS4${secret}`),
  );
}

function canonicalQuery(params: Readonly<Record<string, unknown>>): string {
  const pairs = Object.entries(params).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return pairs.map(([name, value]) => `${quoted(name)}=${quoted(textOf(value) ?? '')}`).join('&');
}

/** As RFC 3986 quotes: `encodeURIComponent` leaves five characters that it reserves. */
const quoted = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : undefined;
}

function isSame(one: string, other: string): boolean {
  const [left, right] = [one, other].map((text) => createHash('sha256').update(text).digest());
  return left !== undefined && right !== undefined && timingSafeEqual(left, right);
}

const TOLERANCE_MS = 15 * 60_000;

/**
 * Whether a request was signed a short while ago; one that bears no time is taken, as Keystone does.
 * @param now_ms Unix time
 */
export function isFresh({ params = {}, headers = {} }: SignedRequest, now_ms: number): boolean {
  const text = textOf(params.Timestamp) ?? textOf(headers['X-Amz-Date']) ?? textOf(params['X-Amz-Date']);
  if (text === undefined || text === '') return true;
  const long = text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const signed_ms = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(long) ? long : `${long}Z`);
  return !Number.isNaN(signed_ms) && now_ms <= signed_ms + TOLERANCE_MS;
}
