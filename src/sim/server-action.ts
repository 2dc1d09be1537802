/** What can be done to a simulated server: its actions, from which states, over which states, to which. */
import type { Call, Reply } from './http.ts';
import { fillImage, makeImage, mayUseImage } from './image.ts';
import { serverPorts } from './network-port.ts';
import { type Server, serverView } from './server.ts';
import { change, deleteServer, fail } from './server-life.ts';
import { migrateLive, requireAdmin } from './server-more.ts';
import { type Json, randomText, type Row, rowOf, SimFault, textMap, textOf, type World } from './world.ts';

type Action = (world: World, server: Server, call: Call, given: Json) => Reply;

/** Nova's 409 where the server is not in a state for it. */
export function requireState(server: Server, action: string, vmStates: readonly string[]): void {
  const refuse = (what: string, state: string): SimFault =>
    new SimFault(409, `Cannot '${action}' instance ${server.id} while it is in ${what} ${state}`);
  if (!vmStates.includes(server.vmState)) throw refuse('vm_state', server.vmState);
  if (server.taskState !== null) throw refuse('task_state', server.taskState);
}

/** Walks the server over its task states, `action_ms` in all, then to the end; a delete in between wins. */
function work(world: World, server: Server, tasks: readonly string[], end: Partial<Server>): void {
  const [task, ...rest] = tasks;
  if (task === undefined) {
    change(server, { ...end, taskState: null });
    return;
  }
  change(server, { taskState: task });
  world.later(world.timing.action_ms / (rest.length + 1), () => {
    if (!server.isDeleted && server.taskState === task) work(world, server, rest, end);
  });
}

const simple =
  (name: string, from: readonly string[], tasks: readonly string[], end: Partial<Server>): Action =>
  (world, server) => {
    requireState(server, name, from);
    work(world, server, tasks, end);
    return { status: 202 };
  };

const reboot: Action = (world, server, _call, given) => {
  const type = textOf(rowOf(given)['type']);
  if (type !== 'SOFT' && type !== 'HARD')
    throw new SimFault(
      400,
      `Invalid input for field/attribute type. Value: ${type}. '${type}' is not one of ['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']`,
    );
  requireState(server, 'reboot', type === 'SOFT' ? ['active'] : ['active', 'stopped', 'paused', 'suspended', 'error']);
  work(world, server, [type === 'SOFT' ? 'rebooting' : 'rebooting_hard'], {
    vmState: 'active',
    powerState: 1,
    fault: undefined,
  });
  return { status: 202 };
};

const resize: Action = (world, server, _call, given) => {
  requireState(server, 'resize', ['active', 'stopped']);
  const id = textOf(rowOf(given)['flavorRef']);
  const flavor = world.state.flavors.get(id);
  if (flavor === undefined) throw new SimFault(400, `Flavor ${id} could not be found.`);
  if (flavor.id === server.flavor.id) throw new SimFault(400, 'When resizing, instances must change flavor!');
  const beforeResize = { flavor: server.flavor, vmState: server.vmState };
  work(world, server, ['resize_prep', 'resize_migrating', 'resize_migrated', 'resize_finish'], {
    vmState: 'resized',
    flavor: structuredClone(flavor),
    beforeResize,
  });
  return { status: 202 };
};

const confirmResize: Action = (_world, server) => {
  requireState(server, 'confirmResize', ['resized']);
  change(server, { vmState: server.beforeResize?.vmState ?? 'active', beforeResize: undefined });
  return { status: 204 };
};

const revertResize: Action = (world, server) => {
  requireState(server, 'revertResize', ['resized']);
  const { flavor, vmState } = server.beforeResize ?? { flavor: server.flavor, vmState: 'active' };
  work(world, server, ['resize_reverting'], { vmState, flavor, beforeResize: undefined });
  return { status: 202 };
};

const createImage: Action = (world, server, call, given) => {
  requireState(server, 'createImage', ['active', 'stopped', 'paused', 'suspended']);
  const name = textOf(rowOf(given)['name']);
  if (name === '')
    throw new SimFault(400, "Invalid input for field/attribute createImage. 'name' is a required property");
  const source = world.state.images.get(server.imageId);
  const image = makeImage(world, server.projectId, {
    name,
    ...textMap(rowOf(given)['metadata']),
    visibility: 'private',
    min_disk: server.flavor.disk,
    base_image_ref: server.imageId,
    instance_uuid: server.id,
    image_type: 'snapshot',
    user_id: server.userId,
    owner_id: server.projectId,
    disk_format: source?.fields['disk_format'] ?? 'qcow2',
    container_format: source?.fields['container_format'] ?? 'bare',
  });
  work(world, server, ['image_snapshot', 'image_pending_upload', 'image_uploading'], {});
  world.later(world.timing.action_ms, () => {
    if (world.state.images.has(image.id)) fillImage(image, Buffer.from(`snapshot of ${server.id} as ${name}\n`));
  });
  const location = `${world.root()}/image/v2/images/${image.id}`;
  if (call.minor < 45) return { status: 202, headers: { location } };
  return { status: 202, body: { image_id: image.id } };
};

const rebuild: Action = (world, server, call, given) => {
  requireState(server, 'rebuild', ['active', 'stopped', 'error', 'suspended', 'paused']);
  const { imageRef, name, metadata, description } = rowOf(given);
  const image = world.state.images.get(textOf(imageRef));
  if (image === undefined || !mayUseImage(image, call.projectId, call.isAdmin))
    throw new SimFault(400, 'Cannot find image for rebuild');
  const wasStopped = server.vmState === 'stopped';
  change(server, {
    imageId: image.id,
    ...(typeof name === 'string' ? { name } : {}),
    ...(typeof description === 'string' ? { description } : {}),
    ...(metadata === undefined ? {} : { metadata: textMap(metadata) }),
  });
  const end = wasStopped ? { vmState: 'stopped', powerState: 4 } : { vmState: 'active', powerState: 1 };
  work(world, server, ['rebuilding', 'rebuild_spawning'], { ...end, fault: undefined });
  return { status: 202, body: { server: { ...serverView(world, call, server), adminPass: randomText(9) } } };
};

const rescue: Action = (world, server, call, given) => {
  requireState(server, 'rescue', ['active', 'stopped', 'error']);
  const ref = textOf(rowOf(given)['rescue_image_ref']);
  const image = world.state.images.get(ref);
  if (ref !== '' && (image === undefined || !mayUseImage(image, call.projectId, call.isAdmin))) {
    throw new SimFault(400, `Requested rescue image '${ref}' is not supported`);
  }
  const isStable = ['hw_rescue_bus', 'hw_rescue_device'].every((name) => image?.fields[name] !== undefined);
  if (server.imageId === '' && !(call.minor >= 87 && isStable)) {
    throw new SimFault(400, `Instance ${server.id} cannot be rescued: Cannot rescue a volume-backed instance`);
  }
  work(world, server, ['rescuing'], { vmState: 'rescued', powerState: 1 });
  return { status: 200, body: { adminPass: randomText(9) } };
};

const setLock =
  (isLocked: boolean): Action =>
  (_world, server, call, given) => {
    const reason = call.minor >= 73 && isLocked ? textOf(rowOf(given)['locked_reason']) || null : null;
    // Nova's lock changes `updated` too.
    change(server, { isLocked, lockedReason: reason });
    return { status: 202 };
  };

const resetState: Action = (_world, server, call, given) => {
  if (!call.isAdmin)
    throw new SimFault(403, "Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed.");
  const state = textOf(rowOf(given)['state']);
  if (state !== 'active' && state !== 'error')
    throw new SimFault(
      400,
      `Invalid input for field/attribute state. Value: ${state}. '${state}' is not one of ['active', 'error']`,
    );
  change(server, { vmState: state, taskState: null });
  return { status: 202 };
};

const consoleOutput: Action = (_world, server, _call, given) => {
  if (server.vmState === 'building') throw new SimFault(409, `Instance ${server.id} is not ready`);
  const lines = Array.from({ length: 100 }, (_, index) => `${server.id} fake boot line ${index + 1}`);
  const { length } = rowOf(given);
  const wanted = length === undefined || length === null || Number(length) < 0 ? lines.length : Number(length);
  return { status: 200, body: { output: wanted === 0 ? '' : lines.slice(-wanted).join('\n') } };
};

const setGroup =
  (isAdding: boolean): Action =>
  (world, server, _call, given) => {
    const name = textOf(rowOf(given)['name']);
    const group = [...world.state.securityGroups.values()].find(
      (one) => one['id'] === name || (one['name'] === name && one['project_id'] === server.projectId),
    );
    const id = textOf(group?.['id']);
    if (id === '') throw new SimFault(404, `Security group ${name} not found for project ${server.projectId}.`);
    for (const port of serverPorts(world, server.id)) {
      const others = port.security_groups.filter((one) => one !== id);
      if (!isAdding && others.length === port.security_groups.length) {
        throw new SimFault(404, `Security group ${name} is not associated with the instance ${server.id}`);
      }
      port.security_groups = isAdding ? [...others, id] : others;
    }
    return { status: 202 };
  };

const remove: Action = (world, server) => {
  deleteServer(world, server);
  return { status: 202 };
};

const running: Partial<Server> = { vmState: 'active', powerState: 1 };
const settled = ['active', 'stopped', 'paused', 'suspended'];

/** The image that a shelved server waits in is there before the answer is, as in Nova. */
const shelve: Action = (world, server) => {
  requireState(server, 'shelve', settled);
  const image = makeImage(world, server.projectId, {
    name: `${server.name}-shelved`,
    visibility: 'private',
    min_disk: server.flavor.disk,
    instance_uuid: server.id,
    image_type: 'snapshot',
    disk_format: 'qcow2',
    container_format: 'bare',
  });
  work(world, server, ['shelving', 'shelving_image_uploading', 'shelving_offloading'], {
    vmState: 'shelved_offloaded',
    powerState: 4,
    host: null,
  });
  world.later(world.timing.action_ms / 2, () => {
    if (world.state.images.has(image.id)) fillImage(image, Buffer.from(`shelved ${server.id}\n`));
  });
  return { status: 202 };
};

const migrate: Action = (world, server, call) => {
  requireAdmin(call, 'os_compute_api:os-migrate-server:migrate');
  requireState(server, 'migrate', ['active', 'stopped']);
  work(world, server, ['resize_prep', 'resize_migrating', 'resize_migrated', 'resize_finish'], {
    vmState: 'resized',
    beforeResize: { flavor: server.flavor, vmState: server.vmState },
  });
  return { status: 202 };
};

const live: Action = (world, server, call) => {
  requireAdmin(call, 'os_compute_api:os-migrate-server:migrate_live');
  requireState(server, 'os-migrateLive', ['active', 'paused']);
  migrateLive(world, server);
  return { status: 202 };
};

/** As with a host that is up: Nova refuses; a test that wants it down disables its service. */
const evacuate: Action = (world, server, call) => {
  requireAdmin(call, 'os_compute_api:os-evacuate');
  requireState(server, 'evacuate', ['active', 'stopped', 'error']);
  const service = world.state.computeServices.get(server.host ?? '');
  if (service?.['forced_down'] !== true) {
    throw new SimFault(400, `Compute service of ${server.host} is still in use.`);
  }
  if (server.imageId === '' || world.state.images.has(server.imageId)) {
    work(world, server, ['rebuilding', 'rebuild_spawning'], { ...running, fault: undefined });
  } else {
    // The new host makes its disk of its image once more.
    change(server, { taskState: 'rebuilding' });
    world.later(world.timing.action_ms, () => fail(server, 404, `Image ${server.imageId} could not be found.`));
  }
  return { status: 200 };
};

const adminOnly =
  (rule: string): Action =>
  (_world, _server, call) => {
    requireAdmin(call, rule);
    return { status: 202 };
  };

const crashDump: Action = (_world, server) => {
  requireState(server, 'trigger_crash_dump', ['active', 'paused', 'rescued', 'resized', 'error']);
  return { status: 202 };
};

const actions: Readonly<Record<string, Action>> = {
  migrate,
  'os-migrateLive': live,
  evacuate,
  injectNetworkInfo: adminOnly('os_compute_api:os-admin-actions:inject_network_info'),
  trigger_crash_dump: crashDump,
  restore: simple('restore', ['soft-delete'], ['restoring'], running),
  'os-stop': simple('stop', ['active', 'error'], ['powering-off'], { vmState: 'stopped', powerState: 4 }),
  'os-start': simple('start', ['stopped'], ['powering-on'], running),
  reboot,
  pause: simple('pause', ['active'], ['pausing'], { vmState: 'paused', powerState: 3 }),
  unpause: simple('unpause', ['paused'], ['unpausing'], running),
  suspend: simple('suspend', ['active'], ['suspending'], { vmState: 'suspended', powerState: 4 }),
  resume: simple('resume', ['suspended'], ['resuming'], running),
  resize,
  confirmResize,
  revertResize,
  createImage,
  rebuild,
  rescue,
  unrescue: simple('unrescue', ['rescued'], ['unrescuing'], running),
  shelve,
  shelveOffload: simple('shelveOffload', ['shelved'], ['shelving_offloading'], {
    vmState: 'shelved_offloaded',
    host: null,
  }),
  unshelve: (world, server, call, given) => {
    requireState(server, 'unshelve', ['shelved', 'shelved_offloaded']);
    const asked = call.minor < 77 ? '' : textOf(rowOf(given)['availability_zone']);
    const zone = asked === '' ? server.zone : asked;
    if (!world.zones.includes(zone)) throw new SimFault(400, 'The requested availability zone is not available');
    work(world, server, ['unshelving', 'spawning'], { ...running, zone, host: `${world.name}-${zone}-1` });
    world.later(world.timing.action_ms, () => {
      for (const [id, { fields }] of world.state.images) {
        if (fields['instance_uuid'] === server.id && fields['name'] === `${server.name}-shelved`) {
          world.state.images.delete(id);
        }
      }
    });
    return { status: 202 };
  },
  changePassword: simple('changePassword', ['active'], ['updating_password'], {}),
  lock: setLock(true),
  unlock: setLock(false),
  'os-resetState': resetState,
  'os-getConsoleOutput': consoleOutput,
  addSecurityGroup: setGroup(true),
  removeSecurityGroup: setGroup(false),
  forceDelete: remove,
};

// These neither change the server nor are hindered by its lock.
const free_of_lock = new Set([
  'os-getConsoleOutput',
  'lock',
  'unlock',
  'createImage',
  'addSecurityGroup',
  'removeSecurityGroup',
  'os-resetState',
]);

/** `POST /servers/{id}/action`. */
export function act(world: World, server: Server, call: Call, requestId: string): Reply {
  const [[name = '', given = null] = []] = Object.entries(rowOf(call.body) as Row);
  const action = actions[name];
  if (action === undefined) throw new SimFault(400, `There is no such action: ${name}`);
  // Nova keeps a server that is not yet scheduled in another place, where its actions don't look.
  if (server.host === null && server.vmState === 'building')
    throw new SimFault(404, `Instance ${server.id} could not be found.`);
  if (server.isLocked && !call.isAdmin && !free_of_lock.has(name))
    throw new SimFault(409, `Instance ${server.id} is locked`);
  const reply = action(world, server, call, given);
  const headers = { ...reply.headers, 'x-compute-request-id': requestId };
  server.actions.unshift({
    action: name.replace(/^os-/, ''),
    requestId,
    at_ms: Date.now(),
    userId: call.token.user.id,
  });
  return { ...reply, headers };
}
