import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { testDatabase } from '../testing/database.ts';
import { createBench, type VolumeBench } from './testing.ts';

const db = await testDatabase();
let east: SimCloud;
let bench: VolumeBench;

beforeAll(async () => {
  east = await createSimCloud({ name: 'east' });
  bench = await createBench(db, [east]);
  await bench.cascade.start();
});
afterAll(async () => {
  await bench.close();
  await east.close();
});

const names = (body: { volume_types: { name: string }[] }) => body.volume_types.map(({ name }) => name).sort();

describe('volume types', () => {
  it('are the admin’s to make and each project’s to see', async () => {
    const made = await bench.call('admin', 'POST', '/types', {
      volume_type: { name: 'fast', 'os-volume-type-access:is_public': false, extra_specs: { secret: 'x' } },
    });
    expect(made.status).toBe(200);
    expect(made.body.volume_type).toMatchObject({ name: 'fast', is_public: false, extra_specs: { secret: 'x' } });
    const { id } = made.body.volume_type;
    expect((await bench.call('alice', 'POST', '/types', { volume_type: { name: 'mine' } })).status).toBe(403);
    expect((await bench.call('admin', 'POST', '/types', { volume_type: { name: 'fast' } })).status).toBe(409);
    expect(names((await bench.call('alice', 'GET', '/types')).body)).toEqual(['__DEFAULT__']);
    expect((await bench.call('alice', 'GET', `/types/${id}`)).status).toBe(404);
    expect((await bench.call('alice', 'POST', '/volumes', { volume: { size: 1, volume_type: 'fast' } })).status).toBe(
      404,
    );
    const access = { addProjectAccess: { project: 'p1' } };
    expect((await bench.call('admin', 'POST', `/types/${id}/action`, access)).status).toBe(202);
    expect(names((await bench.call('alice', 'GET', '/types')).body)).toEqual(['__DEFAULT__', 'fast']);
    expect((await bench.call('alice', 'GET', `/types/${id}`)).body.volume_type.extra_specs).toEqual({});
    expect(names((await bench.call('admin', 'GET', '/types?is_public=None')).body)).toEqual(['__DEFAULT__', 'fast']);
    expect((await bench.call('alice', 'GET', '/types/default')).body.volume_type.name).toBe('__DEFAULT__');

    const volume = await bench.created({ size: 1, volume_type: 'fast' });
    // The child has no such type: its own default serves.
    const shown = await bench.becomes(`/volumes/${volume}`, 'available');
    expect(shown.body.volume.volume_type).toBe('fast');
    expect((await bench.call('admin', 'DELETE', `/types/${id}`)).status).toBe(400);
    const usage = (await bench.call('alice', 'GET', '/os-quota-sets/p1?usage=True')).body.quota_set;
    expect(usage.volumes_fast).toEqual({ limit: -1, in_use: 1, reserved: 0 });
  });

  it('have extra specs', async () => {
    const { id } = (await bench.call('admin', 'POST', '/types', { volume_type: { name: 'spec' } })).body.volume_type;
    const path = `/types/${id}/extra_specs`;
    expect((await bench.call('admin', 'POST', path, { extra_specs: { a: '1' } })).body).toEqual({
      extra_specs: { a: '1' },
    });
    expect((await bench.call('admin', 'PUT', `${path}/b`, { b: '2' })).body).toEqual({ b: '2' });
    expect((await bench.call('admin', 'DELETE', `${path}/a`)).status).toBe(202);
    expect((await bench.call('admin', 'GET', path)).body).toEqual({ extra_specs: { b: '2' } });
    expect((await bench.call('admin', 'DELETE', `/types/${id}`)).status).toBe(202);
  });
});

describe('the admin API', () => {
  it('shows one cinder-volume a child and places nothing where it is disabled', async () => {
    const { services } = (await bench.call('admin', 'GET', '/os-services')).body;
    expect(services).toMatchObject([
      { binary: 'cinder-volume', host: 'east', status: 'enabled', state: 'up', zone: 'east-1' },
      { binary: 'cinder-scheduler', status: 'enabled', state: 'up' },
    ]);
    expect((await bench.call('alice', 'GET', '/os-services')).status).toBe(403);
    const change = { host: 'east', binary: 'cinder-volume', disabled_reason: 'moving' };
    expect((await bench.call('admin', 'PUT', '/os-services/disable-log-reason', change)).status).toBe(200);
    const shown = (await bench.call('admin', 'GET', '/os-services?binary=cinder-volume')).body.services;
    expect(shown).toMatchObject([{ status: 'disabled', disabled_reason: 'moving' }]);
    expect((await bench.call('alice', 'POST', '/volumes', { volume: { size: 1 } })).status).toBe(400);
    const enable = { host: 'east', binary: 'cinder-volume' };
    expect((await bench.call('admin', 'PUT', '/os-services/enable', enable)).status).toBe(200);
    const unknown = { host: 'mars', binary: 'cinder-volume' };
    expect((await bench.call('admin', 'PUT', '/os-services/enable', unknown)).status).toBe(404);
  });

  it('shows zones, limits, pools and quotas', async () => {
    expect((await bench.call('alice', 'GET', '/os-availability-zone')).body).toEqual({
      availabilityZoneInfo: [{ zoneName: 'east-1', zoneState: { available: true } }],
    });
    expect((await bench.call('alice', 'GET', '/limits')).body.limits.absolute).toMatchObject({ maxTotalVolumes: 10 });
    expect((await bench.call('admin', 'GET', '/scheduler-stats/get_pools')).body).toEqual({
      pools: [{ name: 'east@headwater#headwater' }],
    });
    expect((await bench.call('alice', 'GET', '/os-quota-sets/p2')).status).toBe(403);
    const bad = await bench.call('admin', 'PUT', '/os-quota-sets/p2', { quota_set: { nonsense: 1 } });
    expect(bad.status).toBe(400);
    const everybody = { quota_class_set: { volumes: 7 } };
    expect((await bench.call('admin', 'PUT', '/os-quota-class-sets/default', everybody)).status).toBe(200);
    expect((await bench.call('bob', 'GET', '/os-quota-sets/p2')).body.quota_set).toMatchObject({
      volumes: 7,
      id: 'p2',
    });
    expect((await bench.call('alice', 'GET', '/messages', undefined, '3.3')).body).toEqual({ messages: [] });
    expect((await bench.call('alice', 'GET', '/backups')).status).toBe(404);
  });
});
