/** Servers in both zones, and their lives. */
import { expect, it } from 'vitest';
import { type LogMark, markLogs, requestsSince } from '../harness/child.ts';
import { tenant } from '../harness/openstack.ts';
import { api, list } from '../harness/rest.ts';
import { CHILDREN } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import * as names from './names.ts';
import { addressesOf, behind, server, servers, settles } from './names.ts';

const BOOT = ['--image', names.IMAGE, '--flavor', names.FLAVOR, '--key-name', names.KEY];

export function serverLives(): void {
  it.each([
    ['east', ['--port', names.PORT]],
    ['west', ['--network', names.network('west'), '--security-group', names.GROUP]],
  ])('boots a server in %s with image, flavor and key that the child did not have', async (zone, networks) => {
    await tenant('server', 'create', server(zone), ...BOOT, ...networks, '--availability-zone', zone, '--wait');
    const shown = await settles(server(zone), 'ACTIVE');
    expect(shown).toMatchObject({ 'OS-EXT-AZ:availability_zone': zone, key_name: names.KEY });
    expect(addressesOf(shown)).toHaveLength(1);
    const cloud = zone === 'east' ? 'child1' : 'child2';
    const copy = await behind(cloud, shown.id);
    expect(copy).toMatchObject({ name: server(zone), status: 'ACTIVE', flavor: { original_name: names.FLAVOR } });
    // The parent gives out every address, and the child's server has it.
    expect(copy && addressesOf(copy)).toEqual(addressesOf(shown));
  });

  it('gave the server the port that was made for it', async () => {
    const [port] = await list<{ device_id: string; fixed_ips: { ip_address: string }[]; status: string }>(
      api('tenant'),
      'network',
      '/ports',
      'ports',
      { name: names.PORT },
    );
    const shown = await settles(server('east'), 'ACTIVE');
    expect(port?.device_id).toBe(shown.id);
    expect(port?.fixed_ips.map((fixed) => fixed.ip_address)).toEqual(addressesOf(shown));
  });

  it('lists the servers of both children as one, and shows them', async () => {
    const listed = await tenant.json<{ Name: string; Status: string }[]>('server', 'list');
    expect(listed.map((one) => [one.Name, one.Status]).sort()).toEqual(
      CHILDREN.map(({ zone }) => [server(zone), 'ACTIVE']),
    );
    const shown = await tenant('server', 'show', server('west'));
    expect(shown).toContain('ACTIVE');
    expect(shown).not.toMatch(/127\.0\.0\.1[12]|headwater:/);
  });

  it('brings image, flavor, key and networks to a child once: a second boot makes no call for them', async () => {
    const direct = await countedBoot(bootAtChild);
    const through = await countedBoot(async () => {
      const nets = ['--network', names.network('east'), '--security-group', names.GROUP];
      await tenant('server', 'create', 'e2e-second', ...BOOT, ...nets, '--availability-zone', 'east', '--wait');
      await settles('e2e-second', 'ACTIVE');
    });
    // Nova itself asks Glance for the image, so the yardstick is a boot at the child.
    const images = (requests: string[]) => requests.filter((request) => request.includes('/v2/images')).length;
    expect(images(through)).toBeLessThanOrEqual(images(direct));
    const forReplicas =
      /^\S+ \/v2\.1\/(flavors|os-keypairs)|^(POST|PUT|DELETE) \/v2\.0\/(networks|subnets|routers|security-group)/;
    expect(through.filter((request) => forReplicas.test(request))).toEqual([]);
    expect(through.filter((request) => request === 'POST /v2.1/servers')).toHaveLength(1);
    await tenant('server', 'delete', 'e2e-second', '--wait');
  });

  it('shows the console log', async () => {
    const shown = await settles(server('east'), 'ACTIVE');
    const copy = await behind('child1', shown.id);
    const { body } = await api('child1').call<{ output: string }>({
      service: 'compute',
      method: 'POST',
      path: `/servers/${copy?.id}/action`,
      body: { 'os-getConsoleOutput': {} },
    });
    expect(body.output.trim()).not.toBe('');
    expect(await tenant('console', 'log', 'show', server('east'))).toBe(
      body.output.trim().replaceAll(copy?.id ?? '', shown.id),
    );
  });

  it.each(CHILDREN.map(({ zone }) => zone))('stops, starts and reboots in %s', async (zone) => {
    await tenant('server', 'stop', server(zone));
    await settles(server(zone), 'SHUTOFF');
    await tenant('server', 'start', server(zone));
    await settles(server(zone), 'ACTIVE');
    await tenant('server', 'reboot', server(zone), '--wait');
    await tenant('server', 'reboot', '--hard', server(zone), '--wait');
    await settles(server(zone), 'ACTIVE');
  });

  it('resizes and confirms', async () => {
    await tenant('server', 'resize', server('east'), '--flavor', names.BIGGER_FLAVOR, '--wait');
    await settles(server('east'), 'VERIFY_RESIZE');
    await tenant('server', 'resize', 'confirm', server('east'));
    const shown = await settles(server('east'), 'ACTIVE');
    expect(shown.flavor.original_name).toBe(names.BIGGER_FLAVOR);
    expect((await behind('child1', shown.id))?.flavor.original_name).toBe(names.BIGGER_FLAVOR);
  });

  it('pauses and unpauses', async () => {
    await tenant('server', 'pause', server('west'));
    await settles(server('west'), 'PAUSED');
    await tenant('server', 'unpause', server('west'));
    await settles(server('west'), 'ACTIVE');
  });

  it('locks', async () => {
    await tenant('server', 'lock', server('west'));
    expect(await tenant.value('locked', 'server', 'show', server('west'))).toBe('True');
    expect(await tenant.refused('server', 'stop', server('west'))).toMatch(/is locked.*409/s);
    await tenant('server', 'unlock', server('west'));
    expect(await tenant.value('locked', 'server', 'show', server('west'))).toBe('False');
  });

  it('renames and sets properties', async () => {
    await tenant('server', 'set', server('west'), '--name', 'e2e-renamed', '--property', 'colour=blue');
    const shown = await settles('e2e-renamed', 'ACTIVE');
    expect(shown.metadata).toMatchObject({ colour: 'blue' });
    await tenant('server', 'set', 'e2e-renamed', '--name', server('west'));
    await tenant('server', 'unset', server('west'), '--property', 'colour');
    expect((await settles(server('west'), 'ACTIVE')).metadata).toEqual({});
  });

  it('boots with no zone in one of its choice', async () => {
    const nets = ['--network', names.network('east')];
    await tenant('server', 'create', 'e2e-anywhere', ...BOOT, ...nets, '--wait');
    const shown = await settles('e2e-anywhere', 'ACTIVE');
    // The network is in east already, and a tenant's network does not leave its child.
    expect(shown['OS-EXT-AZ:availability_zone']).toBe('east');
    await tenant('server', 'delete', 'e2e-anywhere', '--wait');
    expect(await servers('tenant', { name: 'e2e-anywhere' })).toEqual([]);
  });
}

/** What child1's APIs were asked while something was done. */
async function countedBoot(boot: () => Promise<void>): Promise<string[]> {
  const mark: LogMark = markLogs('child1');
  await boot();
  return requestsSince('child1', mark);
}

/** The same boot at the child itself, as its administrator in the tenant's mirrored project. */
async function bootAtChild(): Promise<void> {
  const child = api('child1');
  const shown = await settles(server('east'), 'ACTIVE');
  const copy = await behind('child1', shown.id);
  const [port] = await list<{ network_id: string; project_id: string }>(child, 'network', '/ports', 'ports', {
    device_id: copy?.id ?? '',
  });
  const [image] = await list(api('tenant'), 'image', '/images', 'images', { name: names.IMAGE });
  const scope = { projectId: port?.project_id ?? '' };
  const call = { service: 'compute', microversion: '2.90', scope } as const;
  const { body } = await child.call<{ server: { id: string } }>({
    ...call,
    method: 'POST',
    path: '/servers',
    body: {
      server: {
        name: 'e2e-direct',
        flavorRef: names.FLAVOR_ID,
        imageRef: image?.id,
        networks: [{ uuid: port?.network_id }],
      },
    },
  });
  const path = `/servers/${body.server.id}`;
  await until('the direct boot is ACTIVE', async () => {
    const answer = await child.call<{ server: { status: string } }>({ ...call, method: 'GET', path });
    return answer.body.server.status === 'ACTIVE';
  });
  await child.call({ ...call, method: 'DELETE', path });
}
