/**
 * The HTTP server: every service mounted under its name on one port, with request ids, tokens, limits, metrics and
 * one log line a request. What happens to a request in between stands in pipeline.ts.
 */
import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Readable } from 'node:stream';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { discoveryRoutes } from './discovery.ts';
import { badRequest, Fault, unauthorized, unread } from './fault.ts';
import { admits } from './access-rules.ts';
import type { Authenticate, Identity } from './identity.ts';
import type { Metrics } from './metrics.ts';
import { asFault, type PipelineOptions, run } from './pipeline.ts';
import type { Policy } from './policy.ts';
import { type Convention, JsonBytes, type Operation, Reply, type Service } from './service.ts';

export interface ServerOptions {
  readonly services: readonly Service[];
  readonly authenticate: Authenticate;
  readonly policy: Policy;
  /** How clients reach the parent: `http://127.0.0.1:8080`, no slash at the end. */
  readonly publicUrl: string;
  /** Where tokens are had, where that is elsewhere than in the parent. */
  readonly authUrl?: string | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** What `/healthcheck` asks: resolves while the parent can serve, rejects with the reason where it cannot. */
  readonly healthy: () => Promise<void>;
  /** How long a JSON body may be on its way; a minute. */
  readonly bodyPatience_ms?: number;
}

const JSON_BODY_LIMIT_BYTES = 1024 * 1024;
const BODY_PATIENCE_MS = 60_000;
const GLOBAL_REQUEST_ID = /^req-[0-9a-fA-F-]{36}$/;

/** Builds the server; the caller listens and closes. */
export function createServer(options: ServerOptions): FastifyInstance {
  const server = Fastify({
    logger: false,
    exposeHeadRoutes: false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 1024, caseSensitive: true },
    requestIdHeader: false,
    genReqId: () => `req-${randomUUID()}`,
    return503OnClosing: true,
    frameworkErrors: (_error, request, reply) =>
      void sendFault(options, request, reply as FastifyReply, new Fault(400, 'The URL is malformed.')),
  });
  server.decorateRequest('headwater');
  readBodiesAsText(server, options.bodyPatience_ms ?? BODY_PATIENCE_MS);
  addHooks(server, options);
  const paths = options.services.flatMap((service) => mount(server, options, service));
  discoveryRoutes(server, options);
  server.setNotFoundHandler((request, reply) => notFoundOrMethod(paths, options, request, reply));
  server.setErrorHandler((error, request, reply) => sendFault(options, request, reply, asFault(error, options.log)));
  return server;
}

function readBodiesAsText(server: FastifyInstance, patience_ms: number): void {
  server.removeAllContentTypeParsers();
  // `+json` as usual, and Glance's `-json-patch`.
  const json = /^application\/([a-z0-9.+-]+[+-])?json/i;
  server.addContentTypeParser(json, (_request: FastifyRequest, payload: Readable) => textOf(payload, patience_ms));
  // Everything else stays a stream: an image's data, or something the pipeline answers 415 to.
  server.addContentTypeParser('*', async (request: FastifyRequest, payload: Readable) => {
    if (request.headers['content-length'] === '0') return undefined;
    return request.headwater.convention?.takesAnyContentType ? textOf(payload, patience_ms) : payload;
  });
}

/** @throws Fault 413 for more than a JSON body may have, 408 for one that takes too long to come, 400 for one broken off */
async function textOf(payload: Readable, patience_ms: number): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const tooLong = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(unread(408, 'The request body did not come in time.')), patience_ms);
  });
  try {
    return await Promise.race([allOf(payload), tooLong]);
  } catch (error) {
    throw error instanceof Fault ? error : badRequest('The request body was broken off.');
  } finally {
    clearTimeout(timer);
  }
}

async function allOf(payload: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  // Not destroyed where we stop reading: who sends too much still gets an answer.
  for await (const part of payload.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > JSON_BODY_LIMIT_BYTES) throw unread(413, 'Request body is too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function addHooks(server: FastifyInstance, options: ServerOptions): void {
  server.addHook('onRequest', async (request) => {
    const given = request.headers['x-openstack-request-id'];
    request.headwater = {
      requestId: request.id,
      identity: undefined,
      convention: conventionOf(options, request.url),
      operation: undefined,
    };
    if (typeof given === 'string' && GLOBAL_REQUEST_ID.test(given)) {
      request.headwater = { ...request.headwater, globalRequestId: given };
    }
    const token = request.headers['x-auth-token'];
    if (typeof token === 'string' && token !== '') {
      request.headwater.identity = admitted(request, await options.authenticate(token));
    }
  });
  server.addHook('onSend', async (request, reply) => {
    const state = request.headwater;
    if (state === undefined) return;
    reply.header('x-openstack-request-id', state.requestId);
    for (const [name, value] of Object.entries(state.convention?.headers ?? {})) reply.header(name, value);
    const own = state.convention?.requestIdHeader;
    if (own !== undefined) reply.header(own, state.requestId);
  });
  server.addHook('onResponse', async (request, reply) => {
    const state = request.headwater;
    const operation = state?.operation;
    const label = operation === undefined ? 'other' : `${operation.method} ${operation.path}`;
    const duration_ms = reply.elapsedTime;
    options.metrics.request(state?.convention?.name ?? 'other', label, reply.statusCode, duration_ms);
    options.log.info(
      {
        request_id: state?.requestId,
        global_request_id: state?.globalRequestId,
        method: request.method,
        path: request.url.split('?')[0],
        status: reply.statusCode,
        duration_ms: Math.round(duration_ms * 10) / 10,
        project_id: state?.identity?.project?.id,
        user_id: state?.identity?.user.id,
      },
      'request',
    );
  });
}

/** Nobody, where the token's access rules do not name the request: it is then answered as one without a token. */
function admitted(request: FastifyRequest, identity: Identity | undefined): Identity | undefined {
  const { delegation } = identity ?? {};
  const { convention } = request.headwater;
  if (delegation?.kind !== 'application_credential' || delegation.access_rules === undefined) return identity;
  if (convention === undefined) return undefined;
  const path = (request.url.split('?')[0] ?? '').replace(/\/$/, '');
  return admits(delegation.access_rules, convention, request.method, path) ? identity : undefined;
}

/** A route as it was mounted, to tell an unknown path from a method that a path does not have. */
interface MountedPath {
  readonly method: string;
  readonly pattern: RegExp;
}

function mount(server: FastifyInstance, options: ServerOptions, service: Service): MountedPath[] {
  const mounted: MountedPath[] = [];
  const { convention } = service;
  const pipeline: PipelineOptions = options;
  const routes = group(service);
  if (convention.answersHead === true) {
    for (const [route, operations] of routes) {
      const head = route.replace(/^GET /, 'HEAD ');
      if (!routes.has(head)) routes.set(head, operations);
    }
  }
  for (const [route, operations] of routes) {
    const [method, path] = route.split(' ') as [Operation['method'], string];
    const open = operations.every((operation) => operation.policy === 'none');
    for (const url of urls(convention, path)) {
      mounted.push({ method, pattern: new RegExp(`^${url.replace(/:[a-z_]+/g, '[^/]+').replace('*', '.*')}/?$`) });
      server.route({
        method,
        url,
        // Before the body is read: who has no token must not make us read a megabyte.
        onRequest: async (request) => {
          if (!open && request.headwater.identity === undefined) throw unauthorized();
          if (convention.wholeRoutes === true && pathOf(request).endsWith('/')) throw convention.unknownPath();
        },
        handler: async (request, reply) => {
          const answer = (await run(pipeline, convention, operations, request, reply)) as Reply;
          reply.code(answer.status).headers(answer.headers);
          if (answer.body === undefined || answer.status === 204) return reply.send();
          if (reply.hasHeader('content-type')) return reply.send(answer.body);
          return reply.header('content-type', 'application/json').send(payloadOf(answer.body));
        },
      });
    }
  }
  return mounted;
}

const LARGE_CHARACTERS = 16_384;

/** A large answer goes out as bytes: Node writes a long string in pieces, which takes it twice as long. */
function payloadOf(body: unknown): string | Buffer {
  if (body instanceof JsonBytes) return body.bytes;
  const text = JSON.stringify(body);
  return text.length > LARGE_CHARACTERS ? Buffer.from(text) : text;
}

/** Operations by `METHOD path`; actions of one resource share theirs. */
function group(service: Service): Map<string, Operation[]> {
  const routes = new Map<string, Operation[]>();
  for (const operation of service.operations) {
    const key = `${operation.method} ${operation.path}`;
    routes.set(key, [...(routes.get(key) ?? []), operation]);
  }
  return routes;
}

/** Cinder's paths exist with and without the project in them, Nova's old ones carried it too. */
function urls(convention: Convention, path: string): string[] {
  const mount = `/${convention.name}`;
  if (path.startsWith('//')) return [`${mount}${path.slice(1)}`];
  const plain = `${mount}${convention.root}${path}`;
  if (convention.legacyRoot !== undefined) return [plain, `${mount}${convention.legacyRoot}${path}`];
  return convention.name === 'volume' ? [plain, `${mount}${convention.root}/:project_id${path}`] : [plain];
}

const pathOf = (request: FastifyRequest): string => request.url.split('?')[0] ?? '/';

async function notFoundOrMethod(
  paths: readonly MountedPath[],
  options: ServerOptions,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { convention, identity } = request.headwater;
  const path = pathOf(request);
  if (convention !== undefined && convention.tellsUnknownPaths !== true && identity === undefined) {
    return sendFault(options, request, reply, unauthorized());
  }
  if (convention?.wholeRoutes === true) return sendFault(options, request, reply, convention.unknownPath());
  const others = paths.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
  if (others.length > 0) {
    const fault = new Fault(405, 'The method specified is not allowed for this resource.', {
      headers: { allow: [...new Set(others)].join(', ') },
    });
    return sendFault(options, request, reply, fault);
  }
  return sendFault(options, request, reply, convention?.unknownPath() ?? new Fault(404, 'Nothing is served here.'));
}

function sendFault(options: ServerOptions, request: FastifyRequest, reply: FastifyReply, fault: Fault): FastifyReply {
  const convention = request.headwater?.convention ?? conventionOf(options, request.url);
  const wantsJson = /json/.test(String(request.headers.accept ?? ''));
  if (fault.status === 401) {
    reply.header('www-authenticate', `Keystone uri="${options.authUrl ?? `${options.publicUrl}/identity/v3`}"`);
  }
  reply.code(fault.status).headers(fault.headers);
  // A 401 is the token filter's, not the service's: it looks the same everywhere but in Glance.
  const title = STATUS_CODES[fault.status];
  const plain = { error: { code: fault.status, title, message: fault.message, ...fault.attributes } };
  const body =
    convention === undefined || (fault.status === 401 && convention.name !== 'image')
      ? plain
      : convention.fault(fault, wantsJson);
  if (typeof body === 'string') return reply.header('content-type', 'text/html; charset=UTF-8').send(body);
  return reply.header('content-type', 'application/json').send(JSON.stringify(body));
}

function conventionOf(options: ServerOptions, url: string): Convention | undefined {
  const mount = /^\/([a-z-]+)/.exec(url)?.[1];
  return options.services.find((service) => service.convention.name === mount)?.convention;
}
