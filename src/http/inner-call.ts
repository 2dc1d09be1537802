/**
 * Calls from one service of the parent to another, without the wire: the same policy, schemas and handler as a client
 * meets, asked by the same identity. For the operations by which Nova hands on what other services do (`/os-volumes`).
 */
import { Readable } from 'node:stream';
import { carryOut, choose } from './pipeline.ts';
import {
  type Call,
  JsonBytes,
  type Method,
  type Operation,
  type Query,
  type RequestContext,
  type Service,
} from './service.ts';

export interface InnerRequest {
  readonly method: Method;
  /** Below the service's root, with ids filled in and each of them encoded. */
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Minor number of the microversion; the service's lowest where it is not said. */
  readonly version?: number;
}

/**
 * Makes the call and gives the answer's body.
 * @throws Fault as the service words it
 */
export type InnerCall = (context: RequestContext, request: InnerRequest) => Promise<unknown>;

interface Route {
  readonly operation: Operation;
  readonly pattern: RegExp;
  readonly parameters: readonly string[];
}

/** The way into a service. A path that it does not have is a mistake of the program and throws. */
export function callsInto({ convention, operations }: Service): InnerCall {
  // Paths without parameters first: `/volumes/detail` is no volume.
  const routes = operations.map(routeOf).toSorted((one, other) => one.parameters.length - other.parameters.length);
  const minimum = convention.microversions?.minimum ?? 0;
  return async (context, { method, path, query = {}, body, contentType = 'application/json', version = minimum }) => {
    const current = routes.filter(
      ({ operation, pattern }) =>
        operation.method === method &&
        pattern.test(path) &&
        version >= (operation.since ?? 0) &&
        version <= (operation.until ?? Number.MAX_SAFE_INTEGER),
    );
    const first = current[0];
    if (first === undefined) throw new Error(`${convention.name} has no ${method} ${path}`);
    const sharing = current.filter(({ operation }) => operation.path === first.operation.path);
    const chosen = choose(
      convention,
      sharing.map(({ operation }) => operation),
      body,
    );
    const values = first.pattern.exec(path)?.slice(1) ?? [];
    const call: Call = {
      context: {
        ...context,
        version,
        baseUrl: `${context.publicUrl}/${convention.name}${convention.root}`,
        enforce: (rule, target) => {
          if (!context.allowed(rule, target)) throw convention.refusal(rule);
        },
      },
      params: Object.fromEntries(first.parameters.map((name, at) => [name, decodeURIComponent(values[at] ?? '')])),
      query,
      body: chosen.action === undefined ? body : (body as Record<string, unknown>)[chosen.action],
      headers: { 'content-type': contentType },
      stream: Readable.from([]),
    };
    const answer = await carryOut(convention, chosen, call, body);
    return answer.body instanceof JsonBytes ? JSON.parse(answer.body.bytes.toString()) : answer.body;
  };
}

function routeOf(operation: Operation): Route {
  return {
    operation,
    pattern: new RegExp(`^${operation.path.replace(/:[a-z_]+/g, '([^/]+)')}$`),
    parameters: [...operation.path.matchAll(/:([a-z_]+)/g)].map((match) => match[1] ?? ''),
  };
}
