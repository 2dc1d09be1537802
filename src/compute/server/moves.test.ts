/** What is asked of servers beyond their life: moves within the child, backups, events, and what only the child knows. */
import { afterAll, describe, expect, test } from 'vitest';
import { serverTest, until } from './testing.ts';

const parent = await serverTest();
afterAll(() => parent.close());

const { call, boot, reached, east } = parent;
const act = (who: string, id: string, body: object, minor = 93) =>
  call(who, 'POST', `/servers/${id}/action`, body, minor);
const childOf = async (id: string): Promise<string> => {
  const found = [...east.state.servers.values()].find(({ tags }) => tags.includes(`headwater:${id}`));
  return found?.id ?? '';
};
const migrations = async (query = '', minor = 93) =>
  (await call('admin', 'GET', `/os-migrations${query}`, undefined, minor)).body.migrations;

describe('moves', () => {
  test('a server is migrated, confirmed, and listed as a migration all the way', async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    expect((await act('alice', id, { migrate: null })).status).toBe(403);
    expect((await act('admin', id, { migrate: { host: 'east' } })).body.badRequest.message).toBe(
      'Cannot migrate to the host (east) where the server exists.',
    );
    expect((await act('admin', id, { migrate: { host: 'west' } })).body.badRequest.message).toMatch(/another cloud/);
    expect((await act('admin', id, { migrate: { host: 'nowhere' } })).body.badRequest.message).toBe(
      'Compute host nowhere could not be found.',
    );
    expect((await act('admin', id, { migrate: null })).status).toBe(202);
    const [begun] = await migrations(`?instance_uuid=${id}`);
    expect(begun).toMatchObject({ migration_type: 'migration', source_compute: 'east', dest_compute: 'east' });
    await reached(id, 'VERIFY_RESIZE');
    expect((await migrations(`?instance_uuid=${id}`))[0].status).toBe('finished');
    expect((await act('alice', id, { confirmResize: null })).status).toBe(204);
    await reached(id, 'ACTIVE');
    expect((await migrations(`?instance_uuid=${id}&status=confirmed`))[0]).toMatchObject({
      uuid: begun.uuid,
      project_id: 'p0',
    });
  });

  test('a live migration is shown while it is under way, and aborted', async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    Object.assign(east.timing, { action_ms: 60_000 });
    const body = { 'os-migrateLive': { host: null, block_migration: 'auto' } };
    expect((await act('admin', id, { 'os-migrateLive': { host: 'x', block_migration: 'auto' } })).status).toBe(400);
    expect((await act('admin', id, { 'os-migrateLive': { block_migration: false } }, 1)).status).toBe(400);
    expect((await act('admin', id, body)).status).toBe(202);
    expect((await act('admin', id, body)).body.conflictingRequest.message).toBe(
      `Cannot 'os-migrateLive' instance ${id} while it is in task_state migrating`,
    );
    const list = () => call('admin', 'GET', `/servers/${id}/migrations`);
    const [live] = await until(async () => {
      const rows = (await list()).body.migrations;
      return rows[0]?.status === 'running' && rows;
    });
    expect(live).toMatchObject({ server_uuid: id, memory_total_bytes: null });
    expect((await call('admin', 'GET', `/servers/${id}/migrations/${live.id}`)).body.migration.uuid).toBe(live.uuid);
    expect((await call('alice', 'GET', `/servers/${id}/migrations`)).status).toBe(403);
    expect((await call('admin', 'DELETE', `/servers/${id}/migrations/999999`)).status).toBe(404);
    expect((await call('admin', 'DELETE', `/servers/${id}/migrations/${live.id}`)).status).toBe(202);
    await reached(id, 'ACTIVE');
    Object.assign(east.timing, { action_ms: 20 });
    expect((await list()).body.migrations).toEqual([]);
    const gone = await call('admin', 'DELETE', `/servers/${id}/migrations/${live.id}`);
    expect(gone.body.conflictingRequest.message).toBe(
      `Cannot 'abort live migration' instance ${id} while it is in task_state None`,
    );
  });

  test("an evacuation that the child refuses shows in the server's record and changes nothing", async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    expect((await act('admin', id, { evacuate: { host: 'nowhere' } })).body.itemNotFound.message).toBe(
      'Compute host nowhere not found.',
    );
    const asked = await act('admin', id, { evacuate: { onSharedStorage: false } }, 13);
    expect(asked.status).toBe(200);
    expect(asked.body.adminPass).toMatch(/^\w{12}$/);
    await reached(id, 'ACTIVE');
    const actions = (await call('admin', 'GET', `/servers/${id}/os-instance-actions`)).body.instanceActions;
    expect(actions[0]).toMatchObject({ action: 'evacuate', message: 'Error' });
    expect((await migrations(`?instance_uuid=${id}`))[0]).toMatchObject({
      migration_type: 'evacuation',
      status: 'error',
    });
    const host = [...east.state.servers.values()].find((one) => one.tags.includes(`headwater:${id}`))?.host as string;
    east.state.computeServices.set(host, { forced_down: true });
    expect((await act('admin', id, { evacuate: {} })).body).toBeUndefined();
    await until(async () => (await migrations(`?instance_uuid=${id}&status=done`)).length === 1);
    east.state.computeServices.delete(host);
  });

  test('pages of migrations follow one another, and old ones know no type', async () => {
    const first = await call('admin', 'GET', '/os-migrations?limit=1');
    expect(first.body.migrations).toHaveLength(1);
    const next = first.body.migrations_links[0].href.replace('http://parent/compute/v2.1', '');
    const second = (await call('admin', 'GET', next)).body.migrations;
    expect(second[0].id).toBeLessThan(first.body.migrations[0].id);
    expect((await call('admin', 'GET', '/os-migrations?marker=none')).status).toBe(400);
    expect((await call('admin', 'GET', '/os-migrations?unknown=1')).status).toBe(400);
    expect((await migrations('?unknown=1', 22))[0]).not.toHaveProperty('migration_type');
    expect((await call('admin', 'GET', '/os-migrations?changes-since=2999-01-01T00:00:00Z')).body.migrations).toEqual(
      [],
    );
    const wrong = '/os-migrations?changes-since=2999-01-01T00:00:00Z&changes-before=2000-01-01T00:00:00Z';
    expect((await call('admin', 'GET', wrong)).status).toBe(400);
    expect((await call('alice', 'GET', '/os-migrations')).status).toBe(403);
  });
});

describe('unshelving', () => {
  test('in a zone or on a host needs one that there is, and a server that is on no host', async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    const images = async () =>
      (await parent.ask('alice', 'GET', '/image/v2/images?name=one-shelved')).body.images as {
        id: string;
        status: string;
      }[];
    await act('alice', id, { shelve: null });
    await reached(id, 'SHELVED_OFFLOADED');
    const [image] = await until(async () => {
      const found = await images();
      return found[0]?.status === 'active' && found;
    });
    const unshelve = (body: object | null, minor = 93, who = 'alice') => act(who, id, { unshelve: body }, minor);
    expect((await unshelve({})).status).toBe(202);
    await reached(id, 'ACTIVE');
    await until(async () => (await images()).length === 0);
    expect((await parent.ask('alice', 'GET', `/image/v2/images/${image?.id}`)).status).toBe(404);
    const lost = east.faults.inject({
      match: { method: 'POST', service: 'compute', path: /action$/ },
      times: 1,
      drop: 'after',
    });
    await act('alice', id, { shelve: null });
    await reached(id, 'SHELVED_OFFLOADED');
    expect(lost.hits()).toBe(1);
    await until(async () => (await images())[0]?.status === 'active');
    expect((await unshelve({})).status).toBe(202);
    await reached(id, 'ACTIVE');
    await act('alice', id, { shelve: null });
    await reached(id, 'SHELVED_OFFLOADED');
    expect((await unshelve({}, 77)).status).toBe(400);
    expect((await unshelve({ availability_zone: 'nowhere' })).body.badRequest.message).toBe(
      'The requested availability zone is not available',
    );
    expect((await unshelve({ host: 'east' })).status).toBe(403);
    expect((await unshelve({ host: 'nowhere' }, 93, 'admin')).status).toBe(400);
    expect((await unshelve({ availability_zone: 'east', host: 'east' }, 93, 'admin')).status).toBe(202);
    await reached(id, 'ACTIVE');
    await act('alice', id, { shelve: null });
    await reached(id, 'SHELVED_OFFLOADED');
    await call('alice', 'DELETE', `/servers/${id}`);
    await until(async () => (await parent.show(id)) === undefined);
    expect(await images()).toEqual([]);
  });
});

describe('backups', () => {
  test('are images of their type, of which the oldest go', async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    const backup = (name: string, rotation: number, minor = 93) =>
      act('alice', id, { createBackup: { name, backup_type: 'daily', rotation } }, minor);
    const images = async (): Promise<string[]> => {
      const listed = await parent.ask(
        'alice',
        'GET',
        '/image/v2/images?backup_type=daily&sort_key=created_at&sort_dir=asc',
      );
      return listed.body.images.map(({ name }: { name: string }) => name);
    };
    expect((await backup('x', -1)).status).toBe(400);
    for (const name of ['one', 'two', 'three']) {
      const made = await backup(name, 2);
      expect(made.status).toBe(202);
      expect(made.body.image_id).toMatch(/^[0-9a-f-]{36}$/);
      await until(
        async () =>
          (await parent.ask('alice', 'GET', `/image/v2/images/${made.body.image_id}`)).body.status === 'active',
      );
      await reached(id, 'ACTIVE');
    }
    await until(async () => (await images()).join() === 'two,three');
    // Somebody else's image that calls itself a backup of this server is not touched.
    const forged = {
      name: 'forged',
      image_type: 'backup',
      backup_type: 'daily',
      instance_uuid: id,
      disk_format: 'raw',
      container_format: 'bare',
    };
    const other = (await parent.ask('bob', 'POST', '/image/v2/images', forged)).body.id;
    const last = await backup('none', 0, 1);
    expect(last.status).toBe(202);
    expect(last.headers.location).toBeUndefined();
    await until(async () => (await images()).length === 0);
    expect((await parent.ask('bob', 'GET', `/image/v2/images/${other}`)).status).toBe(200);
    const kept = [...east.state.images.values()].filter(({ fields }) => fields.image_type === 'backup');
    await until(async () => kept.every(({ id: one }) => !east.state.images.has(one)));
  });
});

describe('what only the child knows', () => {
  test('diagnostics, topology and password', async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    const get = (who: string, path: string, minor?: number) =>
      call(who, 'GET', `/servers/${id}${path}`, undefined, minor);
    expect((await get('admin', '/diagnostics')).body.driver).toBe('libvirt');
    expect((await get('alice', '/diagnostics')).status).toBe(403);
    const host = (await get('admin', '/topology')).body.nodes[0];
    expect(host).toMatchObject({ host_node: 0, cpu_pinning: {} });
    expect(Object.keys((await get('alice', '/topology')).body.nodes[0])).toEqual(['vcpu_set', 'siblings', 'memory_mb']);
    expect((await get('alice', '/topology', 77)).status).toBe(404);
    expect((await get('bob', '/topology')).status).toBe(404);
    east.state.passwords.set(await childOf(id), 'encrypted');
    expect((await get('alice', '/os-server-password')).body).toEqual({ password: 'encrypted' });
    expect((await call('bob', 'DELETE', `/servers/${id}/os-server-password`)).status).toBe(404);
    expect((await call('alice', 'DELETE', `/servers/${id}/os-server-password`)).status).toBe(204);
    expect((await get('alice', '/os-server-password')).body).toEqual({ password: '' });
    await act('alice', id, { 'os-stop': null });
    await reached(id, 'SHUTOFF');
    expect((await get('admin', '/diagnostics')).status).toBe(409);
  });

  test("the steps that the child took stand under the parent's own record", async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    const [created] = (await call('alice', 'GET', `/servers/${id}/os-instance-actions`)).body.instanceActions;
    const shown = await until(async () => {
      const { body } = await call('alice', 'GET', `/servers/${id}/os-instance-actions/${created.request_id}`);
      return body.instanceAction.events[0].event === 'compute_create_instance' && body.instanceAction;
    });
    expect(shown).toMatchObject({ action: 'create', instance_uuid: id, request_id: created.request_id });
    expect(JSON.stringify(shown)).not.toContain(await childOf(id));
    await east.stop();
    const alone = await call('alice', 'GET', `/servers/${id}/os-instance-actions/${created.request_id}`);
    expect(alone.body.instanceAction.events[0]).toMatchObject({
      event: 'compute__do_build_and_run_instance',
      result: 'Success',
    });
    await east.start();
  });

  test('events are carried on to the child, crash dumps and network information too', async () => {
    const id = await boot('east');
    await reached(id, 'ACTIVE');
    const tell = (events: object[], minor?: number) =>
      call('admin', 'POST', '/os-server-external-events', { events }, minor);
    expect((await call('alice', 'POST', '/os-server-external-events', { events: [] })).status).toBe(400);
    const event = { server_uuid: id, name: 'power-update', tag: 'POWER_OFF' };
    expect((await call('alice', 'POST', '/os-server-external-events', { events: [event] })).status).toBe(403);
    expect((await tell([event], 75)).status).toBe(400);
    const mixed = await tell([event, { ...event, tag: undefined }, { ...event, server_uuid: parent.image }]);
    expect(mixed.status).toBe(207);
    expect(mixed.body.events.map(({ code }: { code: number }) => code)).toEqual([200, 400, 404]);
    const child = await childOf(id);
    const [told] = await until(async () => east.state.events.get(child));
    expect(told).toMatchObject({ server_uuid: child, name: 'power-update', tag: 'POWER_OFF', status: 'completed' });
    expect((await act('alice', id, { trigger_crash_dump: null })).status).toBe(202);
    expect((await act('alice', id, { trigger_crash_dump: null }, 16)).status).toBe(400);
    expect((await act('alice', id, { injectNetworkInfo: null })).status).toBe(403);
    expect((await act('admin', id, { injectNetworkInfo: null })).status).toBe(202);
    expect((await act('admin', id, { resetNetwork: null })).status).toBe(410);
    const names = (await call('alice', 'GET', `/servers/${id}/os-instance-actions`)).body.instanceActions.map(
      ({ action }: { action: string }) => action,
    );
    expect(names).toEqual(['inject_network_info', 'trigger_crash_dump', 'create']);
  });
});

test('a server that the child deletes only softly is gone for good here, and one deleted there behind our back is restored', async () => {
  const id = await boot('east');
  await reached(id, 'ACTIVE');
  const child = await childOf(id);
  const there = east.state.servers.get(child);
  if (there === undefined) throw new Error('no such server');
  expect((await act('alice', id, { restore: null })).body.conflictingRequest.message).toBe(
    `Cannot 'restore' instance ${id} while it is in vm_state active`,
  );
  Object.assign(there, { vmState: 'soft-delete', updatedAt_ms: Date.now() + 2000 });
  await reached(id, 'SOFT_DELETED');
  expect((await act('alice', id, { restore: null })).status).toBe(202);
  await reached(id, 'ACTIVE');
  Object.assign(east.timing, { action_ms: 60_000 });
  expect((await call('alice', 'DELETE', `/servers/${id}`)).status).toBe(204);
  await until(async () => there.taskState === 'deleting');
  Object.assign(east.timing, { action_ms: 20 });
  Object.assign(there, { vmState: 'soft-delete', taskState: null });
  await until(async () => (await parent.show(id)) === undefined);
  expect(there.isDeleted).toBe(true);
});

test('rebuild, update and resize answer as Nova does before and after 2.75', async () => {
  const id = await boot('east', { networks: [{ uuid: parent.network }], accessIPv6: '0:0:0:0:0:babe:220.12.22.2' });
  const shown = await reached(id, 'ACTIVE');
  expect(shown.accessIPv6).toBe('::babe:dc0c:1602');
  const update = async (minor: number) =>
    (await call('alice', 'PUT', `/servers/${id}`, { server: { name: 'two', accessIPv6: '0:0::1' } }, minor)).body
      .server;
  const [before, after] = [await update(74), await update(75)];
  expect(before.accessIPv6).toBe('::1');
  expect(Object.keys(before.addresses.private[0])).toEqual(['version', 'addr']);
  expect(after.addresses).toEqual(shown.addresses);
  expect(before).not.toHaveProperty('OS-EXT-STS:vm_state');
  const personality = Array.from({ length: 6 }, (_, at) => ({ path: `/f${at}`, contents: 'aGVsbG8=' }));
  const over = await act('admin', id, { rebuild: { imageRef: parent.image, personality } }, 56);
  expect([over.status, over.body.forbidden?.message]).toEqual([403, 'Personality file limit exceeded']);
  const rebuilt = await act('admin', id, { rebuild: { imageRef: parent.image } }, 75);
  expect(rebuilt.body.server).toMatchObject({ user_data: null, 'OS-EXT-SRV-ATTR:host': 'east' });
  expect(rebuilt.body.server).not.toHaveProperty('OS-EXT-SRV-ATTR:user_data');
  await reached(id, 'ACTIVE');
  const resize = { flavorRef: parent.bigger, 'OS-DCF:diskConfig': 'AUTO' };
  expect((await act('alice', id, { resize })).status).toBe(202);
  await reached(id, 'VERIFY_RESIZE');
  await act('alice', id, { revertResize: null });
  expect((await reached(id, 'ACTIVE'))['OS-DCF:diskConfig']).toBe('AUTO');
});
