/** Quotas, usage, services, agents and aggregates: what an operator does. */
import { expect, it } from 'vitest';
import { admin, tenant } from '../harness/openstack.ts';
import { api, list } from '../harness/rest.ts';
import { CHILDREN } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import * as names from './names.ts';
import { behind, servers, settles } from './names.ts';

const BOOT = ['--image', names.IMAGE, '--flavor', names.FLAVOR, '--nic', 'none'];

export function quotas(): void {
  it('shows quotas and usage, and sets them', async () => {
    await admin('quota', 'set', names.PROJECT, '--instances', '7', '--volumes', '6', '--ports', '40');
    // The client of this release gives a list of one or an object, by its plug-ins.
    const shown = await admin('quota', 'show', names.PROJECT, '-f', 'json');
    for (const [name, limit] of [
      ['instances', 7],
      ['volumes', 6],
      ['ports', 40],
    ] as const) {
      expect(shown).toMatch(new RegExp(`"${name}": ${limit}\\b|"Resource": "${name}",\\s+"Limit": ${limit}\\b`));
    }
    const limits = await tenant.json<{ Name: string; Value: number }[]>('limits', 'show', '--absolute');
    const value = (name: string) => limits.find((limit) => limit.Name === name)?.Value;
    expect(value('maxTotalInstances')).toBe(7);
    expect(value('totalInstancesUsed')).toBe((await servers('tenant')).length);
    expect(value('maxTotalVolumes')).toBe(6);
    expect(value('totalVolumesUsed')).toBe((await list(api('tenant'), 'volume', '/volumes', 'volumes')).length);
    const usage = await admin.json<{ Project: string; Servers: { name: string }[] }[]>('usage', 'list');
    const project = await admin.value('id', 'project', 'show', names.PROJECT);
    expect(usage.find((one) => one.Project === project)?.Servers.map((one) => one.name)).toEqual(
      expect.arrayContaining(CHILDREN.map(({ zone }) => names.server(zone))),
    );
  });

  it('refuses what is past a quota, and reserves nothing', async () => {
    const used = (await servers('tenant')).length;
    const children = async () => (await Promise.all([servers('child1'), servers('child2')])).flat().length;
    const before = await children();
    await admin('quota', 'set', names.PROJECT, '--instances', String(used));
    const words = await tenant.refused('server', 'create', 'e2e-too-many', ...BOOT);
    expect(words).toMatch(/Quota exceeded for instances: Requested 1, but already used \d+ of \d+ instances/);
    expect(words).toContain('403');
    const { body } = await api('admin').call<{ quota_set: { instances: Record<string, number> } }>({
      service: 'compute',
      method: 'GET',
      path: `/os-quota-sets/${await admin.value('id', 'project', 'show', names.PROJECT)}/detail`,
    });
    expect(body.quota_set.instances).toMatchObject({ in_use: used, reserved: 0, limit: used });
    const ports = await list(api('tenant'), 'network', '/ports', 'ports');
    await admin('quota', 'set', names.PROJECT, '--ports', String(ports.length));
    const network = names.network('east');
    await tenant.refused('port', 'create', 'e2e-too-many', '--network', network);
    await admin('quota', 'set', names.PROJECT, '--instances', '10', '--ports', '50');
    expect((await servers('tenant')).length).toBe(used);
    expect(await list(api('tenant'), 'network', '/ports', 'ports')).toHaveLength(ports.length);
    expect(await children()).toBe(before);
  });
}

export function services(): void {
  it('shows one proxy for each child', async () => {
    const names_ = CHILDREN.map((child) => child.name);
    const compute = await admin.json<{ Binary: string; Host: string; State: string; Zone: string }[]>(
      'compute',
      'service',
      'list',
    );
    const proxies = compute.filter((one) => one.Binary === 'nova-compute');
    expect(proxies.map((one) => one.Host).sort()).toEqual(names_);
    expect(proxies.map((one) => [one.Zone, one.State]).sort()).toEqual(CHILDREN.map(({ zone }) => [zone, 'up']));
    const volume = await admin.json<{ Binary: string; Host: string; State: string }[]>('volume', 'service', 'list');
    const backends = volume.filter((one) => one.Binary === 'cinder-volume');
    expect(backends.map((one) => one.Host.split('@')[0]).sort()).toEqual(names_);
    const agents = await admin.json<{ Host: string; Alive: string | boolean }[]>('network', 'agent', 'list');
    expect([...new Set(agents.map((one) => one.Host))].sort()).toEqual(names_);
  });

  it('takes a disabled child out of scheduling', async () => {
    await admin('compute', 'service', 'set', '--disable', '--disable-reason', 'e2e', 'east', 'nova-compute');
    for (const name of ['e2e-elsewhere-1', 'e2e-elsewhere-2']) {
      await tenant('server', 'create', name, ...BOOT, '--wait');
      const shown = await settles(name, 'ACTIVE');
      expect(shown['OS-EXT-AZ:availability_zone']).toBe('west');
      expect((await behind('child2', shown.id))?.status).toBe('ACTIVE');
    }
    await admin('compute', 'service', 'set', '--enable', 'east', 'nova-compute');
    await tenant('server', 'delete', 'e2e-elsewhere-1', 'e2e-elsewhere-2', '--wait');
  });
}

/** Called when no servers are left: Nova moves no host between zones while it carries some. */
export function aggregates(): void {
  it('moves a child to another zone by a host aggregate', async () => {
    await admin('aggregate', 'create', '--zone', 'far', 'e2e-aggregate');
    await admin('aggregate', 'add', 'host', 'e2e-aggregate', 'west');
    const zones = async () =>
      (await tenant.json<{ 'Zone Name': string }[]>('availability', 'zone', 'list', '--compute'))
        .map((zone) => zone['Zone Name'])
        .sort();
    await until('the zone far in the place of west', async () => (await zones()).join() === 'east,far');
    await tenant('server', 'create', 'e2e-far', ...BOOT, '--availability-zone', 'far', '--wait');
    const shown = await settles('e2e-far', 'ACTIVE');
    expect(shown['OS-EXT-AZ:availability_zone']).toBe('far');
    expect((await behind('child2', shown.id))?.status).toBe('ACTIVE');
    await tenant('server', 'delete', 'e2e-far', '--wait');
    await admin('aggregate', 'remove', 'host', 'e2e-aggregate', 'west');
    await admin('aggregate', 'delete', 'e2e-aggregate');
    expect(await zones()).toEqual(['east', 'west']);
  });
}
