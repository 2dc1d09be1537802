import { afterAll, expect, it } from 'vitest';
import { serverTest } from './testing.ts';

const test = await serverTest({ proxies: false });
afterAll(() => test.close());

it('says why a server has no place', async () => {
  // The network comes to live where its first server is.
  await test.boot('west', { networks: [{ uuid: test.network }] });
  const lost = await test.boot('east', { networks: [{ uuid: test.network }], description: 'x' });
  const server = await test.show(lost);
  const why = `No valid host was found. Network ${test.network} does not reach availability zone east.`;
  expect([server.status, server.fault.message]).toEqual(['ERROR', why]);
  const path = `/servers/${lost}/os-instance-actions`;
  const [action] = (await test.call('alice', 'GET', path)).body.instanceActions;
  expect([action.action, action.message]).toEqual(['create', 'Error']);
  const events = async (who: string) =>
    (await test.call(who, 'GET', `${path}/${action.request_id}`)).body.instanceAction.events;
  expect(await events('admin')).toMatchObject([{ result: 'Error', details: why }]);
  // What an event ended with is for administrators, as in Nova.
  expect((await events('alice'))[0]).not.toHaveProperty('details');
  const boot = async (more: object) => {
    const server_ = { name: 'one', flavorRef: test.flavor, imageRef: test.image, networks: [{ uuid: test.network }] };
    const made = await test.call('admin', 'POST', '/servers', { server: { ...server_, ...more } });
    return made.body.server.id as string;
  };
  const fault = async (id: string) => (await test.call('admin', 'GET', `/servers/${id}`)).body.server.fault.message;
  expect(await fault(await boot({ host: 'east' }))).toBe(
    `No valid host was found. Network ${test.network} does not reach compute host east.`,
  );
  expect(await fault(await boot({ availability_zone: 'east:west' }))).toBe(
    'No valid host was found. Compute host west is not in availability zone east.',
  );
});
