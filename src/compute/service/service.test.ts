import { sql } from 'kysely';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { capacityFeed } from '../hypervisor/capacity.ts';
import { computeTest } from '../testing.ts';

const test = await computeTest({ east: { 'east-1': 'nova', 'east-2': 'nova' }, west: { 'west-1': 'nova' } });
const { call, cascade, db } = test;
afterAll(() => test.close());
afterEach(async () => {
  await sql`delete from proxies`.execute(db.query);
  await sql`update children set up = true`.execute(db.query);
});

const addServer = (id: string, child: string, zone: string) =>
  sql`insert into servers (id, project_id, name, child, zone) values (${id}, 'p1', ${id}, ${child}, ${zone})`.execute(
    db.query,
  );
type Named = Record<string, unknown>;

describe('compute services', () => {
  it('are the children and the parent itself, for admins', async () => {
    expect((await call('alice', 'GET', '/os-services')).status).toBe(403);
    const { body } = await call('admin', 'GET', '/os-services');
    expect(body.services.map(({ binary, host, zone, state }: Named) => [binary, host, zone, state])).toEqual([
      ['nova-scheduler', 'headwater', 'internal', 'up'],
      ['nova-conductor', 'headwater', 'internal', 'up'],
      ['nova-compute', 'east', 'east-1', 'up'],
      ['nova-compute', 'west', 'west-1', 'up'],
    ]);
    const old = (await call('admin', 'GET', '/os-services?host=east', undefined, 10)).body.services[0];
    expect(old.id).toEqual(expect.any(Number));
    expect(old).not.toHaveProperty('forced_down');
    await sql`update children set up = false where name = 'west'`.execute(db.query);
    const west = (await call('admin', 'GET', '/os-services?host=west')).body.services[0];
    expect(west).toMatchObject({ state: 'down', status: 'enabled', forced_down: false });
  });

  it('are disabled and forced down, by action before 2.53', async () => {
    const put = (action: string, body: object, minor = 52) =>
      call('admin', 'PUT', `/os-services/${action}`, body, minor);
    const east = { host: 'east', binary: 'nova-compute' };
    expect((await put('disable-log-reason', { ...east, disabled_reason: 'mending' })).body).toEqual({
      service: { ...east, status: 'disabled', disabled_reason: 'mending' },
    });
    expect((await cascade.schedule(db.query, { binary: 'nova-compute', zone: 'east-1' }))?.child).toBeUndefined();
    expect((await put('enable', east)).body.service.status).toBe('enabled');
    expect((await cascade.schedule(db.query, { binary: 'nova-compute', zone: 'east-1' }))?.child).toBe('east');
    expect((await put('force-down', { ...east, forced_down: true })).body.service.forced_down).toBe(true);
    expect((await put('force-down', { ...east, forced_down: true }, 10)).status).toBe(400);
    expect((await put('disable', { ...east, binary: 'nova-scheduler' })).status).toBe(400);
    expect((await put('disable', { ...east, host: 'north' })).status).toBe(404);
    expect((await put('explode', east)).status).toBe(404);
  });

  it('are updated by their id from 2.53', async () => {
    const services = (await call('admin', 'GET', '/os-services')).body.services;
    const id = (host: string) => services.find((one: Named) => one.host === host).id as string;
    const put = (to: string, body: object) => call('admin', 'PUT', `/os-services/${to}`, body);
    const disabled = await put(id('west'), { status: 'disabled', disabled_reason: 'old' });
    expect(disabled.body.service).toMatchObject({ status: 'disabled', disabled_reason: 'old', host: 'west' });
    expect((await put(id('west'), { status: 'enabled', disabled_reason: 'x' })).status).toBe(400);
    expect((await put(id('west'), {})).body.badRequest.message).toContain('No updates were requested');
    expect((await put('nonsense', { status: 'enabled' })).body.badRequest.message).toBe('Invalid uuid nonsense');
    expect((await put(id('headwater'), { status: 'disabled' })).status).toBe(400);
    expect((await call('admin', 'DELETE', `/os-services/${id('west')}`)).status).toBe(409);
    expect((await call('alice', 'PUT', `/os-services/${id('west')}`, { status: 'enabled' })).status).toBe(403);
  });
});

describe('hypervisors', () => {
  it('are the children, with the sizes that their own statistics show', async () => {
    await capacityFeed(cascade).round(cascade.context('east'), undefined);
    const { body } = await call('admin', 'GET', '/os-hypervisors/detail', undefined, 87);
    const [east, west] = body.hypervisors;
    expect(east).toMatchObject({ hypervisor_hostname: 'east', state: 'up', vcpus: 1000, vcpus_used: 0, cpu_info: {} });
    expect(east.free_ram_mb).toBe(east.memory_mb);
    expect(west).toMatchObject({ hypervisor_hostname: 'west', vcpus: 0 });
    const { hypervisor_statistics } = (await call('admin', 'GET', '/os-hypervisors/statistics', undefined, 87)).body;
    expect(hypervisor_statistics).toMatchObject({ count: 2, vcpus: 1000 });
    expect((await call('admin', 'GET', '/os-hypervisors/statistics')).status).toBe(404);
    const shown = (await call('admin', 'GET', `/os-hypervisors/${east.id}`)).body.hypervisor;
    expect(shown).toMatchObject({ uptime: expect.stringContaining(' up '), service: { host: 'east' } });
    expect(shown).not.toHaveProperty('vcpus');
    expect((await call('admin', 'GET', `/os-hypervisors/${west.id}`)).body.hypervisor).toMatchObject({ uptime: null });
    expect((await call('alice', 'GET', '/os-hypervisors')).status).toBe(403);
  });

  it('tell how long they have been up as a host of the child does', async () => {
    await capacityFeed(cascade).round(cascade.context('east'), undefined);
    const { body } = await call('admin', 'GET', '/os-hypervisors');
    const [east, west] = body.hypervisors as { id: string }[];
    const uptimeOf = (id = '') => call('admin', 'GET', `/os-hypervisors/${id}/uptime`, undefined, 87);
    const answer = await uptimeOf(east?.id);
    expect(answer.body.hypervisor).toEqual({
      id: east?.id,
      hypervisor_hostname: 'east',
      state: 'up',
      status: 'enabled',
      uptime: expect.stringContaining(' up '),
    });
    expect((await uptimeOf(west?.id)).status).toBe(501);
    expect((await call('admin', 'GET', `/os-hypervisors/${east?.id}/uptime`)).status).toBe(404);
    await sql`update children set up = false where name = 'east'`.execute(db.query);
    expect((await uptimeOf(east?.id)).status).toBe(400);
    expect((await call('admin', 'GET', `/os-hypervisors/${east?.id}`)).body.hypervisor.uptime).toBeNull();
    await sql`update children set up = true where name = 'east'`.execute(db.query);
  });

  it('are searched, paged and listed with servers', async () => {
    await addServer('s1', 'east', 'east-1');
    const search = await call('admin', 'GET', '/os-hypervisors?hypervisor_hostname_pattern=eas&with_servers=true');
    expect(search.body.hypervisors).toEqual([
      expect.objectContaining({ hypervisor_hostname: 'east', servers: [{ uuid: 's1', name: 's1' }] }),
    ]);
    expect((await call('admin', 'GET', '/os-hypervisors/est/search', undefined, 52)).body.hypervisors).toHaveLength(1);
    expect((await call('admin', 'GET', '/os-hypervisors/xx/servers', undefined, 52)).status).toBe(404);
    const page = (await call('admin', 'GET', '/os-hypervisors?limit=1')).body;
    const next = new URL(page.hypervisors_links[0].href);
    expect((await call('admin', 'GET', `/os-hypervisors${next.search}`)).body.hypervisors[0]).toMatchObject({
      hypervisor_hostname: 'west',
    });
    expect((await call('admin', 'GET', '/os-hypervisors/1/uptime', undefined, 50)).status).toBe(404);
    await sql`delete from servers`.execute(db.query);
  });
});

describe('availability zones', () => {
  it('are those that children serve, and available while one of them is up and enabled', async () => {
    await sql`update children set up = false where name = 'west'`.execute(db.query);
    const { body } = await call('rita', 'GET', '/os-availability-zone');
    expect(body.availabilityZoneInfo).toEqual([
      { zoneName: 'east-1', zoneState: { available: true }, hosts: null },
      { zoneName: 'east-2', zoneState: { available: true }, hosts: null },
      { zoneName: 'west-1', zoneState: { available: false }, hosts: null },
    ]);
    expect((await call('rita', 'GET', '/os-availability-zone/detail')).status).toBe(403);
    const detail = (await call('admin', 'GET', '/os-availability-zone/detail')).body.availabilityZoneInfo;
    expect(detail[0]).toMatchObject({
      zoneName: 'internal',
      hosts: { headwater: { 'nova-conductor': { active: true } } },
    });
    expect(detail[1].hosts).toEqual({
      east: { 'nova-compute': { available: true, active: true, updated_at: expect.stringMatching(/\.\d{6}$/) } },
    });
    expect(detail[3].hosts).toBeNull();
  });
});

describe('host aggregates', () => {
  const make = (aggregate: object) => call('admin', 'POST', '/os-aggregates', { aggregate });
  const act = (id: number, action: string, body: object) =>
    call('admin', 'POST', `/os-aggregates/${id}/action`, { [action]: body });
  const zonesOf = async (child: string) =>
    (await cascade.zones(db.query)).filter(({ children }) => children.includes(child)).map(({ name }) => name);

  it('move children between zones, one at a time', async () => {
    expect((await call('alice', 'POST', '/os-aggregates', { aggregate: { name: 'x' } })).status).toBe(403);
    const made = await make({ name: 'fast', availability_zone: 'fast-1' });
    expect(made.status).toBe(200);
    expect(made.body.aggregate).toMatchObject({ name: 'fast', availability_zone: 'fast-1', deleted: false });
    expect(made.body.aggregate).not.toHaveProperty('hosts');
    const { id } = made.body.aggregate;
    expect((await make({ name: 'fast' })).body.conflictingRequest.message).toBe('Aggregate fast already exists.');
    expect((await act(id, 'add_host', { host: 'north' })).status).toBe(404);
    expect((await act(id, 'add_host', { host: 'west' })).body.aggregate.hosts).toEqual(['west']);
    expect(await zonesOf('west')).toEqual(['fast-1']);
    expect((await act(id, 'add_host', { host: 'west' })).body.conflictingRequest.message).toBe(
      `Aggregate ${id} already has host west.`,
    );
    const slow = (await make({ name: 'slow', availability_zone: 'slow-1' })).body.aggregate.id;
    const clash = await act(slow, 'add_host', { host: 'west' });
    expect([clash.status, clash.body.conflictingRequest.message]).toEqual([
      409,
      `Cannot add host to aggregate ${slow}. Reason: One or more hosts already in availability zone(s) ['fast-1'].`,
    ]);
    expect((await call('admin', 'DELETE', `/os-aggregates/${id}`)).status).toBe(400);
    const renamed = await call('admin', 'PUT', `/os-aggregates/${id}`, { aggregate: { availability_zone: 'fast-2' } });
    expect(renamed.body.aggregate.availability_zone).toBe('fast-2');
    expect(await zonesOf('west')).toEqual(['fast-2']);
    expect((await act(id, 'remove_host', { host: 'west' })).body.aggregate.hosts).toEqual([]);
    expect(await zonesOf('west')).toEqual(['west-1']);
    expect((await act(id, 'remove_host', { host: 'west' })).status).toBe(404);
    expect((await call('admin', 'DELETE', `/os-aggregates/${id}`)).status).toBe(200);
    expect((await call('admin', 'GET', `/os-aggregates/${id}`)).body.itemNotFound.message).toBe(
      `Aggregate ${id} could not be found.`,
    );
    expect((await call('admin', 'GET', '/os-aggregates/x')).status).toBe(400);
  });

  it('keep a child with servers where its servers were promised to be', async () => {
    await addServer('s2', 'west', 'west-1');
    const { id } = (await make({ name: 'moving', availability_zone: 'new-1' })).body.aggregate;
    const refused = await act(id, 'add_host', { host: 'west' });
    expect([refused.status, refused.body.conflictingRequest.message]).toEqual([
      409,
      `Cannot add host to aggregate ${id}. Reason: One or more hosts contain instances in this zone.`,
    ]);
    expect(await zonesOf('west')).toEqual(['west-1']);
    const same = (await make({ name: 'same', availability_zone: 'west-1' })).body.aggregate.id;
    expect((await act(same, 'add_host', { host: 'west' })).status).toBe(200);
    const update = await call('admin', 'PUT', `/os-aggregates/${same}`, { aggregate: { availability_zone: 'z' } });
    expect(update.status).toBe(400);
    expect(
      (await act(same, 'set_metadata', { metadata: { ssd: 'true', gone: null } })).body.aggregate.metadata,
    ).toEqual({
      availability_zone: 'west-1',
      ssd: 'true',
    });
    expect((await act(same, 'set_metadata', { metadata: { availability_zone: null } })).status).toBe(400);
    expect((await act(same, 'remove_host', { host: 'west' })).status).toBe(200);
    await sql`delete from servers`.execute(db.query);
  });

  it('take along into the zones of a child again only servers that asked for none', async () => {
    const { id } = (await make({ name: 'passing', availability_zone: 'new-2' })).body.aggregate;
    expect((await act(id, 'add_host', { host: 'west' })).status).toBe(200);
    await addServer('s3', 'west', 'new-2');
    await addServer('s4', 'west', 'new-2');
    await sql`update servers set body = '{"pinned_zone": "new-2"}' where id = 's4'`.execute(db.query);
    expect((await act(id, 'remove_host', { host: 'west' })).status).toBe(409);
    const zones = async () =>
      (await sql<{ zone: string }>`select zone from servers order by id`.execute(db.query)).rows.map(
        ({ zone }) => zone,
      );
    expect([await zones(), await zonesOf('west')]).toEqual([['new-2', 'new-2'], ['new-2']]);
    await sql`delete from servers where id = 's4'`.execute(db.query);
    expect((await act(id, 'remove_host', { host: 'west' })).status).toBe(200);
    expect([await zones(), await zonesOf('west')]).toEqual([['west-1'], ['west-1']]);
    await sql`delete from servers`.execute(db.query);
  });
});
