/** Tokens, catalog, zones, projects, users, roles, flavors, images and keys. */
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { admin, tenant } from '../harness/openstack.ts';
import { CHILDREN, stage } from '../harness/stage.ts';
import { BIGGER_FLAVOR, FLAVOR, FLAVOR_ID, IMAGE, KEY, PROJECT } from './names.ts';

export function catalog(): void {
  it('issues tokens', async () => {
    const token = await admin.json('token', 'issue');
    expect(token).toMatchObject({ id: expect.stringMatching(/^\S{30,}$/), project_id: expect.any(String) });
    expect(Date.parse(String(token.expires))).toBeGreaterThan(Date.now());
  });

  it('lists a catalog of its own endpoints alone', async () => {
    const services = await admin.json<{ Type: string; Endpoints: { url: string }[] }[]>('catalog', 'list');
    expect(services.map((service) => service.Type)).toEqual(
      expect.arrayContaining(['identity', 'compute', 'network', 'volumev3', 'image']),
    );
    const urls = services.flatMap((service) => service.Endpoints.map((endpoint) => endpoint.url));
    expect(urls.length).toBeGreaterThan(4);
    expect(urls.filter((url) => !url.startsWith(`${stage.url}/`))).toEqual([]);
  });

  it.each(['compute', 'network', 'volume'])('lists the availability zones of %s', async (service) => {
    const zones = await admin.json<{ 'Zone Name': string; 'Zone Status': string }[]>(
      'availability',
      'zone',
      'list',
      `--${service}`,
    );
    const available = zones.filter((zone) => zone['Zone Status'] === 'available').map((zone) => zone['Zone Name']);
    // Nova shows its own services' zone to administrators.
    expect([...new Set(available)].filter((zone) => zone !== 'internal').sort()).toEqual(
      CHILDREN.map((child) => child.zone),
    );
  });

  it('makes projects, users and roles, and assigns them', async () => {
    for (const name of [PROJECT, 'stranger']) {
      await admin('project', 'create', name);
      await admin('user', 'create', name, '--project', name, '--password', stage.passwords.tenant);
      await admin('role', 'add', '--user', name, '--project', name, 'member');
    }
    await admin('role', 'create', 'e2e-role');
    await admin('role', 'add', '--user', PROJECT, '--project', PROJECT, 'e2e-role');
    const roles = async () =>
      (await admin.json<{ Role: string }[]>('role', 'assignment', 'list', '--names', '--user', PROJECT))
        .map((assignment) => assignment.Role)
        .sort();
    expect(await roles()).toEqual(['e2e-role', 'member']);
    await admin('role', 'remove', '--user', PROJECT, '--project', PROJECT, 'e2e-role');
    await admin('role', 'delete', 'e2e-role');
    expect(await roles()).toEqual(['member']);
    expect(await tenant.value('project_id', 'token', 'issue')).toBe(
      await admin.value('id', 'project', 'show', PROJECT),
    );
    expect(await tenant.refused('user', 'list')).toMatch(/403/);
  });

  it('makes, lists, shows and deletes flavors with properties', async () => {
    const sizes = ['--ram', '128', '--vcpus', '1', '--disk', '1'];
    await admin('flavor', 'create', FLAVOR, '--id', FLAVOR_ID, ...sizes, '--property', 'hw:cpu_policy=shared');
    await admin('flavor', 'create', BIGGER_FLAVOR, '--ram', '192', '--vcpus', '1', '--disk', '1');
    await admin('flavor', 'create', 'e2e.spare', ...sizes);
    await admin('flavor', 'set', FLAVOR, '--property', 'e2e:purpose=test');
    expect(await tenant.json('flavor', 'show', FLAVOR)).toMatchObject({ id: FLAVOR_ID, ram: 128, disk: 1, vcpus: 1 });
    expect(await admin.json('flavor', 'show', FLAVOR)).toMatchObject({
      properties: { 'hw:cpu_policy': 'shared', 'e2e:purpose': 'test' },
    });
    await admin('flavor', 'delete', 'e2e.spare');
    const flavors = await tenant.json<{ Name: string; RAM: number }[]>('flavor', 'list');
    expect(flavors.map((flavor) => [flavor.Name, flavor.RAM])).toEqual(
      expect.arrayContaining([
        [FLAVOR, 128],
        [BIGGER_FLAVOR, 192],
      ]),
    );
    expect(flavors.map((flavor) => flavor.Name)).not.toContain('e2e.spare');
  });

  it('keeps an image byte for byte', async () => {
    const [source, saved] = [join(stage.folder, 'image'), join(stage.folder, 'saved')];
    writeFileSync(source, randomBytes(3_000_017));
    const format = ['--disk-format', 'raw', '--container-format', 'bare'];
    await tenant('image', 'create', IMAGE, '--file', source, ...format, '--property', 'os_distro=e2e');
    await tenant('image', 'create', 'e2e-spare', '--file', source, ...format);
    expect(await tenant.json('image', 'show', IMAGE)).toMatchObject({ status: 'active', size: statSync(source).size });
    await tenant('image', 'save', IMAGE, '--file', saved);
    expect(readFileSync(saved).equals(readFileSync(source))).toBe(true);
    await tenant('image', 'delete', 'e2e-spare');
    const images = await tenant.json<{ Name: string; Status: string }[]>('image', 'list');
    expect(images.map((image) => [image.Name, image.Status])).toContainEqual([IMAGE, 'active']);
    expect(images.map((image) => image.Name)).not.toContain('e2e-spare');
  });

  it('makes and deletes keypairs', async () => {
    expect(await tenant('keypair', 'create', KEY)).toContain('PRIVATE KEY');
    await tenant('keypair', 'create', 'e2e-spare');
    await tenant('keypair', 'delete', 'e2e-spare');
    const keys = await tenant.json<{ Name: string; Fingerprint: string }[]>('keypair', 'list');
    expect(keys.map((key) => key.Name)).toEqual([KEY]);
    expect(keys[0]?.Fingerprint).toMatch(/^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
  });
}
