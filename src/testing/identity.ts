/** The built-in identity service behind the real HTTP pipeline, and short ways to log in and to call it. */
import { expect } from 'vitest';
import type { Db } from '../db/database.ts';
import { conventions } from '../http/conventions.ts';
import { createMetrics } from '../http/metrics.ts';
import { createPolicy } from '../http/policy.ts';
import { createServer } from '../http/server.ts';
import { rulesOf } from '../http/service.ts';
import { createIdentity } from '../identity/identity.ts';
import type { PasswordRules } from '../identity/password-rules.ts';
import { silent } from './api.ts';

export const publicUrl = 'http://parent';
export const ADMIN_PROJECT = { project: { name: 'admin', domain: { name: 'Default' } } };

type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The body of a login by password. */
export const password = (user: object, scope?: unknown) => ({
  auth: { identity: { methods: ['password'], password: { user } }, ...(scope === undefined ? {} : { scope }) },
});

/** The body of a login by a token. */
export const byToken = (id: string, scope?: unknown) => ({
  auth: { identity: { methods: ['token'], token: { id } }, ...(scope === undefined ? {} : { scope }) },
});

/** A user of the default domain, by name. */
export const inDefault = (name: string, secret: string) => ({ name, password: secret, domain: { id: 'default' } });

/** @param now Unix time in milliseconds */
export function testIdentity(db: Db, now: () => number = Date.now, passwordRules: PasswordRules = {}) {
  const identity = createIdentity({ db, publicUrl, conventions, log: silent, now, passwordRules });
  const { service, authenticate } = identity;
  const server = createServer({
    services: [service],
    authenticate,
    policy: createPolicy({ defaults: rulesOf([service]) }),
    publicUrl,
    log: silent,
    metrics: createMetrics({ process: false }),
    healthy: async () => undefined,
  });

  async function call(
    token: string,
    method: Method,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) {
    const answer = await server.inject({
      method,
      url: `/identity/v3${path}`,
      headers: { 'content-type': 'application/json', ...headers, ...(token === '' ? {} : { 'x-auth-token': token }) },
      ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    return {
      status: answer.statusCode,
      headers: answer.headers,
      body: answer.body.startsWith('{') ? answer.json() : answer.body,
    };
  }
  const login = (body: unknown, query = '') => call('', 'POST', `/auth/tokens${query}`, body);
  return {
    identity,
    authenticate,
    call,
    login,
    async tokenFor(body: unknown): Promise<string> {
      const { status, headers } = await login(body);
      expect(status).toBe(201);
      return String(headers['x-subject-token']);
    },
    async close(): Promise<void> {
      await server.close();
      await identity.close();
    },
  };
}

/** What a fault says. */
export const message = (answer: { body: { error: { message: string } } }): string => answer.body.error.message;
