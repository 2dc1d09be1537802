/** Takes away what Tempest leaves in a cloud: it forgets now and then, and a run that is broken off forgets it all. */
import { until } from '../e2e/harness/until.ts';
import type { CloudApi, CloudService } from '../src/openstack/contract.ts';
import { everything, microversion, type Named } from './target.ts';

interface Kind {
  readonly service: CloudService;
  readonly path: string;
  readonly collection: string;
  /** Lists those of all projects, where an administrator sees only his own by default. */
  readonly query?: Readonly<Record<string, string>>;
  /** What has to happen before it can be deleted. */
  readonly before?: (api: CloudApi, item: Named) => Promise<void>;
  /** Deletions that take their time, and hold up those after them. */
  readonly wait?: true;
}

const ALL = { all_tenants: '1' };

/** In the order in which they let go of each other. */
const KINDS: readonly Kind[] = [
  { service: 'compute', path: '/servers', collection: 'servers', query: ALL, wait: true },
  { service: 'compute', path: '/os-server-groups', collection: 'server_groups', query: { all_projects: '1' } },
  { service: 'volume', path: '/snapshots', collection: 'snapshots', query: ALL, wait: true },
  { service: 'volume', path: '/groups', collection: 'groups', query: ALL },
  { service: 'volume', path: '/volumes', collection: 'volumes', query: ALL, wait: true },
  { service: 'network', path: '/floatingips', collection: 'floatingips' },
  { service: 'network', path: '/routers', collection: 'routers', before: emptyRouter },
  { service: 'network', path: '/trunks', collection: 'trunks' },
  { service: 'network', path: '/ports', collection: 'ports' },
  { service: 'network', path: '/networks', collection: 'networks' },
  { service: 'network', path: '/security-groups', collection: 'security_groups' },
  { service: 'network', path: '/subnetpools', collection: 'subnetpools' },
  { service: 'network', path: '/address-scopes', collection: 'address_scopes' },
  { service: 'network', path: '/qos/policies', collection: 'policies' },
  { service: 'image', path: '/images', collection: 'images' },
  { service: 'compute', path: '/flavors', collection: 'flavors', query: { is_public: 'None' } },
  { service: 'compute', path: '/os-aggregates', collection: 'aggregates' },
  { service: 'volume', path: '/types', collection: 'volume_types', query: { is_public: 'None' } },
  { service: 'volume', path: '/qos-specs', collection: 'qos_specs' },
  { service: 'volume', path: '/group_types', collection: 'group_types' },
  { service: 'identity', path: '/users', collection: 'users' },
  { service: 'identity', path: '/groups', collection: 'groups' },
  { service: 'identity', path: '/projects', collection: 'projects' },
  { service: 'identity', path: '/roles', collection: 'roles' },
  { service: 'identity', path: '/domains', collection: 'domains', before: disableDomain },
];

/** The ids of what is in a cloud, by kind. */
export type Inventory = ReadonlyMap<Kind, ReadonlySet<string>>;

/** What is in a cloud now; a later sweep leaves it alone. */
export async function inventory(api: CloudApi): Promise<Inventory> {
  const found = new Map<Kind, ReadonlySet<string>>();
  for (const kind of KINDS) found.set(kind, new Set((await listOf(api, kind)).map(({ id }) => id)));
  return found;
}

/** Whether an object, not there before the run, is of Tempest's making. `projects` are the ids of Tempest's. */
export type Whose = (item: Named, projects: ReadonlySet<string>) => boolean;

/** For a cloud that others use too: by the prefix of the names that Tempest makes up, and by its projects. */
export const tempests: Whose = (item, projects) =>
  item.name.startsWith('tempest-') ||
  ['project_id', 'tenant_id', 'owner', 'os-vol-tenant-attr:tenant_id'].some((key) => projects.has(String(item[key])));

/** For a cloud of our own. */
export const everybodys: Whose = () => true;

/**
 * Deletes what came after `before` and is Tempest's; again until nothing more goes. Gives how many objects went, and
 * those that would not.
 */
export async function sweep(api: CloudApi, before: Inventory, whose: Whose): Promise<{ gone: number; left: string[] }> {
  const projects = new Set(
    (await everything(api, 'identity', '/projects', 'projects'))
      .filter(({ name }) => name.startsWith('tempest-'))
      .map(({ id }) => id),
  );
  let gone = 0;
  let left: string[] = [];
  for (let round = 0; round < 2; round++) {
    left = [];
    for (const kind of KINDS) {
      const ours = async () =>
        (await listOf(api, kind)).filter((item) => !before.get(kind)?.has(item.id) && whose(item, projects));
      for (const item of await ours()) {
        if (await remove(api, kind, item)) gone += 1;
        else left.push(`${kind.path.slice(1)} ${item.id} ${item.name}`);
      }
      if (kind.wait) {
        await until(`no ${kind.collection}`, async () => (await ours()).length === 0).catch(() => undefined);
      }
    }
    if (left.length === 0) break;
  }
  return { gone, left };
}

/** Empty where the cloud has no such thing. */
async function listOf(api: CloudApi, kind: Kind): Promise<Named[]> {
  try {
    const items = await everything(api, kind.service, kind.path, kind.collection, kind.query);
    // Nobody can delete a project's own, and it goes with the project.
    return items.filter((item) => kind.collection !== 'security_groups' || item.name !== 'default');
  } catch {
    return [];
  }
}

async function remove(api: CloudApi, kind: Kind, item: Named): Promise<boolean> {
  try {
    await kind.before?.(api, item);
    const path = `${kind.path}/${item.id}`;
    await api.call({ service: kind.service, method: 'DELETE', path, accept: [404], ...microversion(kind.service) });
    return true;
  } catch {
    return false;
  }
}

async function emptyRouter(api: CloudApi, router: Named): Promise<void> {
  const path = `/routers/${router.id}`;
  const change = { external_gateway_info: {}, routes: [] };
  await api.call({ service: 'network', method: 'PUT', path, body: { router: change } });
  for (const port of await everything(api, 'network', '/ports', 'ports', { device_id: router.id })) {
    const body = { port_id: port.id };
    const remove_path = `${path}/remove_router_interface`;
    await api.call({ service: 'network', method: 'PUT', path: remove_path, body, accept: [404, 409] });
  }
}

async function disableDomain(api: CloudApi, domain: Named): Promise<void> {
  const body = { domain: { enabled: false } };
  await api.call({ service: 'identity', method: 'PATCH', path: `/domains/${domain.id}`, body });
}
