/** A small router over node:http: mounts services, checks tokens and microversions, injects faults, counts calls. */
import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { PAGE } from './console.ts';
import { type Json, newId, type Row, rowOf, SimFault, type Token, type World } from './world.ts';

export type SimServiceName = 'identity' | 'compute' | 'network' | 'volume' | 'image';

export interface Call {
  readonly method: string;
  /** Path below the service's versioned root. */
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly raw: IncomingMessage;
  readonly token: Token;
  /** The token's project; empty where it has none. */
  readonly projectId: string;
  readonly isAdmin: boolean;
  /** The minor part of the microversion asked for (93 of 2.93); 0 for services without. */
  readonly minor: number;
  readonly body: Json;
}

export interface Reply {
  readonly status: number;
  readonly body?: Json;
  readonly text?: string;
  readonly bytes?: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

type Handler = (call: Call) => Reply | Promise<Reply>;

interface Route {
  readonly method: string;
  readonly segments: readonly string[];
  readonly template: string;
  readonly handler: Handler;
  readonly isOpen: boolean;
  readonly takesStream: boolean;
  readonly policy: string | undefined;
}

/** `open`: no token needed. `stream`: the body is left unread. `policy`: admins only, refused under that policy's name. */
export interface RouteOptions {
  readonly open?: boolean;
  readonly stream?: boolean;
  readonly policy?: string;
}

/** One mounted service: its routes and its conventions. */
export interface Service {
  readonly name: SimServiceName;
  readonly mount: string;
  readonly routes: Route[];
  /** Removes what stands between the mount and the resource (Cinder's project id). */
  readonly strip?: (path: string, token: Token | undefined) => string;
  readonly renderFault: (fault: SimFault) => Reply;
  readonly unknownPath: Reply;
  /** The microversion asked for, or a fault; headers to answer with. */
  readonly negotiate?: (headers: IncomingHttpHeaders) => {
    minor: number;
    headers: Record<string, string>;
    refusal?: SimFault;
  };
  readonly forbidden: (policy: string) => SimFault;
}

/** Adds a route; `:name` in the path is a parameter. More literal paths win whatever the order of adding. */
export function route(
  service: Service,
  method: string,
  path: string,
  handler: Handler,
  options: RouteOptions = {},
): void {
  const segments = path.split('/').slice(1);
  service.routes.push({
    method,
    segments,
    template: segments.map((one) => (one.startsWith(':') ? '/*' : `/${one}`)).join(''),
    handler,
    isOpen: options.open ?? false,
    takesStream: options.stream ?? false,
    policy: options.policy,
  });
  const literals = (one: Route): number => one.segments.filter((segment) => !segment.startsWith(':')).length;
  service.routes.sort((left, right) => literals(right) - literals(left));
}

const safeDecode = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

function find(
  service: Service,
  method: string,
  path: string,
): { route: Route; params: Record<string, string> } | undefined {
  const parts = path
    .replace(/\/$/, '')
    .replace(/\.json$/, '')
    .split('/')
    .slice(1)
    .map(safeDecode);
  for (const one of service.routes) {
    if (one.method !== method || one.segments.length !== parts.length) continue;
    const params: Record<string, string> = {};
    const fits = one.segments.every((segment, index) => {
      if (!segment.startsWith(':')) return segment === parts[index];
      params[segment.slice(1)] = parts[index] ?? '';
      return parts[index] !== '';
    });
    if (fits) return { route: one, params };
  }
  return undefined;
}

export interface FaultMatch {
  readonly method?: string;
  readonly service?: SimServiceName;
  /** Tested on the path below the service's versioned root (`/servers/<id>/action`). */
  readonly path?: RegExp;
}

/**
 * What is to go wrong. `times` absent: until removed. `delay_ms` comes before the work. `respond` answers in place of
 * the service. `drop: 'before'` cuts the connection without doing the work, `'after'` does it and cuts: how crashes look.
 */
export interface InjectedFault {
  readonly match: FaultMatch;
  readonly times?: number;
  readonly respond?: { readonly status: number; readonly body: Json };
  readonly delay_ms?: number;
  readonly drop?: 'before' | 'after';
}

export interface SimFaults {
  /** Arms a fault; the handle tells how often it struck and removes it. */
  inject(fault: InjectedFault): { readonly hits: () => number; readonly remove: () => void };
  clear(): void;
}

export interface SimRequest {
  readonly method: string;
  readonly service: SimServiceName;
  readonly path: string;
  /** `METHOD service /template`, ids as `*`. */
  readonly template: string;
  readonly at_ms: number;
  /** The caller's own X-OpenStack-Request-ID, where it sent one. */
  readonly globalRequestId: string | undefined;
}

export interface SimRequests {
  /** The latest 10,000 calls. */
  readonly list: readonly SimRequest[];
  /** Calls since start or reset, by template. */
  readonly counts: ReadonlyMap<string, number>;
  /** How many calls were made of this very template, or of those that match. */
  count(template: string | RegExp): number;
  reset(): void;
}

const remembered_requests = 10_000;
const body_limit_bytes = 16 * 1024 * 1024;

async function readBody(raw: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of raw as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > body_limit_bytes) throw new SimFault(413, 'Request is too large.', 'HTTPRequestEntityTooLarge');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parse(bytes: Buffer): Json {
  if (bytes.length === 0) return null;
  try {
    return JSON.parse(bytes.toString('utf8')) as Json;
  } catch {
    throw new SimFault(400, 'Malformed request body');
  }
}

const pause = (delay_ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delay_ms));

/** Builds the listener over the mounted services; the caller owns its sockets and may listen and close repeatedly. */
export function createHttp(world: World, services: readonly Service[], versions: (path: string) => Reply | undefined) {
  const list: SimRequest[] = [];
  const counts = new Map<string, number>();
  const armed: { fault: InjectedFault; left: number; hits: number }[] = [];

  const requests: SimRequests = {
    list,
    counts,
    count: (template) =>
      [...counts].reduce(
        (sum, [key, made]) =>
          (typeof template === 'string' ? key === template : template.test(key)) ? sum + made : sum,
        0,
      ),
    reset: () => {
      list.length = 0;
      counts.clear();
    },
  };
  const faults: SimFaults = {
    inject: (fault) => {
      const entry = { fault, left: fault.times ?? Number.POSITIVE_INFINITY, hits: 0 };
      armed.push(entry);
      return {
        hits: () => entry.hits,
        remove: () => {
          entry.left = 0;
        },
      };
    },
    clear: () => {
      armed.length = 0;
    },
  };

  function strike(method: string, service: SimServiceName, path: string): InjectedFault | undefined {
    const hit = armed.find(
      ({ fault: { match }, left }) =>
        left > 0 &&
        (match.method ?? method) === method &&
        (match.service ?? service) === service &&
        (match.path === undefined || path.search(match.path) >= 0),
    );
    if (hit === undefined) return undefined;
    hit.left -= 1;
    hit.hits += 1;
    return hit.fault;
  }

  function note(raw: IncomingMessage, service: Service, path: string, template: string): void {
    const method = raw.method ?? 'GET';
    const key = `${method} ${service.name} ${template}`;
    const id = raw.headers['x-openstack-request-id'];
    counts.set(key, (counts.get(key) ?? 0) + 1);
    list.push({
      method,
      service: service.name,
      path,
      template: key,
      at_ms: Date.now(),
      globalRequestId: typeof id === 'string' ? id : undefined,
    });
    if (list.length > remembered_requests) list.shift();
  }

  function tokenOf(raw: IncomingMessage): Token | undefined {
    const id = raw.headers['x-auth-token'];
    const token = typeof id === 'string' ? world.state.tokens.get(id) : undefined;
    return token !== undefined && token.expiresAt_ms > Date.now() ? token : undefined;
  }

  async function serve(raw: IncomingMessage, service: Service, path: string, query: URLSearchParams): Promise<Reply> {
    const method = raw.method ?? 'GET';
    const negotiated = service.negotiate?.(raw.headers) ?? { minor: 0, headers: {} };
    const fail = (fault: SimFault): Reply => withHeaders(service.renderFault(fault), negotiated.headers);
    try {
      const token = tokenOf(raw);
      const stripped = service.strip?.(path, token) ?? path;
      const found = find(service, method, stripped);
      if (token === undefined && found?.route.isOpen !== true) {
        const fault = service.renderFault(new SimFault(401, 'The request you have made requires authentication.'));
        return withHeaders(fault, { 'www-authenticate': `Keystone uri="${world.root()}/identity"` });
      }
      if (found === undefined) return service.unknownPath;
      if ('refusal' in negotiated && negotiated.refusal !== undefined) return fail(negotiated.refusal);
      const isAdmin = token?.roles.includes('admin') ?? false;
      if (found.route.policy !== undefined && !isAdmin) throw service.forbidden(found.route.policy);
      const reply = await found.route.handler({
        method,
        path: stripped,
        params: found.params,
        query,
        headers: raw.headers,
        raw,
        token: token ?? nobody,
        projectId: token?.project?.id ?? '',
        isAdmin,
        minor: negotiated.minor,
        body: found.route.takesStream ? null : parse(await readBody(raw)),
      });
      return withHeaders(reply, negotiated.headers);
    } catch (error) {
      if (error instanceof SimFault) return fail(error);
      // A mistake of the simulator itself: it must be loud in the test that meets it.
      return fail(new SimFault(500, `Simulator failed: ${error instanceof Error ? error.stack : String(error)}`));
    }
  }

  async function answer(raw: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(raw.url ?? '/', 'http://sim');
    const service = services.find((one) => url.pathname === one.mount || url.pathname.startsWith(`${one.mount}/`));
    const isVersionDocument = service === undefined || /^\/?$/.test(url.pathname.slice(service.mount.length));
    const path = service === undefined ? url.pathname : url.pathname.slice(service.mount.length);
    const name = service?.name ?? services.find((one) => url.pathname.startsWith(`/${one.name}`))?.name;
    const plain = service?.strip?.(path, undefined) ?? path;
    const fault = name === undefined ? undefined : strike(raw.method ?? 'GET', name, plain);
    if (service !== undefined) {
      const found = find(service, raw.method ?? 'GET', plain);
      note(raw, service, plain, found?.route.template ?? (isVersionDocument ? '/' : '/?'));
    }
    if (fault?.delay_ms !== undefined) await pause(fault.delay_ms);
    if (fault?.drop === 'before') {
      raw.socket.destroy();
      return;
    }
    const document = isVersionDocument ? versions(url.pathname) : undefined;
    let reply: Reply;
    if (fault?.respond !== undefined) reply = { status: fault.respond.status, body: fault.respond.body };
    else if (document !== undefined) reply = document;
    else if (service === undefined) reply = { status: 404, text: '404 Not Found\n' };
    else reply = await serve(raw, service, path, url.searchParams);
    if (fault?.drop === 'after') raw.socket.destroy();
    else send(raw, response, service?.name, reply);
  }

  const createListener = () =>
    createServer((raw, response) => {
      if (raw.url?.startsWith('/vnc_auto.html') === true) {
        response.setHeader('content-type', 'text/html').end(PAGE);
        return;
      }
      answer(raw, response).catch(() => raw.socket.destroy());
    });
  return { createListener, requests, faults };
}

const nobody: Token = {
  id: '',
  user: { id: '', name: '', domain_id: '', password: '', enabled: false },
  project: undefined,
  domainId: undefined,
  roles: [],
  issuedAt_ms: 0,
  expiresAt_ms: 0,
  auditId: '',
  methods: [],
};

const withHeaders = (reply: Reply, headers: Readonly<Record<string, string>>): Reply => ({
  ...reply,
  headers: { ...headers, ...reply.headers },
});

function send(raw: IncomingMessage, response: ServerResponse, service: SimServiceName | undefined, reply: Reply): void {
  const requestId = `req-${newId()}`;
  response.statusCode = reply.status;
  response.setHeader('x-openstack-request-id', requestId);
  if (service === 'compute' || service === 'volume') response.setHeader('x-compute-request-id', requestId);
  for (const [key, value] of Object.entries(reply.headers ?? {})) response.setHeader(key, value);
  let payload = reply.bytes ?? Buffer.alloc(0);
  if (reply.text !== undefined) {
    payload = Buffer.from(reply.text);
    if (!response.hasHeader('content-type')) response.setHeader('content-type', 'text/plain; charset=UTF-8');
  } else if (reply.body !== undefined) {
    payload = Buffer.from(JSON.stringify(reply.body));
    response.setHeader('content-type', 'application/json');
  }
  if (reply.status !== 204) response.setHeader('content-length', payload.length);
  // An unread upload would otherwise be taken for the next request on this connection.
  if (!raw.complete) raw.resume();
  response.end(raw.method === 'HEAD' || reply.status === 204 ? undefined : payload);
}

/** The object under `key` of the body; refused in Nova's words where it is missing. */
export function section(call: Call, key: string): Row {
  const inner = rowOf(call.body)[key];
  if (inner === undefined) throw new SimFault(400, `'${key}' is a required property`);
  if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) {
    throw new SimFault(400, `Invalid input for field/attribute ${key}. Value: ${JSON.stringify(inner)}.`);
  }
  return inner;
}
