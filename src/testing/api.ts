/** Drives services through the real HTTP pipeline without a port, as tokens that are plain words. */
import { pino } from 'pino';
import type { FastifyInstance, InjectOptions } from 'fastify';
import type { Identity } from '../http/identity.ts';
import { createMetrics } from '../http/metrics.ts';
import { createPolicy } from '../http/policy.ts';
import { createServer } from '../http/server.ts';
import { rulesOf, type Service } from '../http/service.ts';

/** Says nothing; tests read answers, not logs. */
export const silent = pino({ level: 'silent' });

export interface TestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  // A test asserts on shapes that it knows; typing each answer would say the same twice.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
  readonly text: string;
}

export interface TestApi {
  /**
   * @param who a token of `identities`, or '' for none
   * @param url with the mount: `/compute/v2.1/servers`
   */
  call(who: string, method: string, url: string, body?: unknown, headers?: Record<string, string>): Promise<TestAnswer>;
  close(): Promise<void>;
}

/** An identity as a token would give it; `roles` is expanded as Keystone's implied roles are. */
export function identityOf(
  user: string,
  project: string | undefined,
  role: 'admin' | 'manager' | 'member' | 'reader',
): Identity {
  const ladder = ['reader', 'member', 'manager', 'admin'];
  const domain = { id: 'default', name: 'Default' };
  return {
    user: { id: user, name: user, domain },
    project: project === undefined ? undefined : { id: project, name: project, domain },
    domain: undefined,
    system: false,
    roles: ladder.slice(0, ladder.indexOf(role) + 1),
    isAdmin: role === 'admin',
    expires_at_ms: Date.now() + 3_600_000,
    auditIds: [`audit-${user}`],
  };
}

/** The usual callers: `admin`, `alice` (member of p1), `rita` (reader of p1), `bob` (member of p2). */
export const identities: Readonly<Record<string, Identity>> = {
  admin: identityOf('admin', 'p0', 'admin'),
  alice: identityOf('alice', 'p1', 'member'),
  rita: identityOf('rita', 'p1', 'reader'),
  bob: identityOf('bob', 'p2', 'member'),
};

export function testApi(
  services: readonly Service[],
  tokens: Readonly<Record<string, Identity>> = identities,
  overrides: Readonly<Record<string, string>> = {},
): TestApi {
  const server = createServer({
    services,
    authenticate: async (token) => tokens[token],
    policy: createPolicy({ defaults: rulesOf(services), overrides }),
    publicUrl: 'http://parent',
    log: silent,
    metrics: createMetrics({ process: false }),
    healthy: async () => undefined,
  });
  return { call: callsTo(server, (who) => who), close: () => server.close() };
}

/** Calls to a server without a port. @param tokenOf the token of a caller, by the name the test uses */
export function callsTo(server: FastifyInstance, tokenOf: (who: string) => string): TestApi['call'] {
  return async (who, method, url, body, headers = {}) => {
    const isText = typeof body === 'string' || Buffer.isBuffer(body);
    const options: InjectOptions = {
      method: method as 'GET',
      url,
      headers: {
        accept: 'application/json',
        ...(who === '' ? {} : { 'x-auth-token': tokenOf(who) }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { payload: isText ? body : JSON.stringify(body) }),
    };
    const answer = await server.inject(options);
    const type = String(answer.headers['content-type'] ?? '');
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: type.includes('json') && answer.body !== '' ? JSON.parse(answer.body) : undefined,
      text: answer.body,
    };
  };
}
