/** Simulated Nova's servers API: lists, create, update, tags, metadata, volume attachments, interfaces. */
import { addInterfaces, addVolumes } from './server-attachment.ts';
import { type Call, type Reply, route, section, type Service } from './http.ts';
import { acceptServer } from './server-accept.ts';
import { page, pageBody, sorted } from './paging.ts';
import { type Server, obtainServer, serverLinks, serverView, statusOf } from './server.ts';
import { act } from './server-action.ts';
import { addMore } from './server-more.ts';
import { change, deleteServer } from './server-life.ts';
import {
  isTrue,
  micros,
  newId,
  randomText,
  type Row,
  rowOf,
  SimFault,
  textMap,
  textOf,
  textsOf,
  type World,
} from './world.ts';

const markerMissing = (id: string): SimFault => new SimFault(400, `marker [${id}] not found`);

function readTime(call: Call, name: string): number | undefined {
  const text = call.query.get(name);
  if (text === null) return undefined;
  const at_ms = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
  if (Number.isNaN(at_ms))
    throw new SimFault(
      400,
      `Invalid input for query parameters ${name}. Value: ${text}. '${text}' is not a 'date-time'`,
    );
  return at_ms;
}

function select(call: Call, servers: Iterable<Server>): Server[] {
  const { query, isAdmin } = call;
  const isAll = isTrue(query.get('all_tenants') ?? '') || query.get('all_tenants') === '';
  if (isAll && !isAdmin)
    throw new SimFault(403, "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed.");
  const since = readTime(call, 'changes-since');
  const before = call.minor >= 66 ? readTime(call, 'changes-before') : undefined;
  const isDeleted = isAdmin && isTrue(query.get('deleted') ?? '');
  const project = query.get('project_id') ?? query.get('tenant_id');
  const name = query.get('name');
  const tags = query.get('tags')?.split(',') ?? [];
  const values: Record<string, (server: Server) => string | null> = {
    uuid: (server) => server.id,
    image: (server) => server.imageId,
    flavor: (server) => server.flavor.id,
    host: (server) => server.host,
    vm_state: (server) => server.vmState,
    task_state: (server) => server.taskState,
    availability_zone: (server) => server.zone,
    user_id: (server) => server.userId,
    key_name: (server) => server.keyName,
    locked: (server) => String(server.isLocked),
  };
  const wanted = Object.entries(values).filter(([key]) => query.has(key));
  return [...servers].filter(
    (server) =>
      (isAll ? project === null || server.projectId === project : server.projectId === call.projectId) &&
      // Deleted servers show only where changes are asked for, as in Nova.
      (since !== undefined || before !== undefined ? true : server.isDeleted === isDeleted) &&
      (since === undefined || server.updatedAt_ms >= since) &&
      (before === undefined || server.updatedAt_ms <= before) &&
      (name === null || new RegExp(name, 'i').test(server.name)) &&
      (!query.has('status') || query.getAll('status').some((status) => status.toUpperCase() === statusOf(server))) &&
      tags.every((tag) => server.tags.includes(tag)) &&
      wanted.every(([key, valueOf]) =>
        query.getAll(key).some((one) => one.toLowerCase() === String(valueOf(server)).toLowerCase()),
      ),
  );
}

const sortValue = (server: Server, key: string): string | number => {
  const values: Record<string, string | number> = {
    updated_at: server.updatedAt_ms,
    display_name: server.name,
    vm_state: server.vmState,
    uuid: server.id,
    host: server.host ?? '',
    project_id: server.projectId,
  };
  return values[key] ?? '';
};

function addLists(world: World, service: Service): void {
  for (const isDetail of [true, false]) {
    route(service, 'GET', isDetail ? '/servers/detail' : '/servers', (call) => {
      const found = page(call, sorted(call, select(call, world.state.servers.values()), sortValue), markerMissing);
      const rows = found.page.map(
        (one): Row =>
          isDetail ? serverView(world, call, one) : { id: one.id, name: one.name, links: serverLinks(world, one.id) },
      );
      const self = `${world.root()}/compute/v2.1${call.path}`;
      return { status: 200, body: pageBody(call, 'servers', self, rows, found.page.at(-1)?.id, found.hasMore) };
    });
  }
}

function addTags(world: World, service: Service): void {
  const refuseOld = (call: Call): void => {
    if (call.minor < 26) throw new SimFault(404, 'The resource could not be found.');
  };
  const get = (call: Call): Server => {
    refuseOld(call);
    return obtainServer(world, call);
  };
  const noTag = (server: Server, tag: string): SimFault => new SimFault(404, `Server ${server.id} has no tag '${tag}'`);
  route(service, 'GET', '/servers/:id/tags', (call) => ({ status: 200, body: { tags: [...get(call).tags] } }));
  route(service, 'PUT', '/servers/:id/tags', (call) => {
    const server = get(call);
    change(server, { tags: [...new Set(textsOf(rowOf(call.body)['tags']))] });
    return { status: 200, body: { tags: [...server.tags] } };
  });
  route(service, 'DELETE', '/servers/:id/tags', (call) => {
    change(get(call), { tags: [] });
    return { status: 204 };
  });
  route(service, 'GET', '/servers/:id/tags/:tag', (call) => {
    const tag = call.params['tag'] ?? '';
    if (!get(call).tags.includes(tag)) throw noTag(get(call), tag);
    return { status: 204 };
  });
  route(service, 'PUT', '/servers/:id/tags/:tag', (call) => {
    const server = get(call);
    const tag = call.params['tag'] ?? '';
    if (server.tags.includes(tag)) return { status: 204 };
    change(server, { tags: [...server.tags, tag] });
    return { status: 201, headers: { location: `${world.root()}/compute/v2.1${call.path}` } };
  });
  route(service, 'DELETE', '/servers/:id/tags/:tag', (call) => {
    const server = get(call);
    const tag = call.params['tag'] ?? '';
    if (!server.tags.includes(tag)) throw noTag(server, tag);
    change(server, { tags: server.tags.filter((one) => one !== tag) });
    return { status: 204 };
  });
}

function addMetadata(world: World, service: Service): void {
  const path = '/servers/:id/metadata';
  const show = (server: Server): Reply => ({ status: 200, body: { metadata: { ...server.metadata } } });
  route(service, 'GET', path, (call) => show(obtainServer(world, call)));
  for (const method of ['POST', 'PUT']) {
    route(service, method, path, (call) => {
      const server = obtainServer(world, call);
      const given = textMap(section(call, 'metadata'));
      change(server, { metadata: { ...(method === 'POST' ? server.metadata : {}), ...given } });
      return show(server);
    });
  }
  route(service, 'PUT', `${path}/:key`, (call) => {
    const server = obtainServer(world, call);
    const meta = textMap(section(call, 'meta'));
    change(server, { metadata: { ...server.metadata, ...meta } });
    return { status: 200, body: { meta } };
  });
  route(service, 'DELETE', `${path}/:key`, (call) => {
    const server = obtainServer(world, call);
    const { [call.params['key'] ?? '']: gone, ...metadata } = server.metadata;
    if (gone === undefined) throw new SimFault(404, 'Metadata item was not found');
    change(server, { metadata });
    return { status: 204 };
  });
}

/** Diagnostics since 2.48: the same whatever the hypervisor. */
function diagnosticsOf(server: Server): Row {
  return {
    state: 'running',
    driver: 'libvirt',
    hypervisor: 'fake',
    hypervisor_os: 'linux',
    uptime: 0,
    config_drive: server.isConfigDrive,
    num_cpus: server.flavor.vcpus,
    num_nics: 0,
    num_disks: 0,
    cpu_details: [],
    disk_details: [],
    nic_details: [],
    memory_details: { maximum: server.flavor.ram, used: 0 },
  };
}

/** Registers everything below `/servers`. */
export function addServers(world: World, service: Service): void {
  addLists(world, service);
  route(service, 'POST', '/servers', (call) => {
    const server = acceptServer(world, call, section(call, 'server'));
    const requestId = `req-${newId()}`;
    server.actions.unshift({
      action: 'create',
      requestId,
      at_ms: Date.now(),
      userId: call.token.user.id,
    });
    const names = server.securityGroups.length > 0 ? server.securityGroups : ['default'];
    const body = {
      server: {
        id: server.id,
        links: serverLinks(world, server.id),
        'OS-DCF:diskConfig': 'MANUAL',
        security_groups: names.map((name) => ({ name })),
        adminPass: textOf(rowOf(rowOf(call.body)['server'])['adminPass']) || randomText(9),
      },
    };
    const location = `${world.root()}/compute/v2.1/servers/${server.id}`;
    return { status: 202, body, headers: { location, 'x-compute-request-id': requestId } };
  });
  route(service, 'GET', '/servers/:id', (call) => ({
    status: 200,
    body: { server: serverView(world, call, obtainServer(world, call)) },
  }));
  route(service, 'PUT', '/servers/:id', (call) => {
    const server = obtainServer(world, call);
    const { name, description } = section(call, 'server');
    change(server, {
      ...(typeof name === 'string' ? { name } : {}),
      ...(description === undefined || call.minor < 19 ? {} : { description: textOf(description) || null }),
    });
    return { status: 200, body: { server: serverView(world, call, server) } };
  });
  route(service, 'DELETE', '/servers/:id', (call) => {
    const server = obtainServer(world, call);
    if (server.isLocked && !call.isAdmin) throw new SimFault(409, `Instance ${server.id} is locked`);
    deleteServer(world, server);
    return { status: 204 };
  });
  route(service, 'POST', '/servers/:id/action', (call) =>
    act(world, obtainServer(world, call), call, `req-${newId()}`),
  );
  route(service, 'POST', '/servers/:id/remote-consoles', (call) => {
    const server = obtainServer(world, call);
    if (server.vmState !== 'active') throw new SimFault(409, `Instance ${server.id} is not ready`);
    const { protocol = 'vnc', type = 'novnc' } = rowOf(rowOf(call.body)['remote_console']);
    if (protocol !== 'vnc' && protocol !== 'serial') throw new SimFault(400, 'Unavailable console type.');
    const token = newId();
    world.state.consoles.add(token);
    const url =
      protocol === 'serial'
        ? `${world.root().replace(/^http/, 'ws')}/?token=${token}`
        : `${world.root()}/vnc_auto.html?path=${encodeURIComponent(`?token=${token}`)}`;
    return { status: 200, body: { remote_console: { protocol, type, url } } };
  });
  route(service, 'GET', '/servers/:id/os-instance-actions', (call) => {
    const server = obtainServer(world, call);
    const rows = server.actions.map((one) => ({
      action: one.action,
      instance_uuid: server.id,
      request_id: one.requestId,
      user_id: one.userId,
      project_id: server.projectId,
      start_time: micros(one.at_ms),
      message: null,
      updated_at: micros(one.at_ms),
    }));
    return { status: 200, body: { instanceActions: rows } };
  });
  route(service, 'GET', '/servers/:id/diagnostics', (call) => {
    const server = obtainServer(world, call);
    if (server.vmState !== 'active')
      throw new SimFault(409, `Instance ${server.id} is in an invalid state for 'get_diagnostics'`);
    return {
      status: 200,
      body: call.minor < 48 ? { cpu0_time: 17300000000, memory: server.flavor.ram * 1024 } : diagnosticsOf(server),
    };
  });
  addMore(world, service);
  addTags(world, service);
  addMetadata(world, service);
  addVolumes(world, service);
  addInterfaces(world, service);
}
