/** Simulated Nova: what administrators ask of servers (moves and their migrations, events), and what guests tell. */
import { type Call, route, type Service } from './http.ts';
import { obtainServer, type Server } from './server.ts';
import { change } from './server-life.ts';
import { micros, rowOf, SimFault, textOf, type World } from './world.ts';

interface Migration {
  readonly id: number;
  readonly server: Server;
  status: string;
}

/** Live migrations by their world: they are not part of what a restart keeps. */
const migrations = new WeakMap<World, Migration[]>();

const migrationsOf = (world: World): Migration[] => {
  const known = migrations.get(world) ?? [];
  migrations.set(world, known);
  return known;
};

export function requireAdmin(call: Call, rule: string): void {
  if (!call.isAdmin) throw new SimFault(403, `Policy doesn't allow ${rule} to be performed.`);
}

/** Moves the server to the second host of its zone and back, taking `action_ms`; an abort in between leaves it where it was. */
export function migrateLive(world: World, server: Server): void {
  const known = migrationsOf(world);
  const migration: Migration = { id: known.length + 1, server, status: 'running' };
  known.push(migration);
  change(server, { taskState: 'migrating' });
  world.later(world.timing.action_ms, () => endMigration(migration, 'completed'));
}

function endMigration(migration: Migration, status: string): void {
  if (migration.status !== 'running') return;
  migration.status = status;
  const { server } = migration;
  if (!server.isDeleted && server.taskState === 'migrating') change(server, { taskState: null });
}

/** Registers the routes of all of these. */
export function addMore(world: World, service: Service): void {
  route(service, 'GET', '/servers/:id/os-instance-actions/:request', (call) => {
    const server = obtainServer(world, call);
    const found = server.actions.find(({ requestId }) => requestId === call.params['request']);
    if (found === undefined) throw new SimFault(404, `Action ${call.params['request']} not found`);
    const moment = micros(found.at_ms);
    const event = {
      event: `compute_${found.action}_instance`,
      start_time: moment,
      finish_time: moment,
      result: 'Success',
      hostId: 'somewhere',
      details: null,
    };
    return {
      status: 200,
      body: {
        instanceAction: {
          action: found.action,
          instance_uuid: server.id,
          request_id: found.requestId,
          user_id: found.userId,
          project_id: server.projectId,
          start_time: moment,
          message: null,
          events: [event],
        },
      },
    };
  });
  route(service, 'GET', '/servers/:id/topology', (call) => {
    const server = obtainServer(world, call);
    if (call.minor < 78) throw new SimFault(404, 'The resource could not be found.');
    const node = { vcpu_set: [0], siblings: [], memory_mb: server.flavor.ram, host_node: 0, cpu_pinning: {} };
    return { status: 200, body: { nodes: [node], pagesize_kb: 4 } };
  });
  route(service, 'GET', '/servers/:id/os-server-password', (call) => {
    const { id } = obtainServer(world, call);
    return { status: 200, body: { password: world.state.passwords.get(id) ?? '' } };
  });
  route(service, 'DELETE', '/servers/:id/os-server-password', (call) => {
    world.state.passwords.delete(obtainServer(world, call).id);
    return { status: 204 };
  });
  const running = (call: Call): Migration[] => {
    const server = obtainServer(world, call);
    return migrationsOf(world).filter((one) => one.server === server && one.status === 'running');
  };
  const one = (call: Call): Migration => {
    requireAdmin(call, 'os_compute_api:servers:migrations:show');
    const found = running(call).find(({ id }) => String(id) === call.params['migration']);
    if (found === undefined) throw new SimFault(404, `Migration ${call.params['migration']} not found`);
    return found;
  };
  route(service, 'GET', '/servers/:id/migrations', (call) => {
    requireAdmin(call, 'os_compute_api:servers:migrations:index');
    const rows = running(call).map(({ id, status, server }) => ({ id, status, server_uuid: server.id }));
    return { status: 200, body: { migrations: rows } };
  });
  route(service, 'DELETE', '/servers/:id/migrations/:migration', (call) => {
    endMigration(one(call), 'cancelled');
    return { status: 202 };
  });
  route(service, 'POST', '/servers/:id/migrations/:migration/action', (call) => {
    endMigration(one(call), 'completed');
    return { status: 202 };
  });
  route(service, 'POST', '/os-server-external-events', (call) => {
    requireAdmin(call, 'os_compute_api:os-server-external-events:create');
    const given = rowOf(call.body)['events'];
    const told = (Array.isArray(given) ? given : []).map((event) => rowOf(event));
    for (const event of told) {
      const id = textOf(event['server_uuid']);
      if (!world.state.servers.has(id)) throw new SimFault(404, 'No instances found for any event');
      world.state.events.set(id, [...(world.state.events.get(id) ?? []), event]);
    }
    return { status: 200, body: { events: told.map((event) => ({ ...event, code: 200, status: 'completed' })) } };
  });
}
