import { randomUUID } from 'node:crypto';
import { expect, it } from 'vitest';
import { networkTest } from '../testing.ts';

const { call } = await networkTest();
const fault = (answer: Awaited<ReturnType<typeof call>>) => [answer.status, answer.body.NeutronError.type];
const newProfile = (service_profile: object) => call('admin', 'POST', '/service_profiles', { service_profile });
const newFlavor = (flavor: object) => call('admin', 'POST', '/flavors', { flavor });

it('flavors and service profiles are made, tied, and kept while they are in use', async () => {
  const { service_profile } = (await newProfile({ metainfo: '{}', description: 'd' })).body;
  expect(service_profile).toEqual({
    id: service_profile.id,
    description: 'd',
    driver: '',
    enabled: true,
    metainfo: '{}',
  });
  const { flavor } = (await newFlavor({ name: 'gold', service_type: 'L3_ROUTER_NAT' })).body;
  expect(flavor).toEqual({
    id: flavor.id,
    name: 'gold',
    description: '',
    service_type: 'L3_ROUTER_NAT',
    enabled: true,
    service_profiles: [],
  });
  const path = `/flavors/${flavor.id}/service_profiles`;
  const tie = { service_profile: { id: service_profile.id } };
  expect((await call('admin', 'POST', path, tie)).status).toBe(201);
  expect(fault(await call('admin', 'POST', path, tie))).toEqual([409, 'FlavorServiceProfileBindingExists']);
  const listed = await call('alice', 'GET', '/flavors?name=gold&fields=service_profiles');
  expect(listed.body.flavors).toEqual([{ service_profiles: [service_profile.id] }]);
  const profile = `/service_profiles/${service_profile.id}`;
  expect(fault(await call('admin', 'DELETE', profile))).toEqual([409, 'ServiceProfileInUse']);
  expect((await call('admin', 'PUT', profile, { service_profile: { description: 'x' } })).status).toBe(409);
  expect((await call('admin', 'DELETE', `${path}/${service_profile.id}`)).status).toBe(204);
  expect(fault(await call('admin', 'DELETE', `${path}/${service_profile.id}`))).toEqual([
    404,
    'FlavorServiceProfileBindingNotFound',
  ]);
  expect((await call('admin', 'DELETE', profile)).status).toBe(204);
  expect((await call('admin', 'DELETE', `/flavors/${flavor.id}`)).status).toBe(204);
  expect(fault(await call('admin', 'GET', `/flavors/${flavor.id}`))).toEqual([404, 'FlavorNotFound']);
});

it('what Neutron refuses is refused', async () => {
  expect(fault(await newProfile({}))).toEqual([400, 'ServiceProfileEmpty']);
  expect(fault(await newProfile({ driver: 'x' }))).toEqual([404, 'ServiceProfileDriverNotFound']);
  expect(fault(await newFlavor({ service_type: 'X' }))).toEqual([400, 'InvalidServiceType']);
  expect((await newFlavor({})).status).toBe(400);
  expect(fault(await call('admin', 'GET', `/service_profiles/${randomUUID()}`))).toEqual([
    404,
    'ServiceProfileNotFound',
  ]);
  expect((await call('alice', 'POST', '/flavors', { flavor: { service_type: 'L3_ROUTER_NAT' } })).status).toBe(403);
  expect((await call('alice', 'GET', '/service_profiles')).body).toEqual({ service_profiles: [] });
  const { service_profile } = (await newProfile({ metainfo: '{}' })).body;
  for (const method of ['GET', 'PUT', 'DELETE'] as const) {
    const hidden = await call('alice', method, `/service_profiles/${service_profile.id}`, { service_profile: {} });
    expect(fault(hidden)).toEqual([404, 'HTTPNotFound']);
  }
});
