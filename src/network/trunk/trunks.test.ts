import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { describe, expect, it, vi } from 'vitest';
import { networkTest } from '../testing.ts';

const { call, make, cascade, db, sims } = await networkTest(['east', 'west']);
const { east } = sims as { east: NonNullable<(typeof sims)[string]> };
await cascade.start();

const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 10_000, interval: 25 });
const fault = (answer: Awaited<ReturnType<typeof call>>) => [answer.status, answer.body.NeutronError.type];
const vlan = (port_id: string, segmentation_id: unknown) => ({ port_id, segmentation_type: 'vlan', segmentation_id });
const newTrunk = (port_id: string, more: object = {}, who = 'alice') =>
  call(who, 'POST', '/trunks', { trunk: { port_id, ...more } });
const change = (id: string, way: 'add' | 'remove', sub_ports: unknown, who = 'alice') =>
  call(who, 'PUT', `/trunks/${id}/${way}_subports`, { sub_ports });
const copyOf = (id: string) => [...east.state.trunks.values()].find(({ name }) => name === id);
const tagsOf = (id: string) =>
  ((copyOf(id)?.sub_ports ?? []) as { segmentation_id: number }[]).map((one) => one.segmentation_id).sort();

/** Ports on networks of one zone. */
async function portsIn(zone: string | undefined, count: number): Promise<string[]> {
  const hints = zone === undefined ? {} : { availability_zone_hints: [zone] };
  const ids: string[] = [];
  for (let at = 0; at < count; at += 1) {
    const network = await make('alice', 'network', hints);
    ids.push((await make('alice', 'port', { network_id: network.id })).id);
  }
  return ids;
}

describe('trunks', () => {
  it('come to their child with their subports, and follow', async () => {
    const [parent = '', one = '', other = ''] = await portsIn('east', 3);
    const made = await newTrunk(parent, { name: 'wire', sub_ports: [vlan(one, '5')] });
    expect(made.status).toBe(201);
    const { trunk } = made.body;
    expect(trunk).toMatchObject({ name: 'wire', port_id: parent, admin_state_up: true, sub_ports: [vlan(one, 5)] });
    expect(trunk).not.toHaveProperty('child');
    await eventually(() => expect(tagsOf(trunk.id)).toEqual([5]));
    await eventually(async () =>
      expect((await call('alice', 'GET', `/trunks/${trunk.id}`)).body.trunk.status).toBe('ACTIVE'),
    );

    const shown = (await call('alice', 'GET', `/ports/${parent}`)).body.port;
    expect(shown.trunk_details).toMatchObject({ trunk_id: trunk.id, sub_ports: [{ ...vlan(one, 5) }] });
    expect(shown.trunk_details.sub_ports[0].mac_address).toMatch(/^fa:16:3e:/);
    const subport = (await call('alice', 'GET', `/ports/${one}`)).body.port;
    expect(subport.device_owner).toBe('trunk:subport');
    expect(subport).not.toHaveProperty('trunk_details');

    const added = await change(trunk.id, 'add', [vlan(other, 7)]);
    expect(added.body).toMatchObject({ id: trunk.id, sub_ports: [vlan(one, 5), vlan(other, 7)] });
    await eventually(() => expect(tagsOf(trunk.id)).toEqual([5, 7]));
    expect((await call('alice', 'GET', `/trunks/${trunk.id}/get_subports`)).body.sub_ports).toHaveLength(2);
    expect((await change(trunk.id, 'remove', [{ port_id: one }])).status).toBe(200);
    await eventually(() => expect(tagsOf(trunk.id)).toEqual([7]));
    expect((await call('alice', 'GET', `/ports/${one}`)).body.port.device_owner).toBe('');

    await call('alice', 'PUT', `/trunks/${trunk.id}`, { trunk: { admin_state_up: false } });
    await eventually(() => expect(copyOf(trunk.id)?.admin_state_up).toBe(false));
    expect(fault(await change(trunk.id, 'add', [vlan(one, 8)]))).toEqual([409, 'TrunkDisabled']);
    expect(fault(await call('alice', 'DELETE', `/trunks/${trunk.id}`))).toEqual([409, 'TrunkDisabled']);
    await call('alice', 'PUT', `/trunks/${trunk.id}`, { trunk: { admin_state_up: true } });

    // Its parent is free for the next trunk at once here, and as soon as the copy is gone there.
    expect((await call('alice', 'DELETE', `/trunks/${trunk.id}`)).status).toBe(204);
    const next = (await newTrunk(parent, { sub_ports: [vlan(other, 9)] })).body.trunk;
    await eventually(() => expect(tagsOf(next.id)).toEqual([9]));
    expect(copyOf(trunk.id)).toBeUndefined();
  });

  it('refuse what Neutron refuses', async () => {
    const [parent = '', one = '', other = ''] = await portsIn('east', 3);
    const { id } = (await newTrunk(parent, { sub_ports: [vlan(one, 5)] })).body.trunk;
    const refused = async (sub_ports: unknown) => fault(await change(id, 'add', sub_ports));
    expect(await refused([vlan(other, 5)])).toEqual([409, 'DuplicateSubPort']);
    expect(await refused([vlan(other, 5000)])).toEqual([400, 'InvalidInput']);
    expect(await refused([vlan(other, 'x')])).toEqual([400, 'InvalidInput']);
    expect(await refused([{ ...vlan(other, 6), segmentation_type: 'vxlan' }])).toEqual([400, 'InvalidInput']);
    expect(await refused([{ port_id: other }])).toEqual([400, 'InvalidInput']);
    expect(await refused([{ port_id: other, segmentation_type: 'inherit' }])).toEqual([400, 'InvalidInput']);
    expect(await refused([{ port_id: 'x' }])).toEqual([400, 'InvalidInput']);
    expect(await refused('x')).toEqual([400, 'InvalidInput']);
    expect(await refused([vlan(parent, 6)])).toEqual([409, 'ParentPortInUse']);
    expect(await refused([vlan(one, 6)])).toEqual([409, 'TrunkPortInUse']);
    expect(await refused([vlan(randomUUID(), 6)])).toEqual([404, 'PortNotFound']);
    expect(fault(await change(id, 'remove', [{ port_id: other }]))).toEqual([404, 'SubPortNotFound']);
    expect((await change(id, 'add', [vlan(other, 6)], 'bob')).status).toBe(404);
    expect((await change(id, 'add', [vlan(other, 6)], 'rita')).status).toBe(403);
    expect(fault(await newTrunk(parent))).toEqual([409, 'ParentPortInUse']);
    expect(fault(await newTrunk(one))).toEqual([409, 'TrunkPortInUse']);
    expect(fault(await newTrunk(other, {}, 'bob'))).toEqual([404, 'PortNotFound']);
    expect(fault(await call('alice', 'DELETE', `/ports/${parent}`))).toEqual([409, 'PortInUseAsTrunkParent']);
    expect(fault(await call('alice', 'DELETE', `/ports/${one}`))).toEqual([409, 'PortInUseAsSubPort']);
    await make('alice', 'port', {
      network_id: (await call('alice', 'GET', `/ports/${other}`)).body.port.network_id,
      device_id: 'taken',
    }).then(async (used) => expect(await refused([vlan(used.id, 6)])).toEqual([409, 'PortInUse']));
    expect((await call('alice', 'GET', '/trunks?status=ACTIVE')).status).toBe(400);
    expect((await call('alice', 'GET', `/trunks?port_id=${parent}&fields=id`)).body.trunks).toEqual([{ id }]);
  });

  it('have all their ports in one zone', async () => {
    const [near = ''] = await portsIn('east', 1);
    const [far = ''] = await portsIn('west', 1);
    const [free = ''] = await portsIn(undefined, 1);
    expect(fault(await newTrunk(near, { sub_ports: [vlan(far, 5)] }))).toEqual([
      409,
      'TrunkPortInOtherAvailabilityZone',
    ]);
    const { id } = (await newTrunk(near, { sub_ports: [vlan(free, 5)] })).body.trunk;
    expect(fault(await change(id, 'add', [vlan(far, 6)]))).toEqual([409, 'TrunkPortInOtherAvailabilityZone']);
    await eventually(() => expect(tagsOf(id)).toEqual([5]));
    const { network_id } = (await call('alice', 'GET', `/ports/${free}`)).body.port;
    expect((await call('alice', 'GET', `/networks/${network_id}`)).body.network.availability_zones).toEqual(['east']);
  });

  it('are refused where the child has none', async () => {
    const [parent = '', sub = ''] = await portsIn('west', 2);
    await eventually(async () => {
      const known = await sql`select 1 from child_abilities where child = 'west'`.execute(db.query);
      expect(known.rows).toHaveLength(1);
    });
    await sql`update child_abilities set facts = jsonb_set(facts, '{extensions}', '[]') where child = 'west'`.execute(
      db.query,
    );
    const refused = await newTrunk(parent, { sub_ports: [vlan(sub, 5)] });
    expect([...fault(refused), refused.body.NeutronError.message]).toEqual([
      409,
      'TrunkNotSupported',
      'the availability zone west cannot take part in trunks: the cloud below does not have the network extension trunk.',
    ]);
  });

  it('take a port once, whoever asks twice at once', async () => {
    const [parent = '', sub = ''] = await portsIn('east', 2);
    const [second = ''] = await portsIn('east', 1);
    const both = await Promise.all([parent, second].map((port) => newTrunk(port, { sub_ports: [vlan(sub, 5)] })));
    expect(both.map(({ status }) => status).sort()).toEqual([201, 409]);
  });
});
