/** Simulated Nova beside its servers: flavors, keypairs, quotas, zones, services, hypervisors, limits. */
import { addHosts } from './compute-host.ts';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { type Call, type Reply, route, section, type Service } from './http.ts';
import { computeFault, negotiator, page, pageBody } from './paging.ts';
import type { Flavor, Keypair } from './server.ts';
import { addServers } from './server-api.ts';
import { computeUsage, default_compute_quota } from './server-life.ts';
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
