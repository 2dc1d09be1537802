import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, byToken, inDefault, message, password, testIdentity } from '../testing/identity.ts';
import type { PasswordRules } from './password-rules.ts';

const db = await testDatabase();
const clock = { offset_ms: 0 };
const rules: { -readonly [K in keyof PasswordRules]: PasswordRules[K] } = {};
const api = testIdentity(db, () => Date.now() + clock.offset_ms, rules);
const { identity, call, login, tokenFor } = api;
const DAY_MS = 86_400_000;

let admin = '';
let count = 0;

const make = async (attributes: object = {}): Promise<string> => {
  const user = { name: `user${count++}`, password: 'Right1', ...attributes };
  const { status, body } = await call(admin, 'POST', '/users', { user });
  expect([status, body.error]).toEqual([201, undefined]);
  return body.user.id;
};
const as = async (id: string, secret: string): Promise<number> =>
  (await login(password({ id, password: secret }))).status;
const change = async (id: string, original_password: string, wanted: string): Promise<[number, string]> => {
  const user = { original_password, password: wanted };
  const { status, body } = await call('', 'POST', `/users/${id}/password`, { user });
  return [status, body === '' ? '' : message({ body })];
};
const update = (id: string, user: object) => call(admin, 'PATCH', `/users/${id}`, { user });

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
});

beforeEach(async () => {
  for (const key of Object.keys(rules) as (keyof PasswordRules)[]) delete rules[key];
  clock.offset_ms = 0;
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
});

afterAll(() => api.close());

describe('an account', () => {
  it('is locked after so many wrong passwords, until time has passed or it is enabled', async () => {
    Object.assign(rules, { lockout_failure_attempts: 2, lockout_duration_s: 60 });
    const id = await make();
    expect([await as(id, 'x'), await as(id, 'Right1'), await as(id, 'x'), await as(id, 'Right1')]).toEqual([
      401, 201, 401, 201,
    ]);
    for (const _ of [1, 2]) await as(id, 'x');
    expect(await as(id, 'Right1')).toBe(401);
    expect((await change(id, 'Right1', 'Other1'))[0]).toBe(401);
    clock.offset_ms = 61_000;
    // The lock has ended, and the count with it.
    expect([await as(id, 'x'), await as(id, 'Right1')]).toEqual([401, 201]);
    clock.offset_ms = 0;
    for (const _ of [1, 2]) await as(id, 'x');
    expect(await as(id, 'Right1')).toBe(401);
    expect((await update(id, { enabled: true })).status).toBe(200);
    expect(await as(id, 'Right1')).toBe(201);
    const exempt = await make({ options: { ignore_lockout_failure_attempts: true } });
    for (const _ of [1, 2, 3]) await as(exempt, 'x');
    expect(await as(exempt, 'Right1')).toBe(201);
  });

  it('is disabled after so many days without a login, unless it is exempt, and enabled anew', async () => {
    Object.assign(rules, { disable_user_account_days_inactive: 30 });
    const [used, unused, exempt] = [
      await make(),
      await make(),
      await make({ options: { ignore_user_inactivity: true } }),
    ];
    clock.offset_ms = 20 * DAY_MS;
    expect(await as(used, 'Right1')).toBe(201);
    clock.offset_ms = 40 * DAY_MS;
    expect([await as(used, 'Right1'), await as(unused, 'Right1'), await as(exempt, 'Right1')]).toEqual([201, 401, 201]);
    admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT)).catch(() => '');
    // So is the administrator's, whom `headwater bootstrap --recover` brings back.
    expect(admin).toBe('');
    clock.offset_ms = 0;
    await identity.recoverAdministrator('secret');
    admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
    expect((await call(admin, 'GET', `/users/${unused}`)).body.user.enabled).toBe(false);
    clock.offset_ms = 40 * DAY_MS;
    delete rules.disable_user_account_days_inactive;
    admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
    Object.assign(rules, { disable_user_account_days_inactive: 30 });
    expect((await update(unused, { enabled: true })).status).toBe(200);
    expect(await as(unused, 'Right1')).toBe(201);
  });

  it('is never locked where nothing is configured', async () => {
    const id = await make();
    for (const _ of [1, 2, 3, 4, 5, 6]) await as(id, 'x');
    expect(await as(id, 'Right1')).toBe(201);
  });
});

describe('a password', () => {
  it('expires, and is then good for nothing but to be changed', async () => {
    rules.password_expires_days = 1;
    const exempt = await make({ options: { ignore_password_expiry: true } });
    const id = await make();
    const { body } = await login(password({ id, password: 'Right1' }));
    const { password_expires_at } = (await call(admin, 'GET', `/users/${id}`)).body.user;
    expect(password_expires_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}$/);
    expect(body.token.user.password_expires_at).toBe(password_expires_at);
    expect(Date.parse(`${password_expires_at}Z`) - Date.now()).toBeLessThanOrEqual(DAY_MS);
    clock.offset_ms = DAY_MS + 1000;
    const answer = await login(password({ id, password: 'Right1' }));
    expect([answer.status, message(answer)]).toEqual([
      401,
      `The password is expired and needs to be changed for user: ${id}.`,
    ]);
    expect(await as(id, 'x')).toBe(401);
    expect(await change(id, 'Right1', 'Other1')).toEqual([204, '']);
    expect(await as(id, 'Other1')).toBe(201);
    clock.offset_ms = 3 * DAY_MS;
    expect(await as(exempt, 'Right1')).toBe(201);
  });

  it('given by an administrator is to be changed at first use, where that is asked for', async () => {
    rules.change_password_upon_first_use = true;
    const id = await make();
    expect(await as(id, 'Right1')).toBe(401);
    expect(await change(id, 'Right1', 'Own1')).toEqual([204, '']);
    expect(await as(id, 'Own1')).toBe(201);
    await update(id, { password: 'Reset1' });
    expect(await as(id, 'Reset1')).toBe(401);
    const exempt = await make({ options: { ignore_change_password_upon_first_use: true } });
    expect(await as(exempt, 'Right1')).toBe(201);
  });

  it('is none of the last ones, unless an administrator gives it', async () => {
    rules.unique_last_password_count = 2;
    const id = await make();
    const words =
      'The new password cannot be identical to a previous password. The total number which includes the new password must be unique is 2.';
    expect(await change(id, 'Right1', 'Right1')).toEqual([400, words]);
    expect((await change(id, 'Right1', 'Second1'))[0]).toBe(204);
    expect(await change(id, 'Second1', 'Right1')).toEqual([400, words]);
    expect((await change(id, 'Second1', 'Third1'))[0]).toBe(204);
    expect((await change(id, 'Third1', 'Right1'))[0]).toBe(204);
    expect((await update(id, { password: 'Right1' })).status).toBe(200);
  });

  it('is of the form asked for, is kept for a while, and may be locked', async () => {
    Object.assign(rules, { password_regex: '(?=.*\\d).{6,}$', password_regex_description: 'six, with a digit' });
    const words = 'The password does not match the requirements: six, with a digit.';
    const answer = await call(admin, 'POST', '/users', { user: { name: 'weak', password: 'weak' } });
    expect([answer.status, message(answer)]).toEqual([400, words]);
    const id = await make();
    expect(await change(id, 'Right1', 'weak')).toEqual([400, words]);
    rules.minimum_password_age_days = 2;
    expect((await change(id, 'Right1', 'Other1'))[0]).toBe(204);
    const [status, text] = await change(id, 'Other1', 'Again1');
    expect([status, text]).toEqual([400, expect.stringContaining('it must be used for 2 day(s)')]);
    clock.offset_ms = 2 * DAY_MS + 1000;
    expect((await change(id, 'Other1', 'Again1'))[0]).toBe(204);
    clock.offset_ms = 0;
    const locked = await make({ options: { lock_password: true } });
    expect((await change(locked, 'Right1', 'Other1'))[0]).toBe(400);
  });
});

it('users are found by when their passwords expire', async () => {
  rules.password_expires_days = 10;
  const id = await make({ name: 'expiring' });
  const named = async (filter: string): Promise<string[]> => {
    const { status, body } = await call(admin, 'GET', `/users?name=expiring&password_expires_at=${filter}`);
    return status === 200 ? body.users.map((user: { id: string }) => user.id) : [`${status}`];
  };
  const soon = new Date(Date.now() + DAY_MS).toISOString();
  expect([await named(`gt:${soon}`), await named(`lt:${soon}`), await named(soon)]).toEqual([[id], [], []]);
  expect([await named('xx:2020-01-01T00:00:00Z'), await named('lt:soon')]).toEqual([['400'], ['400']]);
  const { body } = await call(admin, 'POST', '/groups', { group: { name: 'expiring' } });
  await call(admin, 'PUT', `/groups/${body.group.id}/users/${id}`);
  const path = `/groups/${body.group.id}/users?password_expires_at=`;
  expect((await call(admin, 'GET', `${path}gt:${soon}`)).body.users).toHaveLength(1);
  expect((await call(admin, 'GET', `${path}lt:${soon}`)).body.users).toHaveLength(0);
});

describe('a second factor', () => {
  const SECRET = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
  const by = (methods: string[], id: string, passcode: string) => ({
    auth: {
      identity: { methods, password: { user: { id, password: 'Right1' } }, totp: { user: { id, passcode } } },
      scope: 'unscoped',
    },
  });

  it('is a passcode, asked for where the user’s rules say so', async () => {
    const id = await make();
    const credential = { type: 'totp', blob: SECRET, user_id: id };
    expect((await call(admin, 'POST', '/credentials', { credential })).status).toBe(201);
    // The passcode of second 59, by the RFC.
    clock.offset_ms = 59_000 - Date.now();
    const { status, body } = await login(by(['totp'], id, '287082'));
    expect([status, body.token.methods]).toEqual([201, ['totp']]);
    expect((await login(by(['totp'], id, '000000'))).status).toBe(401);
    clock.offset_ms = 0;
    const options = { multi_factor_auth_enabled: true, multi_factor_auth_rules: [['password', 'totp']] };
    expect((await update(id, { options })).status).toBe(200);
    clock.offset_ms = 59_000 - Date.now();
    expect(await as(id, 'Right1')).toBe(401);
    expect((await login(by(['totp'], id, '287082'))).status).toBe(401);
    const both = await login(by(['password', 'totp'], id, '287082'));
    expect([both.status, both.body.token.methods]).toEqual([201, ['password', 'totp']]);
    expect((await login(byToken(String(both.headers['x-subject-token'])))).status).toBe(201);
    clock.offset_ms = 0;
    expect((await update(id, { options: { multi_factor_auth_enabled: false } })).status).toBe(200);
    expect(await as(id, 'Right1')).toBe(201);
  });

  it('that nobody can give is not asked for', async () => {
    const id = await make({ options: { multi_factor_auth_rules: [['password', 'kerberos']] } });
    expect(await as(id, 'Right1')).toBe(201);
  });
});
