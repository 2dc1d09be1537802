/**
 * The states of a server, as Nova knows them: what status they make, and which action may be asked for in which.
 * Follows nova.api.openstack.common and the decorators of nova.compute.api.
 */
import { conflict, type Fault } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import type { ServerRow } from './resource.ts';

const REBUILD = { rebuilding: 'REBUILD', rebuild_block_device_mapping: 'REBUILD', rebuild_spawning: 'REBUILD' };
const RESIZE = {
  resize_prep: 'RESIZE',
  resize_migrating: 'RESIZE',
  resize_migrated: 'RESIZE',
  resize_finish: 'RESIZE',
};

/** By vm_state: the usual status, and those that a task_state makes of it. */
const STATUSES: Readonly<
  Record<string, { readonly usual: string; readonly tasks?: Readonly<Record<string, string>> }>
> = {
  active: {
    usual: 'ACTIVE',
    tasks: {
      rebooting: 'REBOOT',
      reboot_pending: 'REBOOT',
      reboot_started: 'REBOOT',
      rebooting_hard: 'HARD_REBOOT',
      reboot_pending_hard: 'HARD_REBOOT',
      reboot_started_hard: 'HARD_REBOOT',
      updating_password: 'PASSWORD',
      migrating: 'MIGRATING',
      ...REBUILD,
      ...RESIZE,
    },
  },
  building: { usual: 'BUILD' },
  stopped: { usual: 'SHUTOFF', tasks: { ...RESIZE, ...REBUILD } },
  resized: { usual: 'VERIFY_RESIZE', tasks: { resize_reverting: 'REVERT_RESIZE' } },
  paused: { usual: 'PAUSED', tasks: { migrating: 'MIGRATING' } },
  suspended: { usual: 'SUSPENDED' },
  rescued: { usual: 'RESCUE' },
  error: { usual: 'ERROR', tasks: REBUILD },
  deleted: { usual: 'DELETED' },
  'soft-delete': { usual: 'SOFT_DELETED' },
  shelved: { usual: 'SHELVED' },
  shelved_offloaded: { usual: 'SHELVED_OFFLOADED' },
};

/** The status that Nova makes of the two states. */
export function statusOf(vmState: string, taskState: string | null): string {
  const of = STATUSES[vmState];
  return of?.tasks?.[taskState ?? ''] ?? of?.usual ?? 'UNKNOWN';
}

/**
 * The states that show as one of these statuses, for a list's filter.
 * @returns undefined where no status is one; `task_states` undefined where the task does not matter
 */
export function statesOf(
  statuses: readonly string[],
): { vm_states: string[]; task_states: string[] | undefined } | undefined {
  const wanted = new Set(statuses.map((status) => status.toUpperCase()));
  const vmStates = new Set<string>();
  const taskStates = new Set<string>();
  let anyTask = false;
  for (const [vmState, { usual, tasks }] of Object.entries(STATUSES)) {
    if (wanted.has(usual)) {
      vmStates.add(vmState);
      anyTask = true;
    }
    for (const [task, status] of Object.entries(tasks ?? {})) {
      if (!wanted.has(status)) continue;
      vmStates.add(vmState);
      taskStates.add(task);
    }
  }
  if (vmStates.size === 0) return undefined;
  return { vm_states: [...vmStates], task_states: anyTask ? undefined : [...taskStates] };
}

/** What an action asks of a server's states. */
export interface Requirement {
  /** As the refusal names it: `stop`. */
  readonly method: string;
  /** Undefined: any. */
  readonly vm?: readonly string[];
  /** Undefined: none may be under way; `any`: whatever is. */
  readonly task?: 'any' | readonly (string | null)[];
  /** Whether it must have run once; it must unless this says false. */
  readonly launched?: boolean;
  /** Whether a lock stands against it; it does unless this says false. */
  readonly lock?: boolean;
}

/** @throws Fault 409 where the server is locked, nowhere yet, or in a state that does not allow it */
export function requireState(row: ServerRow, context: RequestContext, wanted: Requirement): void {
  if (wanted.lock !== false && row.locked && !context.identity.isAdmin) {
    throw conflict(`Instance ${row.id} is locked`);
  }
  const refuse = (attribute: string, state: string | null): Fault =>
    conflict(`Cannot '${wanted.method}' instance ${row.id} while it is in ${attribute} ${state ?? 'None'}`);
  if (wanted.vm !== undefined && !wanted.vm.includes(row.vm_state)) throw refuse('vm_state', row.vm_state);
  if (wanted.task !== 'any' && !(wanted.task ?? [null]).includes(row.task_state)) {
    throw refuse('task_state', row.task_state);
  }
  if (wanted.launched !== false && row.launched_at === null) throw refuse('launched_at', null);
}

/** An action that is sent to the child as it is, and is over when the child's task is. */
export interface PlainAction extends Requirement {
  /** The body's key. */
  readonly action: string;
  /** The task shown from the request on. */
  readonly becomes: string;
  /** vm_states that show, after an answer that was lost or a 409, that it was done all the same. */
  readonly goal: readonly string[];
  readonly policy: string;
  readonly summary: string;
  readonly since?: number;
}

const shelvable = ['active', 'stopped', 'paused', 'suspended'];

export const PLAIN_ACTIONS: readonly PlainAction[] = [
  {
    action: 'os-stop',
    method: 'stop',
    vm: ['active', 'error'],
    becomes: 'powering-off',
    goal: ['stopped'],
    policy: 'os_compute_api:servers:stop',
    summary: 'Stop a server',
  },
  {
    action: 'os-start',
    method: 'start',
    vm: ['stopped'],
    becomes: 'powering-on',
    goal: ['active'],
    policy: 'os_compute_api:servers:start',
    summary: 'Start a server',
  },
  {
    action: 'pause',
    method: 'pause',
    vm: ['active'],
    becomes: 'pausing',
    goal: ['paused'],
    policy: 'os_compute_api:os-pause-server:pause',
    summary: 'Pause a server',
  },
  {
    action: 'unpause',
    method: 'unpause',
    vm: ['paused'],
    becomes: 'unpausing',
    goal: ['active'],
    policy: 'os_compute_api:os-pause-server:unpause',
    summary: 'Unpause a server',
  },
  {
    action: 'suspend',
    method: 'suspend',
    vm: ['active'],
    becomes: 'suspending',
    goal: ['suspended'],
    policy: 'os_compute_api:os-suspend-server:suspend',
    summary: 'Suspend a server',
  },
  {
    action: 'resume',
    method: 'resume',
    vm: ['suspended'],
    becomes: 'resuming',
    goal: ['active'],
    policy: 'os_compute_api:os-suspend-server:resume',
    summary: 'Resume a suspended server',
  },
  {
    action: 'unrescue',
    method: 'unrescue',
    vm: ['rescued'],
    becomes: 'unrescuing',
    goal: ['active', 'stopped'],
    policy: 'os_compute_api:os-unrescue',
    summary: 'Unrescue a server',
  },
  {
    action: 'shelve',
    method: 'shelve',
    vm: shelvable,
    becomes: 'shelving',
    goal: ['shelved', 'shelved_offloaded'],
    policy: 'os_compute_api:os-shelve:shelve',
    summary: 'Shelve a server',
  },
  {
    action: 'shelveOffload',
    method: 'shelveOffload',
    vm: ['shelved'],
    becomes: 'shelving_offloading',
    goal: ['shelved_offloaded'],
    policy: 'os_compute_api:os-shelve:shelve_offload',
    summary: 'Take a shelved server off its host',
  },
  {
    action: 'restore',
    method: 'restore',
    vm: ['soft-delete'],
    becomes: 'restoring',
    goal: ['active'],
    policy: 'os_compute_api:os-deferred-delete:restore',
    summary: 'Restore a server that its child deleted only softly',
  },
];

/** The tasks during which Nova takes another hard reboot. */
export const HARD_REBOOT_TASKS: readonly (string | null)[] = [
  null,
  'rebooting',
  'reboot_pending',
  'reboot_started',
  'resuming',
  'rebooting_hard',
  'unpausing',
  'pausing',
  'suspending',
];

/** States in which volumes may be attached and detached. */
export const VOLUME_STATES = [
  'active',
  'paused',
  'stopped',
  'resized',
  'soft-delete',
  'shelved',
  'shelved_offloaded',
] as const;

/** States in which metadata and tags may be changed. */
export const METADATA_STATES = ['active', 'paused', 'suspended', 'stopped'] as const;

/** What Nova calls the image of a shelved server, behind the server's name. */
export const SHELVED_SUFFIX = '-shelved';
