/** The two clouds that Tempest is run at: a child of the testbed, and a parent of our own over two of them. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { endParent, parentServes, spawnParent } from '../e2e/harness/parent.ts';
import { makePlace, type Place } from '../e2e/harness/place.ts';
import { imageContent, TESTBED_HOME } from '../e2e/harness/testbed.ts';
import { until } from '../e2e/harness/until.ts';
import { createCloudClient } from '../src/openstack/client.ts';
import { loadCloud } from '../src/openstack/clouds-yaml.ts';
import type { CloudApi, CloudService } from '../src/openstack/contract.ts';
import { everything, microversion, openTarget, type Target } from './target.ts';

const CHILDREN = ['child1', 'child2'] as const;
/** What `testbed/harness/seed.py` puts into a child, so that one configuration fits both. */
const IMAGES = ['cirros', 'cirros-alt'] as const;
const FLAVORS = [
  { id: '42', name: 'm1.nano', ram: 128, vcpus: 1, disk: 1 },
  { id: '84', name: 'm1.micro', ram: 192, vcpus: 1, disk: 1 },
] as const;
const POOL = {
  name: 'shared-default',
  prefixes: ['10.128.0.0/12'],
  default_prefixlen: 26,
  shared: true,
  is_default: true,
};
const MULTIATTACH = { name: 'multiattach', extra_specs: { multiattach: '<is> True' } };

const childEntry = (name: string) =>
  loadCloud(name, { env: { OS_CLIENT_CONFIG_FILE: join(TESTBED_HOME, 'clouds.yaml') } });

/** The testbed's first child, as its administrator. */
export const openChild = (): Target => openTarget('child', 'a child (child1)', childEntry('child1'));

export interface ParentStage {
  readonly target: Target;
  /** Waits for the children to have what the parent owes them, ends it, and takes away what is its own in them. */
  stop(keep: boolean): Promise<void>;
}

/** Starts a parent over the children and gives it what a child of the testbed begins with. */
export async function startParent(say: (text: string) => void): Promise<ParentStage> {
  // Tempest attaches volumes to servers and names the zone of neither: as in any cloud whose volumes do not cross its
  // zones, both are made in the same.
  const place = await makePlace('/var/tmp/headwater-tempest-parent-', 'default_zone: east\n');
  const target = openTarget('parent', 'a parent (over child1 and child2)', {
    name: 'parent',
    auth_type: 'password',
    auth: {
      auth_url: `${place.url}/identity/v3`,
      username: 'admin',
      password: place.passwords.admin,
      project_name: 'admin',
      user_domain_name: 'Default',
      project_domain_name: 'Default',
    },
    region_name: 'RegionOne',
  });
  try {
    spawnParent(place);
    await parentServes(place);
    await furnish(target.api);
  } catch (error) {
    await endParent(place, 'SIGTERM').catch(() => undefined);
    throw error;
  }
  say(`the parent serves on ${place.url}, its log is ${place.logFile}`);
  return { target, stop: (keep) => stop(place, target.api, say, keep) };
}

async function furnish(api: CloudApi): Promise<void> {
  await until('an external subnet of each child', async () => {
    const [network] = await everything(api, 'network', '/networks', 'networks', { name: 'public' });
    return Array.isArray(network?.subnets) && network.subnets.length === CHILDREN.length;
  });
  for (const flavor of FLAVORS) await create(api, 'compute', '/flavors', { flavor });
  await create(api, 'network', '/subnetpools', { subnetpool: POOL });
  await create(api, 'volume', '/types', { volume_type: MULTIATTACH });
  for (const name of IMAGES) {
    const { disk_format, content } = imageContent(name);
    const image = { name, visibility: 'public', disk_format, container_format: 'bare', min_disk: 0, min_ram: 0 };
    const { id } = (await create(api, 'image', '/images', image)) as { id: string };
    await api.call({
      service: 'image',
      method: 'PUT',
      path: `/images/${id}/file`,
      body: content,
      contentType: 'application/octet-stream',
    });
  }
}

async function create(api: CloudApi, service: CloudService, path: string, body: unknown): Promise<unknown> {
  return (await api.call({ service, method: 'POST', path, body, ...microversion(service) })).body;
}

async function stop(place: Place, api: CloudApi, say: (text: string) => void, keep: boolean): Promise<void> {
  if (keep) return say(`kept: the parent on ${place.url} (its process id is in ${place.pidFile})`);
  const projects = await everything(api, 'identity', '/projects', 'projects').catch(() => []);
  for (const image of await everything(api, 'image', '/images', 'images').catch(() => [])) {
    await api.call({ service: 'image', method: 'DELETE', path: `/images/${image.id}`, accept: [403, 404, 409] });
  }
  await until('the parent owes its children nothing', () => nothingOwed(place), { every_ms: 1000 }).catch(
    (error: unknown) => say(error instanceof Error ? error.message : String(error)),
  );
  await endParent(place, 'SIGTERM').catch(() => endParent(place, 'SIGKILL'));
  // The projects that nobody deletes at the parent are mirrored in the children, under the parent's ids.
  for (const name of CHILDREN) {
    const child = createCloudClient({ entry: childEntry(name), name });
    const mirrored = await everything(child, 'identity', '/projects', 'projects');
    for (const project of mirrored.filter((one) => projects.some(({ id }) => id === one.name))) {
      await child.call({ service: 'identity', method: 'DELETE', path: `/projects/${project.id}`, accept: [404] });
    }
    await child.close();
  }
  rmSync(place.folder, { recursive: true, force: true });
}

/** What the parent's lanes still have to do in its children, by its own metrics. */
async function nothingOwed(place: Place): Promise<boolean> {
  const metrics = await (await fetch(`${place.url}/metrics`)).text();
  const backlogs = [...metrics.matchAll(/^headwater_child_backlog\{[^}]*\} (\d+)/gm)].map(([, value]) => Number(value));
  return backlogs.length === CHILDREN.length && backlogs.every((value) => value === 0);
}
