import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ServerTest, serverTest, until } from './testing.ts';

let test: ServerTest;
beforeAll(async () => {
  test = await serverTest();
});
afterAll(async () => {
  await test.close();
});

const childServers = (test_: ServerTest, cloud: 'east' | 'west', id: string) =>
  [...test_[cloud].state.servers.values()].filter((one) => one.tags.includes(`headwater:${id}`));
const living = (cloud: 'east' | 'west', id: string) =>
  childServers(test, cloud, id).filter(({ isDeleted }) => !isDeleted);

describe('the life of a server', () => {
  it('is accepted, comes to be in its child with a port of the parent, and goes again', async () => {
    const id = await test.boot('east', {
      networks: [{ uuid: test.network }],
      metadata: { role: 'web' },
      tags: ['blue'],
      description: 'first',
    });
    const built = await test.show(id);
    expect(built.status).toBe('BUILD');
    expect(built.addresses).toEqual({});
    const active = await test.reached(id, 'ACTIVE');
    expect(active.addresses.private).toHaveLength(1);
    expect(active.addresses.private[0]).toMatchObject({ version: 4, 'OS-EXT-IPS:type': 'fixed' });
    expect(active).toMatchObject({
      metadata: { role: 'web' },
      tags: ['blue'],
      description: 'first',
      'OS-EXT-AZ:availability_zone': 'east',
      flavor: { original_name: 'small', vcpus: 1, ram: 512 },
      image: { id: test.image },
      security_groups: [{ name: 'default' }],
    });
    const [server] = living('east', id);
    expect(server?.name).toBe('one');
    expect(server?.metadata).toEqual({ role: 'web' });
    expect(living('west', id)).toEqual([]);
    expect(JSON.stringify(active)).not.toContain(server?.id);

    expect((await test.call('alice', 'DELETE', `/servers/${id}`)).status).toBe(204);
    await until(async () => (await test.show(id)) === undefined);
    expect(living('east', id)).toEqual([]);
    await until(async () => [...test.east.state.ports.values()].every((port) => port.device_id !== server?.id));
  }, 30_000);

  it('answers a foreign project as if it were not there', async () => {
    const id = await test.boot('east');
    for (const [method, path, body] of [
      ['GET', '', undefined],
      ['DELETE', '', undefined],
      ['PUT', '', { server: { name: 'mine' } }],
      ['POST', '/action', { 'os-stop': null }],
      ['GET', '/metadata', undefined],
      ['GET', '/os-volume_attachments', undefined],
      ['GET', '/os-interface', undefined],
      ['GET', '/os-instance-actions', undefined],
    ] as const) {
      expect([method, path, (await test.call('bob', method, `/servers/${id}${path}`, body)).status]).toEqual([
        method,
        path,
        404,
      ]);
    }
    expect((await test.call('rita', 'POST', `/servers/${id}/action`, { 'os-stop': null })).status).toBe(403);
    expect((await test.call('bob', 'GET', '/servers/detail')).body.servers).toEqual([]);
    await test.reached(id, 'ACTIVE');
    await test.call('alice', 'DELETE', `/servers/${id}`);
    await until(async () => (await test.show(id)) === undefined);
  }, 30_000);

  it('stops, starts, reboots, resizes and takes back a resize', async () => {
    const id = await test.boot('west');
    await test.reached(id, 'ACTIVE');
    const act = async (body: object) => (await test.call('alice', 'POST', `/servers/${id}/action`, body)).status;
    expect(await act({ 'os-start': null })).toBe(409);
    expect(await act({ 'os-stop': null })).toBe(202);
    const again = await test.call('alice', 'POST', `/servers/${id}/action`, { 'os-stop': null });
    expect(again.body.conflictingRequest.message).toMatch(
      new RegExp(`Cannot 'stop' instance ${id} while it is in (task_state powering-off|vm_state stopped)`),
    );
    await test.reached(id, 'SHUTOFF');
    expect(await act({ 'os-start': null })).toBe(202);
    await test.reached(id, 'ACTIVE');
    expect(await act({ reboot: { type: 'HARD' } })).toBe(202);
    await test.reached(id, 'ACTIVE');

    expect(await act({ resize: { flavorRef: test.bigger } })).toBe(202);
    const resized = await test.reached(id, 'VERIFY_RESIZE');
    expect(resized.flavor.original_name).toBe('bigger');
    expect(await act({ revertResize: null })).toBe(202);
    const reverted = await test.reached(id, 'ACTIVE');
    expect(reverted.flavor.original_name).toBe('small');
    expect(await act({ resize: { flavorRef: test.bigger } })).toBe(202);
    await test.reached(id, 'VERIFY_RESIZE');
    expect(await act({ confirmResize: null })).toBe(204);
    expect((await test.reached(id, 'ACTIVE')).flavor.original_name).toBe('bigger');

    const { body } = await test.call('alice', 'GET', `/servers/${id}/os-instance-actions`);
    const actions = body.instanceActions.map(({ action }: { action: string }) => action);
    expect(actions).toEqual(['confirmResize', 'resize', 'revertResize', 'resize', 'reboot', 'start', 'stop', 'create']);
    expect(await act({ lock: null })).toBe(202);
    expect((await test.call('alice', 'PUT', `/servers/${id}`, { server: { name: 'renamed' } })).status).toBe(200);
    expect(await act({ 'os-stop': null })).toBe(409);
    expect(await act({ unlock: null })).toBe(202);
    await until(async () => living('west', id)[0]?.name === 'renamed');
    await test.call('alice', 'DELETE', `/servers/${id}`);
    await until(async () => (await test.show(id)) === undefined);
  }, 60_000);

  it('shows what happens behind the parent', async () => {
    const [stopped, gone, failed] = [await test.boot('east'), await test.boot('east'), await test.boot('east')];
    for (const id of [stopped, gone, failed]) await test.reached(id, 'ACTIVE');
    const idOf = (id: string) => living('east', id)[0]?.id ?? '';
    const childId = idOf(failed);
    test.east.setServerStatus(idOf(stopped), 'SHUTOFF');
    test.east.setServerStatus(childId, 'ERROR', { code: 500, message: `Host of ${childId} burnt.` });
    test.east.deleteServer(idOf(gone));
    await test.reached(stopped, 'SHUTOFF');
    const error = await test.reached(failed, 'ERROR');
    expect(error.fault.message).toBe(`Host of ${failed} burnt.`);
    await until(async () => (await test.show(gone)) === undefined);
    for (const id of [stopped, failed]) await test.call('alice', 'DELETE', `/servers/${id}`);
    for (const id of [stopped, failed]) await until(async () => (await test.show(id)) === undefined);
    const { body } = await test.call('alice', 'GET', '/limits');
    expect(body.limits.absolute.totalInstancesUsed).toBe(0);
  }, 30_000);
});

describe('a create whose answer is lost', () => {
  it('is found by its mark, and made once', async () => {
    test.east.faults.inject({
      match: { method: 'POST', service: 'compute', path: /^\/servers$/ },
      times: 1,
      drop: 'after',
    });
    const id = await test.boot('east');
    await test.reached(id, 'ACTIVE');
    expect(childServers(test, 'east', id)).toHaveLength(1);
    await test.call('alice', 'DELETE', `/servers/${id}`);
    await until(async () => (await test.show(id)) === undefined);
  }, 30_000);

  it('leaves nothing where the server is deleted meanwhile', async () => {
    test.east.faults.inject({
      match: { method: 'POST', service: 'compute', path: /^\/servers$/ },
      times: 1,
      delay_ms: 300,
    });
    const id = await test.boot('east');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect((await test.call('alice', 'DELETE', `/servers/${id}`)).status).toBe(204);
    await until(async () => (await test.show(id)) === undefined, 25_000);
    await until(async () => living('east', id).length === 0);
  }, 40_000);

  it('waits while the child is away, and goes on when it is back', async () => {
    await test.west.stop();
    const id = await test.boot('west');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await test.show(id)).status).toBe('BUILD');
    await test.west.start();
    await test.reached(id, 'ACTIVE');
    await test.call('alice', 'DELETE', `/servers/${id}`);
    await until(async () => (await test.show(id)) === undefined);
  }, 60_000);
});

describe('a boot that cannot be', () => {
  const refused = async (server: object, minor = 93) => {
    const { status, body } = await test.call(
      'alice',
      'POST',
      '/servers',
      { server: { name: 'x', flavorRef: test.flavor, imageRef: test.image, networks: 'none', ...server } },
      minor,
    );
    return [status, (Object.values(body)[0] as { message: string }).message];
  };
  const unknown = '11111111-2222-4333-8444-555555555555';

  it('is refused in the words of Nova', async () => {
    expect(await refused({ flavorRef: unknown })).toEqual([400, `Flavor ${unknown} could not be found.`]);
    expect(await refused({ imageRef: unknown })).toEqual([400, 'Can not find requested image']);
    expect(await refused({ key_name: 'none' })).toEqual([400, 'Invalid key_name provided.']);
    expect(await refused({ availability_zone: 'mars' })).toEqual([
      400,
      'The requested availability zone is not available',
    ]);
    expect(await refused({ networks: [{ uuid: unknown }] })).toEqual([400, `Network ${unknown} could not be found.`]);
    expect((await refused({ networks: 'auto' }))[0]).toBe(409);
    expect(await refused({ min_count: 3, max_count: 2 })).toEqual([400, 'min_count must be <= max_count']);
    expect(await refused({ min_count: 11, max_count: 11 })).toEqual([
      403,
      'Quota exceeded for instances: Requested 11, but already used 0 of 10 instances',
    ]);
    const file = (path: string, contents = 'aGVsbG8=') => ({ path, contents });
    const files = (given: object[]) => refused({ personality: given }, 56);
    expect(await files(Array.from({ length: 6 }, (_, at) => file(`/f${at}`)))).toEqual([
      403,
      'Personality file limit exceeded',
    ]);
    expect(await files([file('/a'), file('x'.repeat(256))])).toEqual([
      403,
      'Personality file path exceeds maximum 255',
    ]);
    expect(await files([file('/a', 'a'.repeat(10_244))])).toEqual([
      403,
      'Personality file content exceeds maximum 10240',
    ]);
    expect((await files([file('/a', 'This is no Base64.')]))[0]).toBe(400);
    expect(await refused({ imageRef: '' })).toEqual([400, 'Missing imageRef attribute']);
    expect((await refused({ surprise: 1 }))[1]).toContain("'surprise' was unexpected");
    expect((await refused({ tags: ['a'] }, 51))[1]).toContain("'tags' was unexpected");
    const { body } = await test.call('alice', 'GET', '/limits');
    expect(body.limits.absolute.totalInstancesUsed).toBe(0);
  });

  it('is accepted and goes to ERROR where no host takes it', async () => {
    for (const child of ['east', 'west']) {
      await test.db.transaction((tx) => test.cascade.setProxy(tx, child, 'nova-compute', { enabled: false }));
    }
    const id = await test.boot();
    const server = await test.show(id);
    expect(server.status).toBe('ERROR');
    expect(server.fault.message).toBe('No valid host was found. There are not enough hosts available.');
    for (const child of ['east', 'west']) {
      await test.db.transaction((tx) => test.cascade.setProxy(tx, child, 'nova-compute', { enabled: true }));
    }
    expect((await test.call('alice', 'DELETE', `/servers/${id}`)).status).toBe(204);
    expect(await test.show(id)).toBeUndefined();
  });

  it('goes to ERROR with what the child said', async () => {
    test.east.faults.inject({
      match: { method: 'POST', service: 'compute', path: /^\/servers$/ },
      times: 1,
      respond: { status: 400, body: { badRequest: { code: 400, message: 'The image is too old.' } } },
    });
    const id = await test.boot('east');
    const server = await test.reached(id, 'ERROR');
    expect(server.fault).toMatchObject({ code: 500, message: 'The image is too old.' });
    await test.call('alice', 'DELETE', `/servers/${id}`);
    expect(await test.show(id)).toBeUndefined();
  });
});

describe('lists', () => {
  it('pages, filters and sorts, and tells of deletions to who asks for changes', async () => {
    const { body } = await test.call('alice', 'POST', '/servers', {
      server: {
        name: 'many',
        flavorRef: test.flavor,
        imageRef: test.image,
        networks: 'none',
        max_count: 3,
        min_count: 3,
      },
    });
    expect(body.server.id).toBeDefined();
    const list = async (query: string, who = 'alice', minor = 93) =>
      (await test.call(who, 'GET', `/servers?${query}`, undefined, minor)).body;
    const names = ({ servers }: { servers: { name: string }[] }) => servers.map(({ name }) => name).sort();
    expect(names(await list(''))).toEqual(['many-1', 'many-2', 'many-3']);
    expect(names(await list('name=many-2'))).toEqual(['many-2']);
    expect(names(await list('name=^many-[12]$'))).toEqual(['many-1', 'many-2']);
    expect(names(await list('status=ERROR'))).toEqual([]);
    const page = await list('limit=2&sort_key=display_name&sort_dir=asc');
    expect(page.servers.map(({ name }: { name: string }) => name)).toEqual(['many-1', 'many-2']);
    const next = new URL(page.servers_links[0].href).search.slice(1);
    expect(names(await list(next))).toEqual(['many-3']);
    expect((await test.call('alice', 'GET', '/servers?all_tenants=1')).status).toBe(403);
    expect(names(await list('all_tenants=1', 'admin'))).toEqual(['many-1', 'many-2', 'many-3']);
    expect((await test.call('alice', 'GET', '/servers?nonsense=1')).status).toBe(400);
    expect((await test.call('alice', 'GET', '/servers?nonsense=1', undefined, 74)).status).toBe(200);
    expect((await test.call('alice', 'GET', '/servers?status=NONSENSE')).status).toBe(400);
    expect((await test.call('alice', 'GET', '/servers?changes-since=yesterday')).status).toBe(400);
    expect((await test.call('alice', 'GET', '/servers?marker=nowhere')).status).toBe(400);

    const { servers } = await list('');
    for (const { id } of servers) await test.reached(id, 'ACTIVE');
    const since = new Date(Date.now() - 1000).toISOString();
    await test.call('alice', 'DELETE', `/servers/${servers[0].id}`);
    await until(async () => (await test.show(servers[0].id)) === undefined);
    const changed = (await test.call('alice', 'GET', `/servers/detail?changes-since=${since}`)).body.servers;
    expect(changed.find(({ id }: { id: string }) => id === servers[0].id).status).toBe('DELETED');
    for (const { id } of servers.slice(1)) await test.call('alice', 'DELETE', `/servers/${id}`);
    await until(async () => names(await list('')).length === 0);
  }, 30_000);

  it('shows each microversion what it had', async () => {
    const id = await test.boot('east');
    await test.reached(id, 'ACTIVE');
    const at = async (minor: number, who = 'alice') =>
      (await test.call(who, 'GET', `/servers/${id}`, undefined, minor)).body.server;
    expect((await at(1)).flavor.id).toBe(test.flavor);
    expect(await at(8)).not.toHaveProperty('locked');
    expect(await at(9)).toHaveProperty('locked', false);
    expect(await at(25)).not.toHaveProperty('tags');
    expect(await at(72)).not.toHaveProperty('locked_reason');
    expect(await at(93)).not.toHaveProperty('OS-EXT-SRV-ATTR:host');
    expect(await at(93, 'admin')).toMatchObject({ 'OS-EXT-SRV-ATTR:host': 'east', host_status: 'UP' });
    await test.call('alice', 'DELETE', `/servers/${id}`);
    await until(async () => (await test.show(id)) === undefined);
  }, 30_000);
});
