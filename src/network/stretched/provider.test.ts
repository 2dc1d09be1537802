import { describe, expect, it } from 'vitest';
import { stretchedTest, typeOf, WAN } from './testing.ts';

const { call, make, create, drop } = await stretchedTest();

describe('provider attributes', () => {
  it.each([
    [{ 'provider:physical_network': 'wan' }, 400, 'InvalidInput', 'network_type required'],
    [{ 'provider:segmentation_id': 220 }, 400, 'InvalidInput', 'network_type required'],
    [{ ...WAN, 'provider:physical_network': 'moon' }, 400, 'InvalidInput', "physical_network 'moon' unknown for VLAN"],
    [
      { 'provider:network_type': 'vlan', 'provider:segmentation_id': 5 },
      400,
      'InvalidInput',
      'requires physical_network',
    ],
    [{ ...WAN, 'provider:segmentation_id': 4095 }, 400, 'InvalidInput', 'out of range (1 through 4094)'],
    [{ ...WAN, 'provider:segmentation_id': 0 }, 400, 'InvalidInput', 'out of range (1 through 4094)'],
    [{ ...WAN, 'provider:segmentation_id': 'abc' }, 400, 'InvalidInput', "'abc' is not an integer"],
    [{ ...WAN, 'provider:segmentation_id': 165 }, 400, 'InvalidInput', 'set aside for routed traffic'],
    [{ 'provider:network_type': 'flat' }, 400, 'InvalidInput', 'physical_network required for flat'],
    [
      { ...WAN, 'provider:network_type': 'flat', 'provider:segmentation_id': 5 },
      400,
      'InvalidInput',
      'prohibited for flat',
    ],
    [{ ...WAN, 'provider:network_type': 'gre' }, 400, 'InvalidInput', "network_type value 'gre' not supported"],
    [{ ...WAN, 'provider:network_type': 'geneve' }, 400, 'InvalidInput', 'specified for geneve network'],
    [{ ...WAN, 'router:external': true }, 400, 'InvalidInput', 'an external network cannot be made'],
    [{ ...WAN, mtu: 1501 }, 400, 'InvalidInput', 'maximum is 1500'],
    [{ ...WAN, availability_zone_hints: ['alone'] }, 400, 'InvalidInput', 'no such place'],
    [{ ...WAN, availability_zone_hints: ['moon'] }, 404, 'AvailabilityZoneNotFound', 'moon'],
  ])('%j is refused', async (network, status, type, words) => {
    const answer = await create(network);
    expect([answer.status, typeOf(answer)]).toEqual([status, type]);
    expect(answer.body.NeutronError.message).toContain(words);
  });

  it('are taken, shown to administrators alone, and stay as they are', async () => {
    const made = await create({ ...WAN, 'provider:segmentation_id': '300', project_id: 'p1' });
    expect([made.status, made.body.network]).toMatchObject([
      201,
      { ...WAN, 'provider:segmentation_id': 300, mtu: 1500, availability_zones: ['east', 'west'] },
    ]);
    const { id } = made.body.network;
    const shown = await call('alice', 'GET', `/networks/${id}`);
    expect(Object.keys(shown.body.network).filter((key) => key.startsWith('provider:'))).toEqual([]);
    expect((await call('admin', 'GET', '/networks?provider:segmentation_id=300')).body.networks).toHaveLength(1);
    const twice = await create({ ...WAN, 'provider:segmentation_id': 300 });
    expect([twice.status, twice.body.NeutronError]).toMatchObject([
      409,
      { type: 'VlanIdInUse', message: 'Unable to create the network. The VLAN 300 on physical network wan is in use.' },
    ]);
    const update = (network: object) => call('admin', 'PUT', `/networks/${id}`, { network });
    expect((await update({ ...WAN, 'provider:segmentation_id': '300', name: 'same' })).status).toBe(200);
    expect(typeOf(await update({ 'provider:segmentation_id': 301 }))).toBe('InvalidInput');
    expect(
      (await call('alice', 'PUT', `/networks/${id}`, { network: { 'provider:segmentation_id': 301 } })).status,
    ).toBe(403);
    await drop({ id });
    const again = await create({ ...WAN, 'provider:segmentation_id': 300 });
    expect(again.status).toBe(201);
    await drop(again.body.network);
  });

  it('of a flat network are taken once', async () => {
    const flat = { ...WAN, 'provider:network_type': 'flat' };
    const answers = await Promise.all([create(flat), create(flat), create(flat)]);
    const made = answers.filter(({ status }) => status === 201);
    expect(made).toHaveLength(1);
    expect(answers.filter(({ status }) => status !== 201).map(typeOf)).toEqual([
      'FlatNetworkInUse',
      'FlatNetworkInUse',
    ]);
    expect(made[0]?.body.network['provider:segmentation_id']).toBeNull();
    await drop(made[0]?.body.network);
  });

  it('come out of the pool to the last, however many ask at once, and no further', async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => create(WAN)));
    const made = answers.filter(({ status }) => status === 201).map(({ body }) => body.network);
    expect(made.map((network) => network['provider:segmentation_id']).sort()).toEqual([220, 221, 222, 223]);
    const refused = answers.filter(({ status }) => status !== 201);
    expect(refused.map(({ status, body }) => [status, body.NeutronError])).toEqual(
      Array.from({ length: 2 }, () => [
        503,
        {
          type: 'NoNetworkAvailable',
          message: 'Unable to create the network. No tenant network is available for allocation.',
          detail: '',
        },
      ]),
    );
    await drop(...made);
    await drop((await create(WAN)).body.network);
  });

  it('of networks that live in one child are those of an overlay', async () => {
    const local = await make('admin', 'network', { 'provider:network_type': 'geneve' });
    expect(local).toMatchObject({
      'provider:network_type': 'geneve',
      'provider:physical_network': null,
      'provider:segmentation_id': null,
      availability_zones: [],
    });
    await drop(local);
  });
});
