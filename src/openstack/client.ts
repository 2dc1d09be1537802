/**
 * The client of one account at one cloud. A call's way: a place in line, the breaker, a token, the service's
 * endpoint, a microversion, the wire, and what the answer means; then, for what may be repeated, perhaps once more.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import { authErrorOf, beforeTheCall, bodyOf, errorOf, isAccepted, notTried, unreadable } from './answer.ts';
import { createBreaker } from './breaker.ts';
import type { CloudEntry } from './clouds-yaml.ts';
import type { CloudAnswer, CloudApi, CloudCall, CloudService } from './contract.ts';
import { endpointAt } from './endpoints.ts';
import { CloudError, plainSentence } from './error.ts';
import { createLimiter } from './limiter.ts';
import type { Limiter } from './limiter.ts';
import { hasMicroversions, lowerMicroversion, maximumIn, microversionHeaders } from './microversion.ts';
import { checkPath, nextQuery, queryString, templateOf } from './request.ts';
import { createTokens } from './tokens.ts';
import type { IssueToken, Token } from './tokens.ts';
import { createWire, isSafe, readText } from './wire.ts';
import type { WireAnswer, WireRequest } from './wire.ts';

/** What became of one request; `status` is 0 where no answer came. */
export interface CloudObservation {
  readonly service: CloudService;
  readonly method: string;
  readonly template: string;
  readonly status: number;
  readonly duration_ms: number;
}

/** The part of a pino logger that is used. */
export interface CloudLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface CloudClientOptions {
  readonly entry: CloudEntry;
  /** The cloud's short name, for errors and logs. */
  readonly name: string;
  /** Calls at once; 8 by default. Uploads have half as many places of their own, so that they hold up nothing else. */
  readonly concurrency?: number;
  /** Time limit of a call from when it is sent; 60,000 by default. */
  readonly timeout_ms?: number;
  /** Time limit of a connection's making; 5,000 by default. */
  readonly connect_timeout_ms?: number;
  readonly log?: CloudLogger;
  /** A clock in ms that never goes back; the process's monotonic one by default. */
  readonly now?: () => number;
  readonly onCall?: (observation: CloudObservation) => void;
  /** Failures in a row that open the breaker (5), and how long it stays open at first (2,000). */
  readonly breaker?: { readonly failures?: number; readonly reset_ms?: number };
  /** Calls that may wait in line; 10,000 by default. */
  readonly line_max?: number;
  /** Mean wait before the first repetition, doubling with each; 200 by default. */
  readonly backoff_ms?: number;
}

export interface CloudClient extends CloudApi {
  resetCounts(): void;
}

/** An answer with its text, or (a download that went well) with its body still to come. */
interface Answer extends WireAnswer {
  readonly stream?: Readable;
}

const repetitions_max = 2;
const retryAfterLongest_ms = 5_000;
const pages_max = 10_000;
const pageLimit = 1_000;
const probe_ms = 5_000;
const faultLength_max = 64 * 1_024;
/** Children are upgraded while we run: their maximum is looked at again after this long. */
const microversionLife_ms = 600_000;
/** Templates counted apart; names in paths could otherwise make the table grow for ever. */
const templates_max = 2_000;

/** Makes the client of `options.entry`. Opens nothing until the first call; see CloudApi for what it does. */
export function createCloudClient(options: CloudClientOptions): CloudClient {
  const { entry, name, log, onCall } = options;
  const now = options.now ?? (() => performance.now());
  const concurrency = options.concurrency ?? 8;
  const timeout_ms = options.timeout_ms ?? 60_000;
  const backoff_ms = options.backoff_ms ?? 200;
  const line_max = options.line_max ?? 10_000;
  const wire = createWire({ name, entry, connect_timeout_ms: options.connect_timeout_ms ?? 5_000 });
  const counts = new Map<string, number>();
  const maxima = new Map<CloudService, { readonly value: string | undefined; readonly until: number }>();
  const asking = new Map<CloudService, Promise<string | undefined>>();

  const full = (): CloudError => notTried(`${name}: ${line_max} calls are already waiting`);
  const limiter = createLimiter(concurrency, line_max, full);
  const uploads = createLimiter(Math.max(1, concurrency >> 1), line_max, full);

  const breaker = createBreaker({
    failures: options.breaker?.failures ?? 5,
    reset_ms: options.breaker?.reset_ms ?? 2_000,
    now,
    onChange(state) {
      if (state === 'closed') {
        log?.info({ cloud: name }, 'the cloud answers again');
        return;
      }
      log?.warn({ cloud: name, wait_ms: breaker.wait_ms }, 'the cloud does not answer: calls fail at once for a while');
      limiter.turnAway(breakerOpen);
      uploads.turnAway(breakerOpen);
    },
  });

  const breakerOpen = (): CloudError =>
    notTried(`${name} does not answer and is left alone for a while`, breaker.wait_ms);

  const transmit = async (
    service: CloudService,
    path: string,
    request: WireRequest,
    asStream = false,
  ): Promise<Answer> => {
    const template = templateOf(path);
    const counted = `${request.method} ${service} ${template}`;
    const key = counts.has(counted) || counts.size < templates_max ? counted : `${request.method} ${service} (other)`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
    const started = performance.now();
    let status = 0;
    try {
      const answer = asStream ? await openStream(request) : await wire.send(request);
      status = answer.status;
      return answer;
    } finally {
      onCall?.({ service, method: request.method, template, status, duration_ms: performance.now() - started });
    }
  };

  const openStream = async (request: WireRequest): Promise<Answer> => {
    const { status, headers, body } = await wire.open(request);
    if (status < 300) return { status, headers, text: '', stream: body };
    return { status, headers, text: await readText(body, faultLength_max) };
  };

  const auth = endpointAt('identity', entry.auth.auth_url, '');
  if (auth === undefined) throw new TypeError(`${name}: auth_url is not an address`);

  const issue: IssueToken = async (body) => {
    const path = '/auth/tokens';
    const request: WireRequest = {
      origin: auth.origin,
      path: auth.root + path,
      method: 'POST',
      headers: { accept: 'application/json', 'content-type': 'application/json', 'user-agent': 'headwater' },
      body: JSON.stringify(body),
      timeout_ms,
    };
    let answer: WireAnswer;
    try {
      answer = await transmit('identity', path, request);
    } catch (error) {
      throw error instanceof CloudError ? beforeTheCall(error) : error;
    }
    if (answer.status !== 201 && answer.status !== 200)
      throw authErrorOf(name, auth.origin + auth.root, answer, [auth.hostname]);
    const call: CloudCall = { service: 'identity', method: 'GET', path };
    return { body: bodyOf(name, call, answer), subjectToken: answer.headers['x-subject-token'] };
  };

  const tokens = createTokens(entry, issue, now);

  const endpointOf = (token: Token, service: CloudService) => {
    const endpoint = token.endpoint(service);
    if (endpoint !== undefined) return endpoint;
    const where = `interface ${entry.interface ?? 'public'}, region ${entry.region_name ?? 'any'}`;
    throw new CloudError(`${name} has no ${service} endpoint in its catalog (${where})`, {
      failure: 'refused',
      stage: 'not-tried',
      tenantMessage: plainSentence.notOffered,
    });
  };

  const discover = async (service: CloudService, token: Token): Promise<string | undefined> => {
    const { origin, versionPaths } = endpointOf(token, service);
    let value: string | undefined;
    let denied: Answer | undefined;
    for (const path of versionPaths) {
      const headers = { accept: 'application/json', 'x-auth-token': token.id, 'user-agent': 'headwater' };
      const answer = await transmit(service, '/', { origin, path, method: 'GET', headers, timeout_ms });
      const call: CloudCall = { service, method: 'GET', path: '/', accept: [401, 403, 404] };
      if (!isAccepted(call, answer.status)) throw errorOf(name, call, answer, token.hosts);
      value = maximumIn(service, bodyOf(name, call, answer));
      if (value !== undefined) break;
      if (answer.status === 401) denied = answer;
    }
    // A stale token must not make us believe for minutes that the cloud has no microversions.
    if (value === undefined && denied !== undefined) {
      tokens.drop(undefined, token);
      throw errorOf(name, { service, method: 'GET', path: '/' }, denied, token.hosts);
    }
    maxima.set(service, { value, until: now() + microversionLife_ms });
    return value;
  };

  const maximumOf = (service: CloudService, token: Token): string | undefined | Promise<string | undefined> => {
    const known = maxima.get(service);
    if (known !== undefined && now() < known.until) return known.value;
    let asked = asking.get(service);
    if (asked === undefined) {
      asked = discover(service, token).finally(() => asking.delete(service));
      asking.set(service, asked);
    }
    return asked;
  };

  const versionHeaders = async (call: CloudCall, token: Token): Promise<Record<string, string>> => {
    const { service, microversion } = call;
    if (microversion === undefined || !hasMicroversions(service)) return {};
    if (call.atMost !== true) return microversionHeaders(service, microversion);
    let maximum: string | undefined;
    try {
      maximum = await maximumOf(service, token);
    } catch (error) {
      throw error instanceof CloudError ? beforeTheCall(error) : error;
    }
    return maximum === undefined ? {} : microversionHeaders(service, lowerMicroversion(microversion, maximum));
  };

  const headersOf = async (call: CloudCall, token: Token, hasBody: boolean, asStream: boolean) => {
    const headers: Record<string, string> = {
      accept: asStream ? '*/*' : 'application/json',
      'user-agent': 'headwater',
    };
    if (call.microversion !== undefined) Object.assign(headers, await versionHeaders(call, token));
    if (hasBody) headers['content-type'] = call.contentType ?? 'application/json';
    if (call.requestId !== undefined) headers['x-openstack-request-id'] = call.requestId;
    if (call.headers !== undefined) {
      for (const key in call.headers) headers[key.toLowerCase()] = call.headers[key] ?? '';
    }
    headers['x-auth-token'] = token.id;
    return headers;
  };

  const exchange = async (call: CloudCall, query: string, asStream: boolean): Promise<Answer> => {
    const projectId = call.scope?.projectId;
    const body = call.stream ?? (call.body instanceof Uint8Array ? call.body : encoded(call.body));
    for (let renewed = false; ; renewed = true) {
      const token = tokens.cached(projectId) ?? (await tokens.get(projectId));
      const { origin, root } = endpointOf(token, call.service);
      const headers = await headersOf(call, token, body !== undefined, asStream);
      const path = root + call.path + query;
      const request = { origin, path, method: call.method, headers, body, timeout_ms: call.timeout_ms ?? timeout_ms };
      const answer = await transmit(call.service, call.path, request, asStream);
      if (answer.status === 401) {
        tokens.drop(projectId, token);
        if (!renewed && call.stream === undefined) continue;
      }
      if (isAccepted(call, answer.status)) return answer;
      // The maximum kept may be of before a downgrade.
      if (answer.status === 406) maxima.delete(call.service);
      throw errorOf(name, call, answer, token.hosts);
    }
  };

  /** Runs `work` in a place of the limiter and tells the breaker how it went. */
  const guarded = async <T>(places: Limiter, work: () => Promise<T>): Promise<T> => {
    if (breaker.state === 'open') throw breakerOpen();
    const turn = places.acquire();
    if (turn !== undefined) await turn;
    try {
      const permit = breaker.enter();
      if (permit === 'refuse') throw breakerOpen();
      try {
        const result = await work();
        breaker.succeeded(permit);
        return result;
      } catch (error) {
        if (!(error instanceof CloudError) || error.stage === 'not-tried') breaker.abandoned(permit);
        else if (error.failure === 'down') breaker.failed(permit);
        else breaker.succeeded(permit);
        throw error;
      }
    } finally {
      places.release();
    }
  };

  const repeated = async <T>(call: Pick<CloudCall, 'method' | 'stream'>, work: () => Promise<T>): Promise<T> => {
    const places = call.stream === undefined ? limiter : uploads;
    for (let repetition = 0; ; repetition += 1) {
      try {
        return await guarded(places, work);
      } catch (error) {
        if (!(error instanceof CloudError) || repetition >= repetitions_max || !isRepeatable(call, error)) throw error;
        const wait_ms = error.retryAfter_ms ?? backoff_ms * 2 ** repetition * (0.5 + Math.random());
        if (wait_ms > retryAfterLongest_ms || breaker.state !== 'closed') throw error;
        log?.debug({ cloud: name, method: call.method, status: error.status, wait_ms }, 'repeating a call');
        await sleep(wait_ms);
      }
    }
  };

  const perform = (call: CloudCall, query: string, asStream = false): Promise<Answer> => {
    checkPath(call.path);
    return repeated(call, () => exchange(call, query, asStream));
  };

  const ownToken = async (): Promise<Token> =>
    tokens.cached(undefined) ?? repeated({ method: 'GET' }, () => tokens.get(undefined));

  async function* pages<Item>(call: CloudCall, collection: string): AsyncGenerator<Item[], void, undefined> {
    let query = queryString(call.service === 'identity' ? call.query : { limit: pageLimit, ...call.query });
    for (let page = 0; page < pages_max; page += 1) {
      const body = bodyOf(name, call, await perform(call, query)) as Record<string, unknown> | undefined;
      const items = body?.[collection];
      if (!Array.isArray(items)) throw unreadable(`${name}: ${call.path} has no list '${collection}' in its answer`);
      if (items.length > 0) yield items as Item[];
      const next = nextQuery(body, collection);
      if (next === undefined) return;
      if (next === query) throw unreadable(`${name}: a page of ${call.path} names itself as the next one`);
      query = next;
    }
    throw unreadable(`${name}: ${call.path} has more than ${pages_max} pages`);
  }

  return {
    name,
    counts,
    resetCounts: () => counts.clear(),
    async call<Body>(call: CloudCall) {
      const answer = await perform(call, queryString(call.query));
      const body = bodyOf(name, call, answer) as Body;
      return { status: answer.status, headers: answer.headers, body } satisfies CloudAnswer<Body>;
    },
    async download(call) {
      const { status, headers, stream, text } = await perform(call, queryString(call.query), true);
      if (stream !== undefined) return { status, headers, body: stream };
      throw unreadable(`${name}: ${call.path} answered ${status} without data (${text.length} characters)`, status);
    },
    pages,
    async maximumMicroversion(service) {
      if (!hasMicroversions(service)) return undefined;
      const token = await ownToken();
      const known = maxima.get(service);
      if (known !== undefined && now() < known.until) return known.value;
      return repeated({ method: 'GET' }, async () => maximumOf(service, token));
    },
    async offers(service) {
      return (await ownToken()).endpoint(service) !== undefined;
    },
    async account() {
      const { projectId, userId, domainId, roles } = await ownToken();
      return { projectId, userId, domainId, roles: [...roles] };
    },
    get breaker() {
      return breaker.state;
    },
    async probe() {
      const headers = { accept: 'application/json', 'user-agent': 'headwater' };
      const limit_ms = Math.min(timeout_ms, probe_ms);
      const request = { origin: auth.origin, path: `${auth.root}/`, method: 'GET', headers, timeout_ms: limit_ms };
      try {
        const { status } = await transmit('identity', '/', request);
        if (status >= 500) return false;
      } catch {
        return false;
      }
      breaker.close();
      return true;
    },
    async close() {
      const closed = (): CloudError => notTried(`${name}: the client is closed`);
      limiter.turnAway(closed);
      uploads.turnAway(closed);
      await wire.close();
    },
  };
}

/** JSON of a body; nothing for a call without one. */
function encoded(body: unknown): string | undefined {
  return body === undefined ? undefined : JSON.stringify(body);
}

/** Streams never; the unsent always, for nothing was done; of the rest only reads that broke off or were put off. */
function isRepeatable(call: Pick<CloudCall, 'method' | 'stream'>, error: CloudError): boolean {
  if (call.stream !== undefined || error.stage === 'not-tried' || !error.transient) return false;
  if (error.stage === 'not-sent') return true;
  // A cloud too slow for the time limit is not helped by asking it thrice.
  return isSafe(call.method) && error.stage !== 'time-out';
}
