import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import type { PasswordRules } from './password-rules.ts';
import { ADMIN_PROJECT, byToken, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
/** The RFC's time at which its secret gives 287082. */
const clock = { now_ms: 59_000 };
const rules: PasswordRules = {};
const api = testIdentity(db, () => clock.now_ms, rules);
const { identity, call, login, tokenFor } = api;

const SECRET = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
const RULES = [['password', 'totp']];
let admin = '';
let count = 0;

const byPassword = (id: string, secret = 'Right1') => password({ id, password: secret });
const byPasscode = (id: string, passcode = '287082') => ({
  auth: { identity: { methods: ['totp'], totp: { user: { id, passcode } } } },
});
const withReceipt = (receipt: string, body: unknown) =>
  call('', 'POST', '/auth/tokens', body, { 'openstack-auth-receipt': receipt });

/** A user who must prove themselves by all methods of one of the rules. */
async function make(rules: string[][] = RULES): Promise<string> {
  const user = { name: `user${count++}`, password: 'Right1', options: { multi_factor_auth_rules: rules } };
  const { status, body } = await call(admin, 'POST', '/users', { user });
  expect(status).toBe(201);
  const { id } = body.user;
  const credential = { type: 'totp', blob: SECRET, user_id: id };
  expect((await call(admin, 'POST', '/credentials', { credential })).status).toBe(201);
  return id;
}

async function receiptOf(id: string): Promise<string> {
  const { status, headers } = await login(byPassword(id));
  expect(status).toBe(401);
  return String(headers['openstack-auth-receipt']);
}

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
});

beforeEach(async () => {
  clock.now_ms = 59_000;
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
});

afterAll(() => api.close());

describe('a receipt', () => {
  it('is given for a proof that is good and not enough, and says what else is asked for', async () => {
    const id = await make([['password', 'totp'], ['password', 'kerberos', 'totp'], ['token']]);
    const { status, headers, body } = await login(byPassword(id));
    expect(status).toBe(401);
    expect(headers['openstack-auth-receipt']).toMatch(/^[A-Za-z0-9_-]{90,255}$/);
    expect(body).toEqual({
      receipt: {
        methods: ['password'],
        user: { id, name: `user${count - 1}`, domain: { id: 'default', name: 'Default' } },
        expires_at: '1970-01-01T00:05:59.000000Z',
        issued_at: '1970-01-01T00:00:59.000000Z',
      },
      required_auth_methods: [
        ['password', 'totp'],
        ['password', 'totp'],
      ],
    });
  });

  it('stands for the proof when the next one is given, in either order', async () => {
    const id = await make();
    const { status, body } = await withReceipt(await receiptOf(id), byPasscode(id));
    expect([status, body.token.user.id, body.token.methods.toSorted()]).toEqual([201, id, ['password', 'totp']]);
    const first = await login(byPasscode(id));
    expect([first.status, first.body.receipt.methods]).toEqual([401, ['totp']]);
    expect((await withReceipt(String(first.headers['openstack-auth-receipt']), byPassword(id))).status).toBe(201);
  });

  it('gathers proofs where there are more than two', async () => {
    const id = await make([['password', 'totp', 'token']]);
    const second = await withReceipt(await receiptOf(id), byPasscode(id));
    expect([second.status, second.body.receipt.methods.toSorted()]).toEqual([401, ['password', 'totp']]);
  });

  it('proves nothing without another proof, with a wrong one, or for another user', async () => {
    const [id, other] = [await make(), await make()];
    const receipt = await receiptOf(id);
    const again = await withReceipt(receipt, byPassword(id));
    expect([again.status, again.body.receipt.methods]).toEqual([401, ['password']]);
    const wrong = await withReceipt(receipt, byPasscode(id, '000000'));
    expect([wrong.status, wrong.headers['openstack-auth-receipt']]).toEqual([401, undefined]);
    const stolen = await withReceipt(receipt, byPasscode(other));
    expect([stolen.status, message(stolen)]).toEqual([401, `Could not find auth receipt: ${receipt}.`]);
  });

  it('ends after five minutes, and with a new password', async () => {
    const id = await make();
    const old = await receiptOf(id);
    clock.now_ms += 300_000;
    const late = { status: (await withReceipt(old, byPassword(id))).status, text: old };
    expect(late.status).toBe(401);
    clock.now_ms -= 1;
    expect((await withReceipt(old, byPassword(id))).body.receipt.methods).toEqual(['password']);
    clock.now_ms = 59_000;
    expect((await call(admin, 'PATCH', `/users/${id}`, { user: { password: 'Other1' } })).status).toBe(200);
    expect((await withReceipt(old, byPasscode(id))).status).toBe(401);
  });

  it('is no token, and a token no receipt', async () => {
    const id = await make();
    const receipt = await receiptOf(id);
    expect((await call(receipt, 'GET', '/auth/projects')).status).toBe(401);
    expect((await login(byToken(receipt))).status).toBe(404);
    for (const text of [admin, 'nonsense', '']) {
      expect((await withReceipt(text, byPasscode(id))).status).toBe(401);
    }
  });

  it('is all that an old token gives once more is asked for', async () => {
    const id = await make([]);
    const token = await tokenFor(byPassword(id));
    const user = { options: { multi_factor_auth_rules: RULES } };
    expect((await call(admin, 'PATCH', `/users/${id}`, { user })).status).toBe(200);
    const rescoped = await login(byToken(token));
    expect([rescoped.status, rescoped.body.receipt.methods.toSorted()]).toEqual([401, ['password', 'token']]);
  });
});

describe('the rules of a user', () => {
  it.each([[[[]]], [[['password', 'password']]], [[['totp'], ['totp']]], ['password'], [[['totp', 1]]]])(
    'are refused where they are %j',
    async (rules) => {
      const user = { name: 'refused', options: { multi_factor_auth_rules: rules } };
      expect((await call(admin, 'POST', '/users', { user })).status).toBe(400);
    },
  );
});

it('does not let whoever has the password try passcodes without end', async () => {
  Object.assign(rules, { lockout_failure_attempts: 3, lockout_duration_s: 60 });
  const id = await make();
  const statusOf = async (receipt: string, passcode?: string) =>
    (await withReceipt(receipt, byPasscode(id, passcode))).status;
  expect(await statusOf(await receiptOf(id), '000000')).toBe(401);
  expect(await statusOf(await receiptOf(id))).toBe(201);
  // All was proven: the count began anew.
  const receipt = await receiptOf(id);
  for (const wrong of ['000000', '000001', '000002']) {
    await receiptOf(id);
    expect(await statusOf(receipt, wrong)).toBe(401);
  }
  expect(await statusOf(receipt)).toBe(401);
  expect((await login(byPassword(id))).headers['openstack-auth-receipt']).toBeUndefined();
  clock.now_ms = 59_000 + 61_000;
  expect((await login(byPassword(id))).headers['openstack-auth-receipt']).toBeDefined();
  for (const key of ['lockout_failure_attempts', 'lockout_duration_s'] as const) delete rules[key];
});
