import { expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, password, publicUrl, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();

it('policies are kept as they were given, for administrators', async () => {
  const { identity, call, tokenFor, close } = testIdentity(db);
  await identity.bootstrap({ adminPassword: 'secret' });
  const admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  const url = '/policies';
  const made = await call(admin, 'POST', url, {
    policy: { blob: '{"a": ["b"]}', type: 'application/json', note: 'x' },
  });
  expect(made.status).toBe(201);
  const { id } = made.body.policy;
  expect(made.body.policy).toMatchObject({ blob: '{"a": ["b"]}', type: 'application/json', note: 'x' });
  expect(made.body.policy.links.self).toBe(`${publicUrl}/identity/v3${url}/${id}`);
  expect((await call(admin, 'PATCH', `${url}/${id}`, { policy: { type: 'text/plain' } })).body.policy.type).toBe(
    'text/plain',
  );
  expect((await call(admin, 'GET', `${url}?type=text/plain`)).body.policies).toHaveLength(1);
  expect((await call(admin, 'GET', `${url}?type=other`)).body.policies).toEqual([]);
  expect((await call(admin, 'POST', url, { policy: { type: 'x' } })).status).toBe(400);
  expect((await call(admin, 'DELETE', `${url}/${id}`)).status).toBe(204);
  expect((await call(admin, 'GET', `${url}/${id}`)).body.error).toMatchObject({
    code: 404,
    message: `Could not find policy: ${id}.`,
  });
  await close();
});
