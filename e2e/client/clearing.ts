/** Everything is deleted again, and the children hold nothing of it. */
import { expect, it } from 'vitest';
import { nothingLeft } from '../harness/child.ts';
import { admin, tenant } from '../harness/openstack.ts';
import { api, list } from '../harness/rest.ts';
import { CHILDREN } from '../harness/stage.ts';
import * as names from './names.ts';
import { servers, volume, volumeGoes } from './names.ts';

const zones = CHILDREN.map(({ zone }) => zone);

export function serversGo(): void {
  it('deletes servers', async () => {
    const all = (await servers('tenant')).map((server) => server.name);
    expect(all).toEqual(expect.arrayContaining(zones.map((zone) => names.server(zone))));
    await tenant('server', 'delete', ...all, '--wait');
    expect(await servers('tenant')).toEqual([]);
  });
}

export function everythingGoes(): void {
  it('deletes volumes', async () => {
    const all = [...zones.map((zone) => volume(zone)), 'e2e-root'];
    await tenant('volume', 'delete', ...all);
    for (const name of all) await volumeGoes('volumes', name);
  });

  it('deletes ports, routers, networks and security groups', async () => {
    await tenant('port', 'delete', names.PORT);
    for (const zone of zones) {
      await tenant('router', 'unset', '--external-gateway', names.router(zone));
      await tenant('router', 'remove', 'subnet', names.router(zone), names.subnet(zone));
      await tenant('router', 'delete', names.router(zone));
      await tenant('network', 'delete', names.network(zone));
    }
    await tenant('security', 'group', 'delete', names.GROUP);
    expect(await list(api('tenant'), 'network', '/ports', 'ports')).toEqual([]);
  });

  it('deletes the key, the image and the flavors', async () => {
    await tenant('keypair', 'delete', names.KEY);
    await tenant('image', 'delete', names.IMAGE);
    await admin('flavor', 'delete', names.FLAVOR, names.BIGGER_FLAVOR);
  });

  it('left nothing in the children but the mirrored projects and their default security groups', async () => {
    await nothingLeft({ except: ['security_group'] });
  });

  it('takes the mirrored projects away with the project', async () => {
    await admin('user', 'delete', names.PROJECT, 'stranger');
    await admin('project', 'delete', names.PROJECT, 'stranger');
    await nothingLeft();
  });
}
