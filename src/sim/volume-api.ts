/** Simulated Cinder's API: volumes, snapshots, types, quotas, services. */
import { addAdministration, addTypes } from './volume-admin.ts';
import { type Call, type Reply, route, section, type Service } from './http.ts';
import { computeFault, negotiator, page, pageBody, sorted } from './paging.ts';
import {
  checkVolumeQuota,
  deleteVolume,
  detachVolume,
  makeVolume,
  setVolumeStatus,
  type Snapshot,
  snapshotMissing,
  type Volume,
  volumeMissing,
} from './volume.ts';
import {
  isTrue,
  micros,
  newId,
  nowInSeconds_ms,
  type Row,
  rowOf,
  SimFault,
  textMap,
  textOf,
  type World,
} from './world.ts';

const links = (world: World, volume: Volume): Row[] => [
  { rel: 'self', href: `${world.root()}/volume/v3/${volume.projectId}/volumes/${volume.id}` },
  { rel: 'bookmark', href: `${world.root()}/volume/${volume.projectId}/volumes/${volume.id}` },
];

function volumeView(world: World, call: Call, volume: Volume, isFull: boolean): Row {
  const attachments = volume.attachments.map((one) => ({
    id: volume.id,
    attachment_id: one.attachment_id,
    volume_id: volume.id,
    server_id: one.server_id,
    host_name: one.host,
    device: one.device,
    attached_at: micros(one.attachedAt_ms),
  }));
  const view: Row = {
    id: volume.id,
    status: volume.status,
    size: volume.size,
    availability_zone: volume.availability_zone,
    created_at: micros(volume.createdAt_ms),
    updated_at: volume.updatedAt_ms === undefined ? null : micros(volume.updatedAt_ms),
    name: volume.name,
    description: volume.description,
    volume_type: textOf(world.state.volumeTypes.get(volume.volume_type_id)?.['name']),
    snapshot_id: volume.snapshot_id,
    source_volid: volume.source_volid,
    metadata: { ...volume.metadata },
    links: links(world, volume),
    user_id: volume.userId,
    bootable: String(volume.bootable),
    encrypted: false,
    replication_status: null,
    consistencygroup_id: null,
    multiattach: volume.multiattach,
    attachments,
    migration_status: null,
  };
  if (call.minor >= 13) view['group_id'] = null;
  if (call.minor >= 21) view['provider_id'] = null;
  if (call.minor >= 48) Object.assign(view, { shared_targets: false, service_uuid: null });
  if (call.minor >= 61) view['cluster_name'] = null;
  if (call.minor >= 63) view['volume_type_id'] = volume.volume_type_id;
  if (call.minor >= 65) view['consumes_quota'] = true;
  if (volume.imageMetadata !== undefined) view['volume_image_metadata'] = volume.imageMetadata;
  if (isFull) {
    view['os-vol-tenant-attr:tenant_id'] = volume.projectId;
    if (call.isAdmin) {
      Object.assign(view, {
        'os-vol-mig-status-attr:migstat': null,
        'os-vol-mig-status-attr:name_id': null,
        'os-vol-host-attr:host': `${world.name}@sim#sim`,
      });
    }
  }
  return view;
}

function snapshotView(call: Call, snapshot: Snapshot, isFull: boolean): Row {
  const { id, name, description, volume_id, status, size, metadata } = snapshot;
  const updated_at = snapshot.updatedAt_ms === undefined ? null : micros(snapshot.updatedAt_ms);
  const view: Row = {
    id,
    created_at: micros(snapshot.createdAt_ms),
    updated_at,
    name,
    description,
    volume_id,
    status,
    size,
    metadata: { ...metadata },
  };
  if (call.minor >= 14) view['group_snapshot_id'] = null;
  if (call.minor >= 41) view['user_id'] = snapshot.userId;
  if (call.minor >= 65) view['consumes_quota'] = true;
  if (isFull) {
    view['os-extended-snapshot-attributes:project_id'] = snapshot.projectId;
    view['os-extended-snapshot-attributes:progress'] = status === 'available' ? '100%' : '0%';
  }
  return view;
}

type Listed = (Volume | Snapshot) & { readonly id: string };

/** Rows of the token's project, or of all with all_tenants, by the filters that Cinder takes. */
function select<Item extends Listed>(call: Call, items: Iterable<Item>): Item[] {
  const isAll = call.isAdmin && isTrue(call.query.get('all_tenants') ?? '');
  const wanted = ['name', 'status', 'volume_id', 'availability_zone', 'bootable', 'id'].filter((key) =>
    call.query.has(key),
  );
  const project = call.query.get('project_id');
  const metadata = call.query.get('metadata');
  const pairs = metadata === null ? [] : [...metadata.matchAll(/['"]([^'"]+)['"]\s*:\s*u?['"]([^'"]*)['"]/g)];
  return [...items].filter((item) => {
    const fields = new Map(Object.entries(item));
    return (
      (isAll ? project === null || item.projectId === project : item.projectId === call.projectId) &&
      wanted.every((key) => String(fields.get(key)) === call.query.get(key)) &&
      pairs.every(([, key = '', value]) => item.metadata[key] === value)
    );
  });
}

const valueOf = (item: Listed, key: string): string | number => {
  if (key === 'updated_at') return item.updatedAt_ms ?? 0;
  const value: unknown = new Map<string, unknown>(Object.entries(item)).get(key);
  return typeof value === 'number' ? value : String(value ?? '');
};

function listRoute<Item extends Listed>(
  world: World,
  service: Service,
  path: string,
  items: Map<string, Item>,
  missing: (id: string) => SimFault,
  view: (call: Call, item: Item, isFull: boolean) => Row,
): void {
  for (const isDetail of [true, false]) {
    route(service, 'GET', isDetail ? `/${path}/detail` : `/${path}`, (call) => {
      const found = page(call, sorted(call, select(call, items.values()), valueOf), missing);
      const rows = found.page.map((one) => {
        const full = view(call, one, true);
        if (isDetail || path === 'snapshots') return full;
        return { id: one.id, name: one.name, links: full['links'] ?? [] };
      });
      const self = `${world.root()}/volume/v3/${call.projectId}${call.path}`;
      const body = pageBody(call, path, self, rows, found.page.at(-1)?.id, found.hasMore);
      if (call.minor >= 45 && isTrue(call.query.get('with_count') ?? ''))
        body['count'] = select(call, items.values()).length;
      return { status: 200, body };
    });
  }
}

function obtain<Item extends Listed>(items: Map<string, Item>, call: Call, missing: (id: string) => SimFault): Item {
  const id = call.params['id'] ?? '';
  const found = items.get(id);
  if (found === undefined || !(call.isAdmin || found.projectId === call.projectId)) throw missing(id);
  return found;
}

function rename(item: Listed, given: Row): void {
  if (typeof given['name'] === 'string') item.name = given['name'];
  if (typeof given['description'] === 'string') item.description = given['description'];
  if (given['metadata'] !== undefined) item.metadata = textMap(given['metadata']);
  item.updatedAt_ms = nowInSeconds_ms();
}

function addMetadata<Item extends Listed>(service: Service, path: string, get: (call: Call) => Item): void {
  const show = (item: Item): Reply => ({ status: 200, body: { metadata: { ...item.metadata } } });
  route(service, 'GET', `/${path}/:id/metadata`, (call) => show(get(call)));
  for (const method of ['POST', 'PUT']) {
    route(service, method, `/${path}/:id/metadata`, (call) => {
      const item = get(call);
      item.metadata = { ...(method === 'PUT' ? {} : item.metadata), ...textMap(section(call, 'metadata')) };
      item.updatedAt_ms = nowInSeconds_ms();
      return show(item);
    });
  }
  route(service, 'DELETE', `/${path}/:id/metadata/:key`, (call) => {
    const item = get(call);
    const key = call.params['key'] ?? '';
    if (!(key in item.metadata)) throw new SimFault(404, `Metadata item was not found.`);
    delete item.metadata[key];
    return { status: 200 };
  });
}

function act(world: World, volume: Volume, call: Call): Reply {
  const [action = '', given] = Object.entries(rowOf(call.body))[0] ?? [];
  const inner = rowOf(given);
  if (action === 'os-extend') {
    const size = Number(inner['new_size']);
    if (volume.status !== 'available' && !(volume.status === 'in-use' && call.minor >= 42)) {
      throw new SimFault(
        400,
        `Invalid volume: Volume ${volume.id} status must be available to extend, but is ${volume.status}.`,
      );
    }
    if (!(size > volume.size)) {
      throw new SimFault(
        400,
        `Invalid input received: New size for extend must be greater than current size. (current: ${volume.size}, extended: ${size}).`,
      );
    }
    checkVolumeQuota(world, volume.projectId, { gigabytes: size - volume.size });
    const before = volume.status;
    setVolumeStatus(volume, 'extending');
    world.later(world.timing.volume_ms, () => {
      if (volume.status !== 'extending') return;
      volume.size = size;
      setVolumeStatus(volume, before);
    });
    return { status: 202 };
  }
  if (action === 'os-reset_status') {
    if (!call.isAdmin)
      throw new SimFault(
        403,
        "Policy doesn't allow volume_extension:volume_admin_actions:reset_status to be performed.",
      );
    if (typeof inner['status'] === 'string') setVolumeStatus(volume, inner['status']);
    if (inner['attach_status'] === 'detached') volume.attachments = [];
    return { status: 202 };
  }
  if (action === 'os-set_bootable') {
    volume.bootable = isTrue(inner['bootable']);
    return { status: 200 };
  }
  if (action === 'os-detach' || action === 'os-force_detach') {
    for (const one of volume.attachments) detachVolume(volume, one.server_id);
    return { status: 202 };
  }
  if (action === 'os-update_readonly_flag' || action === 'os-set_image_metadata') return { status: 202 };
  if (action === 'os-force_delete') {
    world.state.volumes.delete(volume.id);
    return { status: 202 };
  }
  throw new SimFault(400, `There is no such action: ${action}`);
}

function addSnapshots(world: World, service: Service): void {
  const { snapshots, volumes } = world.state;
  const get = (call: Call): Snapshot => obtain(snapshots, call, snapshotMissing);
  listRoute(world, service, 'snapshots', snapshots, snapshotMissing, snapshotView);
  route(service, 'POST', '/snapshots', (call) => {
    const given = section(call, 'snapshot');
    const volume = volumes.get(textOf(given['volume_id']));
    if (volume === undefined) throw volumeMissing(textOf(given['volume_id']));
    const isForced = isTrue(given['force']) || call.minor >= 66;
    if (!(volume.status === 'available' || (volume.status === 'in-use' && isForced))) {
      throw new SimFault(
        400,
        `Invalid volume: Volume ${volume.id} status must be available, but current status is: ${volume.status}.`,
      );
    }
    checkVolumeQuota(world, call.projectId, { snapshots: 1, gigabytes: volume.size });
    const snapshot: Snapshot = {
      id: newId(),
      projectId: call.projectId,
      userId: call.token.user.id,
      name: textOf(given['name']) || null,
      description: textOf(given['description']) || null,
      volume_id: volume.id,
      status: 'creating',
      size: volume.size,
      metadata: textMap(given['metadata']),
      createdAt_ms: nowInSeconds_ms(),
      updatedAt_ms: undefined,
    };
    snapshots.set(snapshot.id, snapshot);
    world.later(world.timing.volume_ms, () => {
      if (snapshot.status === 'creating')
        Object.assign(snapshot, { status: 'available', updatedAt_ms: nowInSeconds_ms() });
    });
    return { status: 202, body: { snapshot: snapshotView(call, snapshot, false) } };
  });
  route(service, 'GET', '/snapshots/:id', (call) => ({
    status: 200,
    body: { snapshot: snapshotView(call, get(call), true) },
  }));
  route(service, 'PUT', '/snapshots/:id', (call) => {
    rename(get(call), section(call, 'snapshot'));
    return { status: 200, body: { snapshot: snapshotView(call, get(call), false) } };
  });
  route(service, 'DELETE', '/snapshots/:id', (call) => {
    const snapshot = get(call);
    if (!['available', 'error'].includes(snapshot.status)) {
      throw new SimFault(
        400,
        'Invalid snapshot: Snapshot status must be one of available or error and must not be part of a group.',
      );
    }
    Object.assign(snapshot, { status: 'deleting', updatedAt_ms: nowInSeconds_ms() });
    world.later(world.timing.volume_ms, () => snapshots.delete(snapshot.id));
    return { status: 202 };
  });
  route(
    service,
    'POST',
    '/snapshots/:id/action',
    (call) => {
      const status = textOf(rowOf(rowOf(call.body)['os-reset_status'])['status']);
      if (status === '') throw new SimFault(400, 'There is no such action');
      get(call).status = status;
      return { status: 202 };
    },
    { policy: 'volume_extension:snapshot_admin_actions:reset_status' },
  );
  addMetadata(service, 'snapshots', get);
}

/** The volume service, mounted on `/volume/v3` with the project's id next in the path. */
export function volumeService(world: World): Service {
  const service: Service = {
    name: 'volume',
    mount: '/volume/v3',
    routes: [],
    strip: (path, token) => {
      const [, id = ''] = path.split('/');
      if (!/^[0-9a-f]{32}$/.test(id)) return path;
      if (token !== undefined && token.project?.id !== id) throw new SimFault(400, 'Malformed request url');
      return path.slice(id.length + 1);
    },
    renderFault: computeFault,
    unknownPath: { status: 404, text: '404 Not Found\n\nThe resource could not be found.\n\n   ' },
    negotiate: negotiator('volume', 3, 0, world.maximum.volume),
    forbidden: (policy) => new SimFault(403, `Policy doesn't allow ${policy} to be performed.`),
  };
  const { volumes } = world.state;
  const get = (call: Call): Volume => obtain(volumes, call, volumeMissing);
  listRoute(world, service, 'volumes', volumes, volumeMissing, (call, one, isFull) =>
    volumeView(world, call, one, isFull),
  );
  route(service, 'POST', '/volumes', (call) => {
    const volume = makeVolume(world, call.projectId, call.token.user.id, call.isAdmin, section(call, 'volume'));
    return { status: 202, body: { volume: volumeView(world, call, volume, false) } };
  });
  route(service, 'GET', '/volumes/:id', (call) => ({
    status: 200,
    body: { volume: volumeView(world, call, get(call), true) },
  }));
  route(service, 'PUT', '/volumes/:id', (call) => {
    rename(get(call), section(call, 'volume'));
    return { status: 200, body: { volume: volumeView(world, call, get(call), false) } };
  });
  route(service, 'DELETE', '/volumes/:id', (call) => {
    const volume = get(call);
    if (isTrue(call.query.get('cascade') ?? '')) {
      for (const one of world.state.snapshots.values())
        if (one.volume_id === volume.id) world.state.snapshots.delete(one.id);
    }
    deleteVolume(world, volume);
    return { status: 202 };
  });
  route(service, 'POST', '/volumes/:id/action', (call) => act(world, get(call), call));
  addMetadata(service, 'volumes', get);
  addSnapshots(world, service);
  addTypes(world, service);
  addAdministration(world, service);
  return service;
}
