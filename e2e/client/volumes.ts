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

  it.each(CHILDREN)('attaches to and detaches from a server in $zone', async ({ zone, cloud }) => {
    await tenant('server', 'add', 'volume', server(zone), volume(zone));
    await volumeSettles('volumes', volume(zone), 'in-use');
    const attached = await tenant.json<{ 'Volume ID': string; Device: string }[]>(
      'server',
      'volume',
      'list',
      server(zone),
    );
    expect(attached.map((one) => one['Volume ID'])).toEqual([await tenant.value('id', 'volume', 'show', volume(zone))]);
    const copy = await behind(cloud, (await settles(server(zone), 'ACTIVE')).id);
    const path = `/servers/${copy?.id}/os-volume_attachments`;
    const inChild = await list<{ device: string }>(api(cloud), 'compute', path, 'volumeAttachments');
    expect(attached.map((one) => one.Device)).toEqual(inChild.map((one) => one.device));
    await tenant('server', 'remove', 'volume', server(zone), volume(zone));
    await volumeSettles('volumes', volume(zone), 'available');
    expect(await tenant.json('server', 'volume', 'list', server(zone))).toEqual([]);
  });

  it('makes and deletes snapshots', async () => {
    // This client cannot leave `force` out, and from 3.66 on its own library refuses it where it is false.
    await tenant('volume', 'snapshot', 'create', 'e2e-snapshot', '--volume', volume('west'), '--force');
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
    // Neutron shows tenants no subnets of external networks, so that theirs to name is the port.
    const ports = await tenant.json<{ ID: string }[]>('port', 'list', '--server', server(zone));
    const bound = ['--port', ports[0]?.ID ?? 'none'];
    const address = await tenant.value('floating_ip_address', 'floating', 'ip', 'create', 'public', ...bound);
    expect(address.startsWith(prefix)).toBe(true);
    expect(names.addressesOf(await settles(server(zone), 'ACTIVE'))).toContain(address);
    await tenant('server', 'remove', 'floating', 'ip', server(zone), address);
    expect(names.addressesOf(await settles(server(zone), 'ACTIVE'))).not.toContain(address);
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
