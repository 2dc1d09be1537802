/** Volumes in both zones, and what servers do with them. */
import { expect, it } from 'vitest';
import { tenant } from '../harness/openstack.ts';
import { api, list } from '../harness/rest.ts';
import { CHILDREN } from '../harness/stage.ts';
import { until } from '../harness/until.ts';
import * as names from './names.ts';
import { behind, server, settles, volume, volumeGoes, volumeSettles } from './names.ts';

const zones = CHILDREN.map(({ zone }) => zone);

export function volumes(): void {
  it.each(CHILDREN)('makes a volume in $zone', async ({ zone, cloud }) => {
    await tenant('volume', 'create', volume(zone), '--size', '1', '--availability-zone', zone);
    await volumeSettles('volumes', volume(zone), 'available');
    const shown = await tenant.json('volume', 'show', volume(zone));
    expect(shown).toMatchObject({ availability_zone: zone, size: 1, status: 'available' });
    const copies = await list<{ metadata: Record<string, string> }>(
      api(cloud),
      'volume',
      '/volumes/detail',
      'volumes',
      {
        all_tenants: '1',
      },
    );
    expect(copies.filter((copy) => copy.metadata.headwater_id === shown.id)).toHaveLength(1);
  });

  it.each(zones)('attaches to and detaches from a server in %s', async (zone) => {
    await tenant('server', 'add', 'volume', server(zone), volume(zone));
    await volumeSettles('volumes', volume(zone), 'in-use');
    const attached = await tenant.json<{ 'Volume ID': string; Device: string }[]>(
      'server',
      'volume',
      'list',
      server(zone),
    );
    expect(attached.map((one) => one['Volume ID'])).toEqual([await tenant.value('id', 'volume', 'show', volume(zone))]);
    expect(attached[0]?.Device).toMatch(/^\/dev\/vd[b-z]$/);
    await tenant('server', 'remove', 'volume', server(zone), volume(zone));
    await volumeSettles('volumes', volume(zone), 'available');
    expect(await tenant.json('server', 'volume', 'list', server(zone))).toEqual([]);
  });

  it('makes and deletes snapshots', async () => {
    await tenant('volume', 'snapshot', 'create', 'e2e-snapshot', '--volume', volume('west'));
    await volumeSettles('snapshots', 'e2e-snapshot', 'available');
    const listed = await tenant.json<{ Name: string }[]>('volume', 'snapshot', 'list');
    expect(listed.map((one) => one.Name)).toEqual(['e2e-snapshot']);
    expect(await tenant.refused('volume', 'delete', volume('west'))).toMatch(/dependent snapshots|400/);
    await tenant('volume', 'snapshot', 'delete', 'e2e-snapshot');
    await volumeGoes('snapshots', 'e2e-snapshot');
  });

  it('makes a volume from an image, and a server from that volume', async () => {
    const from = ['--image', names.IMAGE, '--size', '1', '--availability-zone', 'east'];
    await tenant('volume', 'create', 'e2e-root', ...from);
    await volumeSettles('volumes', 'e2e-root', 'available');
    expect(await tenant.json('volume', 'show', 'e2e-root')).toMatchObject({ bootable: 'true' });
    const boot = ['--volume', 'e2e-root', '--flavor', names.FLAVOR, '--network', names.network('east')];
    await tenant('server', 'create', 'e2e-from-volume', ...boot, '--availability-zone', 'east', '--wait');
    const shown = await settles('e2e-from-volume', 'ACTIVE');
    await volumeSettles('volumes', 'e2e-root', 'in-use');
    expect((await behind('child1', shown.id))?.status).toBe('ACTIVE');
    await tenant('server', 'delete', 'e2e-from-volume', '--wait');
    await volumeSettles('volumes', 'e2e-root', 'available');
  });
}

export function floatingIps(): void {
  it('sets the gateways of routers', async () => {
    for (const zone of zones) {
      await tenant('router', 'set', names.router(zone), '--external-gateway', 'public');
      const shown = await tenant.json<{ external_gateway_info: { network_id: string } | null }>(
        'router',
        'show',
        names.router(zone),
      );
      expect(shown.external_gateway_info?.network_id).toBe(await tenant.value('id', 'network', 'show', 'public'));
    }
  });

  it.each(CHILDREN)("gives a server in $zone an address from its child's external network", async ({ zone, cloud }) => {
    const prefix = cloud === 'child1' ? '172.24.1.' : '172.24.2.';
    const subnets = await list<{ id: string; cidr: string }>(api('tenant'), 'network', '/subnets', 'subnets');
    const subnet = subnets.find((one) => one.cidr.startsWith(prefix));
    const made = await tenant.json<{ floating_ip_address: string; id: string }>(
      'floating',
      'ip',
      'create',
      'public',
      '--subnet',
      subnet?.id ?? 'none',
    );
    const address = made.floating_ip_address;
    expect(address.startsWith(prefix)).toBe(true);
    await tenant('server', 'add', 'floating', 'ip', server(zone), address);
    expect(names.addressesOf(await settles(server(zone), 'ACTIVE'))).toContain(address);
    const inChild = async () =>
      list<{ floating_ip_address: string; port_id: string | null; status: string }>(
        api(cloud),
        'network',
        '/floatingips',
        'floatingips',
        { floating_ip_address: address },
      );
    await until('the child has it at the port', async () => (await inChild())[0]?.port_id);
    await tenant('server', 'remove', 'floating', 'ip', server(zone), address);
    expect(names.addressesOf(await settles(server(zone), 'ACTIVE'))).not.toContain(address);
    await until('the child has it no longer at the port', async () => (await inChild()).every((one) => !one.port_id));
    await tenant('floating', 'ip', 'delete', address);
    await until('the child has it no longer', async () => (await inChild()).length === 0);
  });
}
