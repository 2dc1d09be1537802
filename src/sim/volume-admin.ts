/** Simulated Cinder beside its volumes: types, quotas, services, zones, limits. */
import { type Call, route, section, type Service } from './http.ts';
import { default_volume_quota, volumeUsage } from './volume.ts';
import { isTrue, micros, newId, type Row, rowOf, SimFault, textOf, type World } from './world.ts';

export function addTypes(world: World, service: Service): void {
  const { volumeTypes } = world.state;
  const policy = { policy: 'volume_extension:type_create' };
  const view = (row: Row): Row => ({ ...row, 'os-volume-type-access:is_public': row['is_public'] ?? true });
  const get = (call: Call): Row => {
    const id = call.params['id'] ?? '';
    const found = volumeTypes.get(id) ?? (id === 'default' ? [...volumeTypes.values()][0] : undefined);
    if (found === undefined) throw new SimFault(404, `Volume type ${id} could not be found.`);
    return found;
  };
  route(service, 'GET', '/types', () => ({ status: 200, body: { volume_types: [...volumeTypes.values()].map(view) } }));
  route(service, 'GET', '/types/:id', (call) => ({ status: 200, body: { volume_type: view(get(call)) } }));
  route(
    service,
    'POST',
    '/types',
    (call) => {
      const given = section(call, 'volume_type');
      const name = textOf(given['name']);
      if ([...volumeTypes.values()].some((one) => one['name'] === name))
        throw new SimFault(409, `Volume Type ${name} already exists.`);
      const is_public = given['os-volume-type-access:is_public'] ?? true;
      const row: Row = {
        id: newId(),
        name,
        is_public,
        description: given['description'] ?? null,
        extra_specs: given['extra_specs'] ?? {},
        qos_specs_id: null,
      };
      volumeTypes.set(textOf(row['id']), row);
      return { status: 200, body: { volume_type: view(row) } };
    },
    policy,
  );
  route(
    service,
    'PUT',
    '/types/:id',
    (call) => {
      const { name, description } = section(call, 'volume_type');
      Object.assign(get(call), {
        ...(name === undefined ? {} : { name }),
        ...(description === undefined ? {} : { description }),
      });
      return { status: 200, body: { volume_type: view(get(call)) } };
    },
    policy,
  );
  route(
    service,
    'DELETE',
    '/types/:id',
    (call) => {
      const id = textOf(get(call)['id']);
      if ([...world.state.volumes.values()].some((one) => one.volume_type_id === id)) {
        throw new SimFault(400, `Volume Type ${id} deletion is not allowed with volumes present with the type.`);
      }
      volumeTypes.delete(id);
      return { status: 202 };
    },
    policy,
  );
  route(service, 'GET', '/types/:id/extra_specs', (call) => ({
    status: 200,
    body: { extra_specs: get(call)['extra_specs'] ?? {} },
  }));
  route(
    service,
    'POST',
    '/types/:id/extra_specs',
    (call) => {
      const type = get(call);
      type['extra_specs'] = { ...rowOf(type['extra_specs']), ...section(call, 'extra_specs') };
      return { status: 200, body: { extra_specs: section(call, 'extra_specs') } };
    },
    policy,
  );
  route(
    service,
    'DELETE',
    '/types/:id/extra_specs/:key',
    (call) => {
      const specs = rowOf(get(call)['extra_specs']);
      const key = call.params['key'] ?? '';
      if (!(key in specs))
        throw new SimFault(404, `Volume Type ${call.params['id']} has no extra specs with key ${key}.`);
      delete specs[key];
      return { status: 202 };
    },
    policy,
  );
}

export function addAdministration(world: World, service: Service): void {
  const quotas = world.state.volumeQuotas;
  route(service, 'GET', '/os-quota-sets/:id', (call) => {
    const id = call.params['id'] ?? '';
    const { limit, used } = volumeUsage(world, id);
    const rows = Object.entries(limit).map(([name, value]) => [
      name,
      isTrue(call.query.get('usage') ?? '') ? { limit: value, in_use: used[name] ?? 0, reserved: 0 } : value,
    ]);
    return { status: 200, body: { quota_set: { ...Object.fromEntries(rows), id } } };
  });
  route(service, 'GET', '/os-quota-sets/:id/defaults', (call) => ({
    status: 200,
    body: { quota_set: { ...default_volume_quota, id: call.params['id'] ?? '' } },
  }));
  route(
    service,
    'PUT',
    '/os-quota-sets/:id',
    (call) => {
      const id = call.params['id'] ?? '';
      const given = Object.entries(section(call, 'quota_set')).filter(([name]) => name !== 'tenant_id');
      quotas.set(id, { ...quotas.get(id), ...Object.fromEntries(given.map(([name, value]) => [name, Number(value)])) });
      return { status: 200, body: { quota_set: volumeUsage(world, id).limit } };
    },
    { policy: 'volume_extension:quotas:update' },
  );
  route(
    service,
    'DELETE',
    '/os-quota-sets/:id',
    (call) => {
      quotas.delete(call.params['id'] ?? '');
      return { status: 200 };
    },
    { policy: 'volume_extension:quotas:delete' },
  );
  route(
    service,
    'GET',
    '/os-services',
    () => {
      const common = {
        status: 'enabled',
        state: 'up',
        updated_at: micros(Date.now()),
        disabled_reason: null,
        cluster: null,
      };
      const zone = world.zones[0] ?? 'nova';
      const volumes = {
        ...common,
        binary: 'cinder-volume',
        host: `${world.name}@sim`,
        zone,
        backend_state: 'up',
        replication_status: 'disabled',
        active_backend_id: null,
        frozen: false,
      };
      return {
        status: 200,
        body: { services: [volumes, { ...common, binary: 'cinder-scheduler', host: world.name, zone }] },
      };
    },
    { policy: 'volume_extension:services:index' },
  );
  route(service, 'GET', '/os-availability-zone', () => ({
    status: 200,
    body: { availabilityZoneInfo: world.zones.map((zoneName) => ({ zoneName, zoneState: { available: true } })) },
  }));
  route(service, 'GET', '/limits', (call) => {
    const { limit, used } = volumeUsage(world, call.projectId);
    const absolute = {
      maxTotalVolumes: limit['volumes'] ?? -1,
      maxTotalSnapshots: limit['snapshots'] ?? -1,
      maxTotalVolumeGigabytes: limit['gigabytes'] ?? -1,
      maxTotalBackups: limit['backups'] ?? -1,
      maxTotalBackupGigabytes: limit['backup_gigabytes'] ?? -1,
      totalVolumesUsed: used['volumes'] ?? 0,
      totalGigabytesUsed: used['gigabytes'] ?? 0,
      totalSnapshotsUsed: used['snapshots'] ?? 0,
      totalBackupsUsed: 0,
      totalBackupGigabytesUsed: 0,
    };
    return { status: 200, body: { limits: { rate: [], absolute } } };
  });
}
