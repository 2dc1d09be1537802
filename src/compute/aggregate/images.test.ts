import { afterAll, beforeAll, expect, it } from 'vitest';
import { type TestParent, testParent } from '../../testing/parent.ts';

let test: TestParent;
beforeAll(async () => {
  test = await testParent();
});
afterAll(() => test.stop());

it('brings images to the children of an aggregate, and refuses what is none', async () => {
  const ask = (method: string, path: string, body?: unknown, who = 'admin', minor = 96) =>
    test.api.call(who, method, path, body, { 'openstack-api-version': `compute 2.${minor}` });
  const aggregates = '/compute/v2.1/os-aggregates';
  const { id } = (await ask('POST', aggregates, { aggregate: { name: 'near' } })).body.aggregate;
  expect((await ask('POST', `${aggregates}/${id}/action`, { add_host: { host: 'east' } })).status).toBe(200);
  const image = (await ask('POST', '/image/v2/images', { name: 'i', disk_format: 'raw', container_format: 'bare' }))
    .body.id;
  await test.api.call('admin', 'PUT', `/image/v2/images/${image}/file`, Buffer.from('data'), {
    'content-type': 'application/octet-stream',
  });
  const cache = (...ids: string[]) => ({ cache: ids.map((one) => ({ id: one })) });
  const path = `${aggregates}/${id}/images`;
  expect((await ask('POST', path, cache(image), 'alice')).status).toBe(403);
  expect((await ask('POST', path, cache(image), 'admin', 80)).status).toBe(404);
  expect((await ask('POST', path, cache())).status).toBe(400);
  expect((await ask('POST', `${aggregates}/999/images`, cache(image))).status).toBe(404);
  const twice = await ask('POST', path, cache(image, image));
  expect([twice.status, twice.body.badRequest.message]).toEqual([400, 'Duplicate images in request']);
  const none = '5a7bd3b5-0b7e-4e6d-9d3b-1a2b3c4d5e6f';
  const missing = await ask('POST', path, cache(none));
  expect([missing.status, missing.body.badRequest.message]).toEqual([400, `Image ${none} could not be found.`]);
  expect([...(test.sims.east?.state.images.keys() ?? [])]).toEqual([]);
  expect((await ask('POST', path, cache(image))).status).toBe(202);
  await test.eventually(async () => test.sims.east?.state.images.get(image)?.fields.status === 'active');
  await test.eventually(async () => (await ask('GET', `/image/v2/images/${image}`)).body.stores === 'local,east');
  expect(test.sims.west?.state.images.has(image)).toBe(false);
  // Again: it is there.
  expect((await ask('POST', path, cache(image))).status).toBe(202);
}, 20_000);
