import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const api = testIdentity(db);
const { identity, call, tokenFor } = api;

let admin = '';
let domain = '';
let path = '';
const invalid = (words: string): [number, string] => [403, `Invalid domain specific configuration: ${words}.`];
const lacking = (words: string): [number, string] => [
  404,
  `Could not find ${words} in domain configuration for domain ${domain}.`,
];
const answered = async (answer: ReturnType<typeof call>): Promise<[number, string]> => {
  const { status, body } = await answer;
  return [status, body === '' ? '' : message({ body })];
};

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  domain = (await call(admin, 'POST', '/domains', { domain: { name: 'lab' } })).body.domain.id;
  path = `/domains/${domain}/config`;
});

afterAll(() => api.close());

it('is set, shown without its secrets, changed and removed, as a whole and in parts', async () => {
  expect(await answered(call(admin, 'GET', path))).toEqual(lacking('any options'));
  const config = { identity: { driver: 'ldap' }, ldap: { url: 'ldap://u', password: 'hidden' } };
  const shown = { identity: { driver: 'ldap' }, ldap: { url: 'ldap://u' } };
  const made = await call(admin, 'PUT', path, { config });
  expect([made.status, made.body]).toEqual([201, { config: shown }]);
  expect((await call(admin, 'PUT', path, { config })).status).toBe(200);
  expect(JSON.stringify((await sql`select * from identity_domain_configs`.execute(db.query)).rows)).not.toContain(
    'hidden',
  );
  expect((await call(admin, 'GET', path)).body).toEqual({ config: shown });
  expect((await call(admin, 'GET', `${path}/ldap`)).body).toEqual({ config: { ldap: shown.ldap } });
  expect((await call(admin, 'GET', `${path}/identity/driver`)).body).toEqual({ config: { driver: 'ldap' } });
  expect(await answered(call(admin, 'GET', `${path}/ldap/password`))).toEqual(lacking('option password in group ldap'));
  const group = await call(admin, 'PATCH', `${path}/identity`, { config: { identity: { list_limit: 5 } } });
  expect(group.body).toEqual({ config: { ...shown, identity: { driver: 'ldap', list_limit: 5 } } });
  const option = await call(admin, 'PATCH', `${path}/identity/driver`, { config: { driver: 'sql' } });
  expect(option.body.config.identity).toEqual({ driver: 'sql', list_limit: 5 });
  expect((await call(admin, 'DELETE', `${path}/identity/driver`)).status).toBe(204);
  expect(await answered(call(admin, 'DELETE', `${path}/identity/driver`))).toEqual(
    lacking('option driver in group identity'),
  );
  expect(await answered(call(admin, 'PATCH', `${path}/identity/driver`, { config: { driver: 'x' } }))).toEqual(
    lacking('option driver in group identity'),
  );
  expect((await call(admin, 'DELETE', `${path}/identity`)).status).toBe(204);
  expect(await answered(call(admin, 'GET', `${path}/identity`))).toEqual(lacking('group identity'));
  expect((await call(admin, 'DELETE', path)).status).toBe(204);
  expect((await call(admin, 'DELETE', path)).status).toBe(204);
  expect(await answered(call(admin, 'GET', path))).toEqual(lacking('any options'));
});

it('has known settings alone', async () => {
  const put = (config: object, at = path) => answered(call(admin, 'PUT', at, { config }));
  expect(await put({})).toEqual(invalid('No options specified'));
  expect(await put({ zz: { a: 1 } })).toEqual(invalid('Group zz is not supported for domain specific configurations'));
  expect(await put({ ldap: { zz: 1 } })).toEqual(
    invalid('Option zz in group ldap is not supported for domain specific configurations'),
  );
  expect((await put({ ldap: 5 }))[0]).toBe(403);
  expect((await put({ identity: { driver: 'x' } }, '/domains/nope/config'))[0]).toBe(404);
  expect((await call(admin, 'GET', `${path}/zz`)).status).toBe(403);
  await call(admin, 'PUT', path, { config: { ldap: { url: 'x' } } });
  const other = call(admin, 'PATCH', `${path}/ldap`, { config: { identity: { driver: 'x' } } });
  expect((await other).status).toBe(403);
});

it('has defaults, and rules for passwords that everybody may read', async () => {
  const { config } = (await call(admin, 'GET', '/domains/config/default')).body;
  expect(config).toMatchObject({ identity: { driver: 'sql', list_limit: null }, ldap: { url: 'ldap://localhost' } });
  expect((await call(admin, 'GET', '/domains/config/ldap/default')).body.config).toEqual({ ldap: config.ldap });
  expect((await call(admin, 'GET', '/domains/config/ldap/url/default')).body.config).toEqual({
    url: 'ldap://localhost',
  });
  expect((await call(admin, 'GET', '/domains/config/zz/default')).status).toBe(403);
  const { body: made } = await call(admin, 'POST', '/users', { user: { name: 'alice', password: 'pw' } });
  const alice = await tokenFor(password({ id: made.user.id, password: 'pw' }));
  const rules = '/domains/default/config/security_compliance';
  expect((await call(alice, 'GET', rules)).body.config.security_compliance.password_regex).toBeNull();
  expect((await call(alice, 'GET', `${rules}/password_regex`)).body.config).toEqual({ password_regex: null });
  expect((await call(alice, 'GET', `${rules}/lockout_duration`)).status).toBe(403);
  expect((await call(admin, 'GET', `${path}/security_compliance`)).status).toBe(403);
  expect((await call(alice, 'GET', path)).status).toBe(403);
  expect((await call(alice, 'GET', '/domains/config/default')).status).toBe(403);
});
