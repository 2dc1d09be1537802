import { expect, it, describe, beforeAll, afterAll } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { testIdentity } from '../testing/identity.ts';

const BASE = 'https://docs.openstack.org/api/openstack-identity/3';
/** What Keystone serves and does not list. */
const UNLISTED = ['/domains/{domain_id}/config/security_compliance', '/projects/{project_id}/tags'];

const api = testIdentity(await testDatabase());
const { call, identity } = api;
const home = (path: string, accept = 'application/json-home') => call('', 'GET', path, undefined, { accept });

type Entry = Record<'href' | 'href-template', string> & { 'href-vars': Record<string, string>; hints?: object };
let resources: Record<string, Entry> = {};

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  resources = (await home('')).body.resources;
});
afterAll(() => api.close());

describe('JSON Home', () => {
  it('has names for all that is served, each its own', () => {
    const served = new Set(
      identity.service.operations.map(({ path }) =>
        path
          .replace(/:(access\b)?/g, (_, access) => (access === undefined ? ':' : ':credential_id'))
          .replace(/:(\w+)/g, '{$1}'),
      ),
    );
    const listed = Object.values(resources).map((one) => one.href ?? one['href-template']);
    const lacking = [...served].filter((path) => !listed.includes(path));
    expect(lacking.filter((path) => !UNLISTED.some((start) => path.startsWith(start)))).toEqual([]);
    expect(listed.filter((path) => !served.has(path))).toEqual([]);
    expect(new Set(listed).size).toBe(listed.length);
  });

  it('gives Keystone’s names of resources and parameters', () => {
    expect(resources[`${BASE}/rel/users`]).toEqual({ href: '/users' });
    expect(resources[`${BASE}/rel/policy`]).toEqual({
      'href-template': '/policies/{policy_id}',
      'href-vars': { policy_id: `${BASE}/param/policy_id` },
    });
    expect(resources[`${BASE}/rel/registered_limits`]).toEqual({
      href: '/registered_limits',
      hints: { status: 'experimental' },
    });
    expect(resources[`${BASE}/rel/system_group_role`]?.['href-template']).toBe(
      '/system/groups/{group_id}/roles/{role_id}',
    );
    const inherited = `${BASE}/ext/OS-INHERIT/1.0/rel/domain_user_roles_inherited_to_projects`;
    expect(resources[inherited]?.['href-template']).toBe(
      '/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/inherited_to_projects',
    );
    expect(resources[`${BASE}/ext/OS-TRUST/1.0/rel/trust_role`]).toEqual({
      'href-template': '/OS-TRUST/trusts/{trust_id}/roles/{role_id}',
      'href-vars': {
        trust_id: `${BASE}/ext/OS-TRUST/1.0/param/trust_id`,
        role_id: `${BASE}/param/role_id`,
      },
    });
    expect(resources[`${BASE}/ext/OS-EC2/1.0/rel/user_credential`]?.['href-vars']).toEqual({
      user_id: `${BASE}/param/user_id`,
      credential_id: `${BASE}/param/credential_id`,
    });
  });

  it('is given to who would rather have it, at both version pages', async () => {
    for (const path of ['', '/..']) {
      for (const [accept, isHome] of [
        ['application/json-home', true],
        ['application/json-home, application/json;q=0.5', true],
        ['application/json-home;q=0.5, application/json', false],
        ['application/json-home, application/json', false],
        ['*/*', false],
        ['text/html', false],
      ] as const) {
        const { headers, body } = await home(path, accept);
        const type = String(headers['content-type']).split(';')[0];
        expect([path, accept, type]).toEqual([path, accept, isHome ? 'application/json-home' : 'application/json']);
        expect(Object.hasOwn(body, 'resources')).toBe(isHome);
      }
    }
    const { resources: below } = (await home('/..')).body;
    expect(below[`${BASE}/rel/users`]).toEqual({ href: '/v3/users' });
    const plain = await home('/..', 'application/json');
    expect([plain.status, plain.headers.location]).toEqual([300, 'http://parent/identity/v3/']);
  });
});

describe('what Keystone has retired', () => {
  it.each([
    ['/OS-SIMPLE-CERT/ca', 410, 'This API is no longer available due to the removal of support for PKI tokens.'],
    [
      '/OS-SIMPLE-CERT/certificates',
      410,
      'This API is no longer available due to the removal of support for PKI tokens.',
    ],
    ['/auth/tokens/OS-PKI/revoked', 403, 'You are not authorized to perform the requested action.'],
  ])('says so: %s', async (path, code, words) => {
    const { status, body } = await call('', 'GET', path);
    expect([status, body.error.message]).toEqual([code, words]);
  });
});

describe('every answer', () => {
  it('varies with the token, and tells everybody which paths and methods there are not', async () => {
    for (const [method, path, expected] of [
      ['GET', '', 200],
      ['GET', '/users', 401],
      ['GET', '/no-such-path', 404],
      ['PATCH', '/users', 405],
    ] as const) {
      const { status, headers } = await call('', method, path);
      expect([path, status, headers.vary]).toEqual([path, expected, 'X-Auth-Token']);
    }
  });
});
