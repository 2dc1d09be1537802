/** Simulated Nova beside its servers: flavors, keypairs, quotas, zones, services, hypervisors, limits. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import { type Call, type Reply, route, section, type Service } from './http.ts';
import { computeFault, negotiator, page, pageBody } from './paging.ts';
import type { Flavor, Keypair } from './server.ts';
import { addServers } from './server-api.ts';
import { computeUsage, default_compute_quota, hostUsage } from './server-life.ts';
import { isTrue, micros, newId, type Row, rowOf, SimFault, textMap, textOf, type World } from './world.ts';

const flavorMissing = (id: string): SimFault => new SimFault(404, `Flavor ${id} could not be found.`);

function flavorView(world: World, call: Call, flavor: Flavor, isDetail: boolean): Row {
  const { id, name, ram, disk, swap, ephemeral, vcpus, is_public, rxtx_factor, description, extra_specs } = flavor;
  const links = [
    { rel: 'self', href: `${world.root()}/compute/v2.1/flavors/${id}` },
    { rel: 'bookmark', href: `${world.root()}/compute/flavors/${id}` },
  ];
  const view: Row = isDetail
    ? {
        id,
        name,
        ram,
        disk,
        swap: swap === 0 && call.minor < 75 ? '' : swap,
        'OS-FLV-EXT-DATA:ephemeral': ephemeral,
        'OS-FLV-DISABLED:disabled': false,
        vcpus,
        'os-flavor-access:is_public': is_public,
        rxtx_factor,
        links,
      }
    : { id, name, links };
  if (call.minor >= 55) view['description'] = description;
  if (isDetail && call.minor >= 61) view['extra_specs'] = { ...extra_specs };
  return view;
}

function addFlavors(world: World, service: Service): void {
  const { flavors } = world.state;
  const get = (call: Call): Flavor => {
    const found = flavors.get(call.params['id'] ?? '');
    if (found === undefined) throw flavorMissing(call.params['id'] ?? '');
    return found;
  };
  for (const isDetail of [true, false]) {
    route(service, 'GET', isDetail ? '/flavors/detail' : '/flavors', (call) => {
      const wanted = call.query.get('is_public')?.toLowerCase();
      const isAll = wanted === 'none' && call.isAdmin;
      const rows = [...flavors.values()].filter((one) => isAll || one.is_public === (wanted !== 'false'));
      const found = page(call, rows, (id) => new SimFault(400, `marker [${id}] not found`));
      const views = found.page.map((one) => flavorView(world, call, one, isDetail));
      const self = `${world.root()}/compute/v2.1${call.path}`;
      return { status: 200, body: pageBody(call, 'flavors', self, views, found.page.at(-1)?.id, found.hasMore) };
    });
  }
  const manage = { policy: 'os_compute_api:os-flavor-manage:create' };
  route(
    service,
    'POST',
    '/flavors',
    (call) => {
      const given = section(call, 'flavor');
      const lacking = ['name', 'ram', 'vcpus', 'disk'].find((key) => given[key] === undefined);
      if (lacking !== undefined)
        throw new SimFault(
          400,
          `Invalid input for field/attribute flavor. Value: ${JSON.stringify(given)}. '${lacking}' is a required property`,
        );
      const id = textOf(given['id']) === '' || given['id'] === 'auto' ? newId() : textOf(given['id']);
      const name = textOf(given['name']);
      if (flavors.has(id)) throw new SimFault(409, `Flavor with ID ${id} already exists.`);
      if ([...flavors.values()].some((one) => one.name === name))
        throw new SimFault(409, `Flavor with name ${name} already exists.`);
      const flavor: Flavor = {
        id,
        name,
        ram: Number(given['ram']),
        vcpus: Number(given['vcpus']),
        disk: Number(given['disk']),
        ephemeral: Number(given['OS-FLV-EXT-DATA:ephemeral'] ?? 0),
        swap: Number(given['swap'] ?? 0),
        rxtx_factor: Number(given['rxtx_factor'] ?? 1),
        is_public:
          given['os-flavor-access:is_public'] === undefined ? true : isTrue(given['os-flavor-access:is_public']),
        description: textOf(given['description']) || null,
        extra_specs: {},
      };
      flavors.set(id, flavor);
      return { status: 200, body: { flavor: flavorView(world, call, flavor, true) } };
    },
    manage,
  );
  route(service, 'GET', '/flavors/:id', (call) => ({
    status: 200,
    body: { flavor: flavorView(world, call, get(call), true) },
  }));
  route(
    service,
    'PUT',
    '/flavors/:id',
    (call) => {
      const flavor = get(call);
      flavor.description = textOf(section(call, 'flavor')['description']) || null;
      return { status: 200, body: { flavor: flavorView(world, call, flavor, true) } };
    },
    manage,
  );
  route(
    service,
    'DELETE',
    '/flavors/:id',
    (call) => {
      flavors.delete(get(call).id);
      return { status: 202 };
    },
    manage,
  );
  route(service, 'GET', '/flavors/:id/os-extra_specs', (call) => ({
    status: 200,
    body: { extra_specs: { ...get(call).extra_specs } },
  }));
  route(
    service,
    'POST',
    '/flavors/:id/os-extra_specs',
    (call) => {
      const given = textMap(section(call, 'extra_specs'));
      Object.assign(get(call).extra_specs, given);
      return { status: 200, body: { extra_specs: given } };
    },
    manage,
  );
  const noSpec = (id: string, key: string): SimFault =>
    new SimFault(404, `Flavor ${id} has no extra specs with key ${key}.`);
  route(service, 'GET', '/flavors/:id/os-extra_specs/:key', (call) => {
    const key = call.params['key'] ?? '';
    const value = get(call).extra_specs[key];
    if (value === undefined) throw noSpec(get(call).id, key);
    return { status: 200, body: { [key]: value } };
  });
  route(
    service,
    'PUT',
    '/flavors/:id/os-extra_specs/:key',
    (call) => {
      const given = textMap(call.body);
      Object.assign(get(call).extra_specs, given);
      return { status: 200, body: given };
    },
    manage,
  );
  route(
    service,
    'DELETE',
    '/flavors/:id/os-extra_specs/:key',
    (call) => {
      const flavor = get(call);
      const key = call.params['key'] ?? '';
      if (flavor.extra_specs[key] === undefined) throw noSpec(flavor.id, key);
      delete flavor.extra_specs[key];
      return { status: 200 };
    },
    manage,
  );
  route(
    service,
    'POST',
    '/flavors/:id/action',
    (call) => {
      const project = textOf(rowOf(rowOf(call.body)['addTenantAccess'])['tenant']);
      return {
        status: 200,
        body: { flavor_access: project === '' ? [] : [{ flavor_id: get(call).id, tenant_id: project }] },
      };
    },
    manage,
  );
}

function publicKeyOf(given: Row): { publicKey: string; privateKey: string | undefined } {
  if (typeof given['public_key'] === 'string') return { publicKey: given['public_key'], privateKey: undefined };
  const made = generateKeyPairSync('ed25519');
  const raw = made.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const part = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  const blob = Buffer.concat([part(Buffer.from('ssh-ed25519')), part(raw)]);
  const publicKey = `ssh-ed25519 ${blob.toString('base64')} Generated-by-Nova`;
  return { publicKey, privateKey: made.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() };
}

function fingerprint(publicKey: string): string {
  const blob = Buffer.from(publicKey.trim().split(/\s+/)[1] ?? '', 'base64');
  const length = blob.length > 4 ? blob.readUInt32BE(0) : 0;
  const type = blob.subarray(4, 4 + length).toString();
  // The type stands inside the blob again; where the two differ, or nothing follows, it is no key.
  if (length === 0 || publicKey.trim().split(/\s+/)[0] !== type || blob.length <= 4 + length + 4) {
    throw new SimFault(400, 'Keypair data is invalid: failed to generate fingerprint');
  }
  return createHash('md5')
    .update(blob)
    .digest('hex')
    .replaceAll(/(..)(?!$)/g, '$1:');
}

function addKeypairs(world: World, service: Service): void {
  const { keypairs } = world.state;
  const userOf = (call: Call): string => {
    const asked = call.minor >= 10 ? call.query.get('user_id') : null;
    if (asked !== null && asked !== call.token.user.id && !call.isAdmin)
      throw service.forbidden('os_compute_api:os-keypairs:index');
    return asked ?? call.token.user.id;
  };
  const view = (call: Call, { name, public_key, fingerprint: print, type }: Keypair): Row => ({
    name,
    public_key,
    fingerprint: print,
    ...(call.minor >= 2 ? { type } : {}),
  });
  const get = (call: Call): Keypair => {
    const name = call.params['name'] ?? '';
    const found = keypairs.get(`${userOf(call)}/${name}`);
    if (found === undefined) throw new SimFault(404, `Keypair ${name} not found for user ${userOf(call)}`);
    return found;
  };
  route(service, 'GET', '/os-keypairs', (call) => {
    const user = userOf(call);
    const mine = [...keypairs.values()].filter((one) => one.user_id === user);
    return { status: 200, body: { keypairs: mine.map((one) => ({ keypair: view(call, one) })) } };
  });
  route(service, 'GET', '/os-keypairs/:name', (call) => {
    const found = get(call);
    const extra = {
      user_id: found.user_id,
      deleted: false,
      created_at: micros(found.createdAt_ms),
      updated_at: null,
      deleted_at: null,
      id: 1,
    };
    return { status: 200, body: { keypair: { ...view(call, found), ...extra } } };
  });
  route(service, 'POST', '/os-keypairs', (call): Reply => {
    const given = section(call, 'keypair');
    const name = textOf(given['name']);
    if (name === '')
      throw new SimFault(400, `Invalid input for field/attribute keypair. Value: {}. 'name' is a required property`);
    if (call.minor >= 92 && given['public_key'] === undefined) {
      throw new SimFault(400, `Invalid input for field/attribute keypair. 'public_key' is a required property`);
    }
    const user_id = textOf(given['user_id']) || call.token.user.id;
    if (user_id !== call.token.user.id && !call.isAdmin) throw service.forbidden('os_compute_api:os-keypairs:create');
    if (keypairs.has(`${user_id}/${name}`)) throw new SimFault(409, `Key pair '${name}' already exists.`);
    const { publicKey, privateKey } = publicKeyOf(given);
    const print = fingerprint(publicKey);
    const made: Keypair = {
      name,
      user_id,
      type: textOf(given['type']) || 'ssh',
      public_key: publicKey,
      fingerprint: print,
      createdAt_ms: Date.now(),
    };
    keypairs.set(`${user_id}/${name}`, made);
    const keypair = { ...view(call, made), user_id, ...(privateKey === undefined ? {} : { private_key: privateKey }) };
    return { status: call.minor >= 2 ? 201 : 200, body: { keypair } };
  });
  route(service, 'DELETE', '/os-keypairs/:name', (call) => {
    const found = get(call);
    keypairs.delete(`${found.user_id}/${found.name}`);
    return { status: call.minor >= 2 ? 204 : 202 };
  });
}

function addQuotas(world: World, service: Service): void {
  const quotas = world.state.computeQuotas;
  route(service, 'GET', '/os-quota-sets/:id', (call) => {
    const id = call.params['id'] ?? '';
    return { status: 200, body: { quota_set: { id, ...computeUsage(world, id).limit } } };
  });
  route(service, 'GET', '/os-quota-sets/:id/defaults', (call) => ({
    status: 200,
    body: { quota_set: { id: call.params['id'] ?? '', ...default_compute_quota } },
  }));
  route(service, 'GET', '/os-quota-sets/:id/detail', (call) => {
    const { limit, used } = computeUsage(world, call.params['id'] ?? '');
    const rows = Object.entries(limit).map(([name, value]) => [
      name,
      { limit: value, in_use: used[name] ?? 0, reserved: 0 },
    ]);
    return { status: 200, body: { quota_set: { id: call.params['id'] ?? '', ...Object.fromEntries(rows) } } };
  });
  route(
    service,
    'PUT',
    '/os-quota-sets/:id',
    (call) => {
      const id = call.params['id'] ?? '';
      const { force: _force, tenant_id: _tenant, ...given } = section(call, 'quota_set');
      const unknown = Object.keys(given).find((name) => !(name in default_compute_quota));
      if (unknown !== undefined) {
        throw new SimFault(
          400,
          `Invalid input for field/attribute quota_set. Value: ${JSON.stringify(given)}. Additional properties are not allowed ('${unknown}' was unexpected)`,
        );
      }
      const wanted = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, Number(value)]));
      quotas.set(id, { ...quotas.get(id), ...wanted });
      return { status: 200, body: { quota_set: computeUsage(world, id).limit } };
    },
    { policy: 'os_compute_api:os-quota-sets:update' },
  );
  route(
    service,
    'DELETE',
    '/os-quota-sets/:id',
    (call) => {
      quotas.delete(call.params['id'] ?? '');
      return { status: 202 };
    },
    { policy: 'os_compute_api:os-quota-sets:delete' },
  );
  route(service, 'GET', '/limits', (call) => {
    const { limit, used } = computeUsage(world, call.projectId);
    const absolute = {
      maxTotalInstances: limit['instances'] ?? -1,
      maxTotalCores: limit['cores'] ?? -1,
      maxTotalRAMSize: limit['ram'] ?? -1,
      maxServerMeta: limit['metadata_items'] ?? -1,
      maxTotalKeypairs: limit['key_pairs'] ?? -1,
      maxServerGroups: limit['server_groups'] ?? -1,
      maxServerGroupMembers: limit['server_group_members'] ?? -1,
      totalRAMUsed: used['ram'] ?? 0,
      totalCoresUsed: used['cores'] ?? 0,
      totalInstancesUsed: used['instances'] ?? 0,
      totalServerGroupsUsed: 0,
    };
    return { status: 200, body: { limits: { rate: [], absolute } } };
  });
}

function addHosts(world: World, service: Service): void {
  const { computeServices } = world.state;
  for (const zone of world.zones) {
    const host = `${world.name}-${zone}-1`;
    computeServices.set(host, {
      id: newId(),
      hypervisorId: newId(),
      binary: 'nova-compute',
      host,
      zone,
      status: 'enabled',
      disabled_reason: null,
    });
  }
  const hosts = (): Row[] => [...computeServices.values()];
  const figures = (used: ReturnType<typeof hostUsage>, count: number): Row => {
    const { vcpus, memory_mb, disk_gb } = world.capacity;
    return {
      vcpus: vcpus * count,
      memory_mb: memory_mb * count,
      local_gb: disk_gb * count,
      vcpus_used: used.vcpus,
      memory_mb_used: used.memory_mb,
      local_gb_used: used.disk_gb,
      free_ram_mb: memory_mb * count - used.memory_mb,
      free_disk_gb: disk_gb * count - used.disk_gb,
      current_workload: 0,
      running_vms: used.servers,
      disk_available_least: 0,
    };
  };
  const live = { available: true, active: true };
  route(service, 'GET', '/os-availability-zone', () => ({
    status: 200,
    body: {
      availabilityZoneInfo: world.zones.map((zoneName) => ({ zoneName, zoneState: { available: true }, hosts: null })),
    },
  }));
  route(
    service,
    'GET',
    '/os-availability-zone/detail',
    () => {
      const updated_at = micros(Date.now());
      const internal = {
        zoneName: 'internal',
        zoneState: { available: true },
        hosts: {
          [world.name]: { 'nova-scheduler': { ...live, updated_at }, 'nova-conductor': { ...live, updated_at } },
        },
      };
      const zones = world.zones.map((zoneName) => ({
        zoneName,
        zoneState: { available: true },
        hosts: { [`${world.name}-${zoneName}-1`]: { 'nova-compute': { ...live, updated_at } } },
      }));
      return { status: 200, body: { availabilityZoneInfo: [internal, ...zones] } };
    },
    { policy: 'os_compute_api:os-availability-zone:detail' },
  );
  const serviceView = ({ hypervisorId: _hypervisor, ...row }: Row): Row => ({
    ...row,
    state: 'up',
    updated_at: micros(Date.now()),
    forced_down: false,
  });
  route(
    service,
    'GET',
    '/os-services',
    (call) => {
      const internal = ['nova-scheduler', 'nova-conductor'].map(
        (binary): Row => ({
          id: `${world.name}-${binary}`,
          binary,
          host: world.name,
          zone: 'internal',
          status: 'enabled',
          disabled_reason: null,
        }),
      );
      const rows = [...internal, ...hosts()].filter((one) =>
        ['binary', 'host'].every((key) => (call.query.get(key) ?? one[key]) === one[key]),
      );
      return { status: 200, body: { services: rows.map(serviceView) } };
    },
    { policy: 'os_compute_api:os-services:list' },
  );
  route(
    service,
    'PUT',
    '/os-services/:id',
    (call) => {
      const row = hosts().find((one) => one['id'] === call.params['id']);
      if (row === undefined) throw new SimFault(404, `Service ${call.params['id']} could not be found.`);
      const { status, disabled_reason } = rowOf(call.body);
      Object.assign(row, { ...(status === undefined ? {} : { status }), disabled_reason: disabled_reason ?? null });
      return { status: 200, body: { service: serviceView(row) } };
    },
    { policy: 'os_compute_api:os-services:update' },
  );
  const hypervisor = (call: Call, row: Row): Row => {
    const { id, hypervisorId, host, status, disabled_reason } = row;
    const view: Row = {
      id: hypervisorId ?? '',
      hypervisor_hostname: host ?? '',
      state: 'up',
      status: status ?? '',
      hypervisor_type: 'QEMU',
      hypervisor_version: 7_002_000,
      host_ip: '192.0.2.1',
      service: { id: id ?? '', host: host ?? '', disabled_reason: disabled_reason ?? null },
    };
    // Nova shows a host's figures up to 2.87 and its uptime from there on.
    if (call.minor >= 88) view['uptime'] = ' 13:05:24 up 13 min,  0 user,  load average: 0.73, 1.16, 0.82\n';
    else Object.assign(view, figures(hostUsage(world, textOf(host)), 1), { cpu_info: { arch: 'x86_64' } });
    return view;
  };
  const listPolicy = { policy: 'os_compute_api:os-hypervisors:list' };
  route(
    service,
    'GET',
    '/os-hypervisors/detail',
    (call) => ({ status: 200, body: { hypervisors: hosts().map((one) => hypervisor(call, one)) } }),
    listPolicy,
  );
  route(
    service,
    'GET',
    '/os-hypervisors',
    (call) => {
      const rows = hosts().map((one) => hypervisor(call, one));
      const pick = ({ id = '', hypervisor_hostname = '', state = '', status = '' }: Row): Row => ({
        id,
        hypervisor_hostname,
        state,
        status,
      });
      return { status: 200, body: { hypervisors: rows.map(pick) } };
    },
    listPolicy,
  );
  route(
    service,
    'GET',
    '/os-hypervisors/statistics',
    (call) => {
      if (call.minor >= 88) throw new SimFault(404, 'The resource could not be found.');
      const all = hosts().map((one) => hostUsage(world, textOf(one['host'])));
      const sum = all.reduce(
        (left, right) => ({
          vcpus: left.vcpus + right.vcpus,
          memory_mb: left.memory_mb + right.memory_mb,
          disk_gb: left.disk_gb + right.disk_gb,
          servers: left.servers + right.servers,
        }),
        { vcpus: 0, memory_mb: 0, disk_gb: 0, servers: 0 },
      );
      return { status: 200, body: { hypervisor_statistics: { count: all.length, ...figures(sum, all.length) } } };
    },
    listPolicy,
  );
}

/** The compute service, mounted on `/compute/v2.1`. */
export function computeService(world: World): Service {
  const service: Service = {
    name: 'compute',
    mount: '/compute/v2.1',
    routes: [],
    renderFault: computeFault,
    unknownPath: { status: 404, text: '404 Not Found\n\nThe resource could not be found.\n\n   ' },
    negotiate: negotiator('compute', 2, 1, world.maximum.compute),
    forbidden: (policy) => new SimFault(403, `Policy doesn't allow ${policy} to be performed.`),
  };
  addServers(world, service);
  addFlavors(world, service);
  addKeypairs(world, service);
  addQuotas(world, service);
  addHosts(world, service);
  return service;
}
