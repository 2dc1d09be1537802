/**
 * The way of one request through any service: token, microversion, operation, policy, schema, handler, answer.
 * A service adds nothing to it; what it words differently stands in its convention.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Readable } from 'node:stream';
import type { Logger } from 'pino';
import { badRequest, Fault, unauthorized, unavailable } from './fault.ts';
import type { Identity } from './identity.ts';
import { negotiate, versionHeaders } from './microversion.ts';
import type { Policy } from './policy.ts';
import { type Call, type Convention, type Operation, type Query, Reply, type RequestContext } from './service.ts';
import { check } from './validation.ts';

/** Kept on the request by the hooks that run before the body is read. */
export interface RequestState {
  readonly requestId: string;
  readonly globalRequestId?: string;
  identity: Identity | undefined;
  convention: Convention | undefined;
  operation: Operation | undefined;
}

declare module 'fastify' {
  interface FastifyRequest {
    headwater: RequestState;
  }
}

export interface PipelineOptions {
  readonly policy: Policy;
  readonly publicUrl: string;
  readonly log: Logger;
}

const DEPTH_LIMIT = 48;
const NESTED_TOO_DEEP = 'The request body is nested too deeply.';

/**
 * Runs the operations that share one method and path.
 * @param operations all of them, distinguished by microversion and, for actions, by the body's only key
 */
export async function run(
  options: PipelineOptions,
  convention: Convention,
  operations: readonly Operation[],
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  const state = request.headwater;
  const headers = request.headers as Readonly<Record<string, string | undefined>>;
  const { microversions } = convention;
  const isLegacy = request.url.startsWith(`/${convention.name}${convention.legacyRoot ?? '?'}/`);
  const version =
    microversions === undefined ? 0 : isLegacy ? microversions.minimum : negotiate(microversions, headers);
  if (microversions !== undefined && !isLegacy) reply.headers(versionHeaders(microversions, version));

  const params = request.params as Record<string, string>;
  const query = request.query as Query;
  refuseNulls(params, query);
  const current = operations.filter(
    (op) => version >= (op.since ?? 0) && version <= (op.until ?? Number.MAX_SAFE_INTEGER),
  );
  if (current.length === 0) throw convention.unknownPath();
  const takesStream = current.some((op) => op.stream === true);
  const given = takesStream ? undefined : jsonBody(convention, request);
  const body = given ?? (convention.takesNoBodyAsEmpty === true ? {} : undefined);
  const chosen = choose(convention, current, body);
  state.operation = chosen;

  if (isLegacy && chosen.body !== undefined) passOver(chosen.body, body, version);
  const root = isLegacy ? convention.legacyRoot : convention.root;
  const baseUrl = `${options.publicUrl}/${convention.name}${root}`;
  const context = { ...requestContext(options, convention, state, version), baseUrl };
  const call: Call = {
    context,
    params,
    query,
    body: chosen.action === undefined ? body : (body as Record<string, unknown>)[chosen.action],
    headers,
    stream: request.body as Readable,
  };
  if (chosen.policy !== 'none' && state.identity === undefined) throw unauthorized();
  return carryOut(convention, chosen, call, body);
}

/**
 * Policy, schemas and handler of one operation; what came before (token, microversion, choice) is the caller's.
 * @param body the whole of it, also for an action
 */
export async function carryOut(convention: Convention, chosen: Operation, call: Call, body: unknown): Promise<Reply> {
  const { context, params, query } = call;
  const checked = (): unknown => {
    const converted = chosen.convert === undefined ? body : chosen.convert(body);
    if (chosen.body !== undefined) validate(convention, chosen.body, converted, context.version, 'body');
    return converted;
  };
  const checkQuery = (): void => {
    if (chosen.query !== undefined) validate(convention, chosen.query, query, context.version, 'query');
  };
  if (convention.checksBodyFirst) {
    checkQuery();
    checked();
  }
  if (chosen.policy !== 'none') {
    const target = await chosen.target?.(call);
    if (chosen.refused !== undefined && !context.allowed(chosen.policy.name, target)) {
      return new Reply(chosen.status, await chosen.refused(call));
    }
    context.enforce(chosen.policy.name, target);
  }
  if (params.project_id !== undefined && convention.root === '/v3' && convention.name === 'volume') {
    refuseOtherProject(context.identity, params.project_id);
  }
  if (!convention.checksBodyFirst) checkQuery();
  const converted = checked();
  const answer = await chosen.handle(chosen.convert === undefined ? call : { ...call, body: converted });
  return answer instanceof Reply ? answer : new Reply(chosen.status, answer);
}

/** Turns whatever was thrown into a fault: ours as it is, the database's and a child's by what they mean. */
export function asFault(error: unknown, log: Logger): Fault {
  if (error instanceof Fault) return error;
  const { code, statusCode, failure, tenantMessage } = error as {
    code?: unknown;
    statusCode?: unknown;
    failure?: unknown;
    tenantMessage?: unknown;
  };
  if (typeof failure === 'string' && typeof tenantMessage === 'string') {
    return failure === 'down'
      ? unavailable('The availability zone cannot be reached now.')
      : new Fault(409, tenantMessage);
  }
  if (typeof code === 'string' && /^22...$/.test(code)) return badRequest('A value is outside of what can be stored.');
  // Two at once that each would have been let in alone: who comes second has what the first did against them.
  if (code === '23505' || code === '23503')
    return new Fault(409, 'Another request stands against this one. Try again.');
  if (typeof code === 'string' && /^(53|57|08|40)...$/.test(code))
    return unavailable('The database cannot be reached now.');
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return new Fault(statusCode, error instanceof Error ? error.message : 'Bad request');
  }
  log.error({ err: error }, 'a request failed unexpectedly');
  return new Fault(500, 'Unexpected API Error. The request id tells the operator where to look.');
}

function requestContext(
  options: PipelineOptions,
  convention: Convention,
  state: RequestState,
  version: number,
): RequestContext {
  // Operations without policy (discovery, token issue) never read it; all others have one by the time they run.
  const identity = state.identity as Identity;
  const credentials = identity === undefined ? undefined : credentialsOf(identity);
  const allowed = (rule: string, target?: Readonly<Record<string, unknown>>): boolean =>
    credentials !== undefined &&
    options.policy.allowed(
      rule,
      credentials,
      target ?? { project_id: credentials.project_id, user_id: credentials.user_id },
    );
  return {
    requestId: state.requestId,
    identity,
    version,
    baseUrl: `${options.publicUrl}/${convention.name}${convention.root}`,
    publicUrl: options.publicUrl,
    log: options.log.child({ request_id: state.requestId }),
    allowed,
    speaksOf: (rule, attribute) => options.policy.speaksOf(rule, attribute),
    enforce: (rule, target) => {
      if (!allowed(rule, target)) throw convention.refusal(rule);
    },
  };
}

function credentialsOf(identity: Identity) {
  return {
    user_id: identity.user.id,
    project_id: identity.project?.id,
    domain_id: identity.domain?.id,
    system_scope: identity.system ? 'all' : undefined,
    roles: identity.roles as string[],
    is_admin: identity.isAdmin,
    token: identity,
  };
}

/** Of the operations at this microversion, the one that the body's only key names; others have no key. */
export function choose(convention: Convention, operations: readonly Operation[], body: unknown): Operation {
  const first = operations[0] as Operation;
  if (operations.length === 1 && first.action === undefined) return first;
  const keys = body !== null && typeof body === 'object' && !Array.isArray(body) ? Object.keys(body) : [];
  const chosen = operations.find((op) => op.action !== undefined && keys.includes(op.action));
  if (chosen !== undefined) return chosen;
  const plain = operations.find((op) => op.action === undefined);
  if (plain !== undefined) return plain;
  if (keys.length === 0) throw badRequest(convention.malformed);
  throw badRequest(`There is no such action: ${String(keys[0]).slice(0, 64)}`);
}

function jsonBody(convention: Convention, request: FastifyRequest): unknown {
  const { body } = request;
  if (body === undefined || body === null || body === '') return undefined;
  if (typeof body !== 'string') {
    const type = String(request.headers['content-type'] ?? '').slice(0, 80);
    throw new Fault(415, `Unsupported Content-Type ${type}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw badRequest(convention.malformed);
  }
  if (!shallow(value, DEPTH_LIMIT)) throw badRequest(NESTED_TOO_DEEP);
  // Copying an object would lose such a key, and with it what the client meant; nothing of OpenStack's is called so.
  if (/__proto__|\\u00/.test(body) && hasKey(value, '__proto__'))
    throw badRequest('An attribute cannot be called __proto__.');
  // PostgreSQL stores neither NUL nor half a surrogate pair; both are rare enough to look for only when hinted at.
  if (/\\u0000|\\u[dD][89a-fA-F]/.test(body) && /\\u0000|\\ud[89a-f]/.test(JSON.stringify(value))) {
    throw badRequest('The request body has characters that cannot be stored.');
  }
  return value;
}

function shallow(value: unknown, depth: number): boolean {
  if (value === null || typeof value !== 'object') return true;
  return depth > 0 && Object.values(value).every((inner) => shallow(inner, depth - 1));
}

function hasKey(value: unknown, key: string): boolean {
  if (value === null || typeof value !== 'object') return false;
  return Object.hasOwn(value, key) || Object.values(value).some((inner) => hasKey(inner, key));
}

function refuseNulls(params: Record<string, string>, query: Query): void {
  for (const value of [...Object.values(params), ...Object.values(query).flat(), ...Object.keys(query)]) {
    if (value.includes('\0')) throw badRequest('A NUL character stands in the URL.');
    if (value.length > 4096) throw badRequest('A value in the URL is too long.');
  }
}

/** Cinder's URLs carry the project, which must be the token's, an admin's too. */
function refuseOtherProject(identity: Identity, projectId: string): void {
  if (identity.project?.id !== projectId) throw badRequest('Malformed request url');
}

const PASSED_OVER_MAX = 100;

/**
 * Takes out of a body what its schema does not know, and from names the spaces at their ends, as Nova does for clients of
 * its `/v2`.
 */
function passOver(schema: NonNullable<Operation['body']>, body: unknown, version: number): void {
  const known = typeof schema === 'function' ? schema(version) : schema;
  for (let passed = 0; passed < PASSED_OVER_MAX; passed += 1) {
    const problem = check(known, body);
    if (problem === undefined) return;
    const { value, property } = problem;
    const isSpaced = problem.nameReason !== undefined && typeof value === 'string' && value.trim() !== value;
    if (!isSpaced && (problem.keyword !== 'additionalProperties' || property === undefined)) return;
    const parts = problem.path.split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const name = isSpaced ? parts.pop() : property;
    let at = body as Record<string, unknown>;
    for (const part of parts.slice(1)) at = at[part] as Record<string, unknown>;
    if (isSpaced) at[name as string] = value.trim();
    else delete at[name as string];
  }
}

function validate(
  convention: Convention,
  schema: NonNullable<Operation['body']>,
  value: unknown,
  version: number,
  part: 'query' | 'body',
): void {
  const problem = check(typeof schema === 'function' ? schema(version) : schema, value);
  if (problem === undefined) return;
  if (part === 'body' && value === undefined) throw badRequest(convention.malformed);
  throw convention.invalid(problem, part);
}
