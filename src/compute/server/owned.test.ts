import { afterAll, expect, it } from 'vitest';
import { serverTest } from './testing.ts';

const test = await serverTest({
  proxies: false,
  policy: { 'os_compute_api:servers:update': 'rule:owner_only', owner_only: 'user_id:%(user_id)s' },
});
afterAll(() => test.close());

const id = await test.boot('east');
const none = '5a7bd3b5-0b7e-4e6d-9d3b-1a2b3c4d5e6f';
const put = async (who: string, server: string) =>
  (await test.call(who, 'PUT', `/servers/${server}`, { server: { name: 'new' } })).status;

it('asks a rule that speaks of users about the one whose server it is', async () => {
  expect(await put('alice', id)).toBe(200);
  // A reader of the same project, and an administrator: neither of them made it.
  expect(await put('rita', id)).toBe(403);
  expect(await put('admin', id)).toBe(403);
  expect(await put('bob', id)).toBe(404);
});

it('says first whether there is such a server', async () => {
  const act = async (who: string, server: string, body: object, minor = 93) =>
    (await test.call(who, 'POST', `/servers/${server}/action`, body, minor)).status;
  const reset = { 'os-resetState': { state: 'error' } };
  expect([await act('alice', id, reset), await act('alice', none, reset), await act('bob', id, reset)]).toEqual([
    403, 404, 404,
  ]);
  expect([await act('rita', id, { 'os-stop': null }), await act('rita', none, { 'os-stop': null })]).toEqual([
    403, 404,
  ]);
  // What is sent is looked at before either.
  expect(await act('rita', none, { 'os-resetState': { state: 'fine' } })).toBe(400);
  const old = `/os-volumes_boot/${none}/action`;
  expect((await test.call('rita', 'POST', old, { 'os-stop': null })).status).toBe(404);
});

it('takes names with spaces at their ends from clients of before microversions', async () => {
  const put = (root: string) =>
    test.ask('alice', 'PUT', `/compute/${root}/servers/${id}`, { server: { name: ' spaced\t', odd: 1 } });
  expect((await put('v2.1')).status).toBe(400);
  const { status, body } = await put('v2');
  expect([status, body.server?.name]).toEqual([200, 'spaced']);
});

it('unlocks for whoever locked it', async () => {
  const act = async (who: string, body: object) => (await test.call(who, 'POST', `/servers/${id}/action`, body)).status;
  const locked = async () => {
    const server = await test.show(id);
    return [server.locked, server.locked_reason];
  };
  expect(await act('alice', { lock: { locked_reason: 'mine' } })).toBe(202);
  // Locked by its owner already: nothing changes, the reason neither.
  expect(await act('alice', { lock: { locked_reason: 'again' } })).toBe(202);
  expect(await locked()).toEqual([true, 'mine']);
  expect(await act('admin', { lock: null })).toBe(202);
  expect(await locked()).toEqual([true, 'mine']);
  expect(await act('alice', { unlock: null })).toBe(403);
  expect(await act('admin', { unlock: null })).toBe(202);
  expect(await locked()).toEqual([false, null]);
});
