/**
 * A boot, up to its answer: everything it names is looked up, a child is chosen, and one transaction stores the server
 * with its quota, ports, volumes and the work that its proxy will find. Killed before the commit, nothing was asked
 * for; after it, everything that is needed to make the server is in the database.
 */
import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import type { Placement } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { badRequest, Fault, forbidden } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { QuotaExceeded } from '../../resource/quota.ts';
import { affordable, place, placeOf, requireZone, resolve, type Resolved, zoneOf } from './boot-lookup.ts';
import { projectOf } from './boot-quota.ts';
import { rootDevice } from './boot-devices.ts';
import { type CreateBody, counts } from './boot-request.ts';
import { findServerGroup, joinServerGroup, type ServerGroup } from '../server-group/server-group.ts';
import { placeMembers } from './boot-group.ts';
import { whyNowhere } from './boot-reason.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf } from './lookup.ts';
import { addressesOf, closeAction, faultOf, recordAction } from './records.ts';
import {
  type BootDevice,
  type BootRequest,
  canonicalIp,
  hostnameOf,
  keptProperties,
  type ServerRow,
  serverStore,
} from './resource.ts';
import { isTrue } from './schema.ts';
import { statusOf } from './state.ts';

export interface Boot {
  readonly rows: readonly ServerRow[];
  readonly reservation_id: string;
  readonly admin_pass: string;
}

const PASSWORD_LETTERS = 'abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789';

/** A password of letters and digits that cannot be mistaken for each other. */
export const randomPassword = (): string =>
  Array.from({ length: 12 }, () => PASSWORD_LETTERS[randomInt(PASSWORD_LETTERS.length)]).join('');

/**
 * Accepts a boot.
 * @throws Fault 400, 403 or 409 in Nova's words; nothing was stored then
 */
export async function boot(
  dependencies: ServerDependencies,
  context: RequestContext,
  body: CreateBody,
  hints: Readonly<Record<string, unknown>>,
): Promise<Boot> {
  const { minimum, maximum } = counts(body);
  const asked = placeOf(context, body);
  const { host } = asked;
  if (body.hostname !== undefined && maximum > 1) {
    throw badRequest('Unable to allocate a single hostname to multiple instances');
  }
  const [resolved, zones, group] = await Promise.all([
    resolve(dependencies, context, body, maximum),
    dependencies.cascade.zones(dependencies.db.query),
    groupOf(dependencies, context, hints),
  ]);
  const zone = zoneOf(zones, asked);
  requireZone(zones, zone, resolved.children);
  const alone =
    group === undefined ? await place(dependencies.db.query, dependencies, resolved, { zone, host }) : undefined;
  const count = await affordable(dependencies, context, resolved.flavor, minimum, maximum);
  const reservation_id = `r-${randomBytes(4).toString('hex')}`;
  const admin_pass = body.adminPass ?? randomPassword();
  try {
    const rows = await dependencies.db.transaction(async (tx) => {
      const placements =
        group === undefined
          ? undefined
          : await placeMembers(tx, dependencies, { context, group, resolved, zone, host, count });
      const made: ServerRow[] = [];
      for (let index = 0; index < count; index += 1) {
        const draft = draftOf(context, body, resolved, {
          index,
          count: maximum,
          zone,
          reservation_id,
          admin_pass,
        });
        const placement = placements === undefined ? alone : placements[index];
        made.push(
          placement === undefined
            ? await storeNowhere(tx, context, draft, await whyNowhere(tx, dependencies, resolved, { zone, host }))
            : await store(tx, dependencies, context, body, resolved, placement, draft),
        );
      }
      if (group !== undefined)
        await joinServerGroup(
          tx,
          group.id,
          made.map(({ id }) => id),
        );
      // Last, since other boots of the project wait for the counters from here on.
      const { vcpus, ram } = resolved.flavor;
      await dependencies.quotas.reserve(tx, projectOf(context), {
        instances: count,
        cores: vcpus * count,
        ram: ram * count,
      });
      return made;
    });
    for (const child of new Set(rows.map((row) => row.child))) if (child !== null) dependencies.cascade.poke(child);
    return { rows, reservation_id, admin_pass };
  } catch (error) {
    if (error instanceof QuotaExceeded) throw quotaFault(error);
    // The volumes of a boot went over Cinder's quota: Nova's API knows no 413.
    if (error instanceof Fault && error.status === 413) throw forbidden(error.message);
    throw error;
  }
}

/** The server group of a boot's hints. */
async function groupOf(
  { db }: ServerDependencies,
  context: RequestContext,
  hints: Readonly<Record<string, unknown>>,
): Promise<ServerGroup | undefined> {
  if (hints.group === undefined) return undefined;
  const id = String(hints.group).slice(0, 64);
  const group = await findServerGroup(db.query, context, id);
  if (group === undefined) throw badRequest(`Instance group ${id} could not be found.`);
  return group;
}

/** Nova's words for a quota that does not allow it. */
export function quotaFault({ over }: QuotaExceeded): Fault {
  const list = (values: readonly (string | number)[]): string => values.join(', ');
  const names = list(over.map(({ resource }) => resource));
  const requested = list(over.map((one) => one.requested));
  const used = list(over.map((one) => one.in_use));
  const limits = list(over.map((one) => one.limit));
  return forbidden(
    `Quota exceeded for ${names}: Requested ${requested}, but already used ${used} of ${limits} ${names}`,
  );
}

interface Draft {
  readonly index: number;
  readonly count: number;
  readonly zone: string | undefined;
  readonly reservation_id: string;
  readonly admin_pass: string;
}

function draftOf(context: RequestContext, body: CreateBody, resolved: Resolved, draft: Draft): ServerRow {
  const id = randomUUID();
  const { flavor, image, key, devices } = resolved;
  const name = draft.count === 1 ? body.name : `${body.name}-${draft.index + 1}`;
  const root = rootDevice(devices);
  const boot: BootRequest = {
    admin_pass: draft.admin_pass,
    block_devices: devices,
    personality: body.personality ?? [],
  };
  const now = new Date().toISOString();
  return {
    id,
    project_id: projectOf(context),
    created_at: now,
    updated_at: now,
    revision: 1,
    user_id: context.identity.user.id,
    name,
    hostname: body.hostname ?? hostnameOf(name, `server-${id}`),
    description: context.version >= 19 ? (body.description ?? null) : name,
    status: 'BUILD',
    vm_state: 'building',
    task_state: 'scheduling',
    power_state: 0,
    zone: draft.zone ?? '',
    pinned_zone: draft.zone ?? null,
    metadata: { ...body.metadata },
    access_ip_v4: body.accessIPv4 ?? '',
    access_ip_v6: canonicalIp(body.accessIPv6 ?? ''),
    disk_config: resolved.disk_config,
    config_drive: isTrue(body.config_drive) ? 'True' : '',
    volumes: [],
    locked: false,
    locked_reason: null,
    locked_by: null,
    tags: [...new Set(body.tags ?? [])],
    trusted_image_certificates: body.trusted_image_certificates == null ? null : [...body.trusted_image_certificates],
    key_name: key?.name ?? '',
    key_id: key?.id ?? null,
    child: null,
    child_id: null,
    flavor_id: flavor.id,
    flavor_copy: flavor,
    image_id: root === undefined ? (image?.id ?? '') : '',
    image_ref: root === undefined ? '' : (image?.id ?? ''),
    root_volume: null,
    inherited: {
      owner_user_name: context.identity.user.name,
      owner_project_name: context.identity.project?.name ?? '',
      boot_roles: context.identity.roles.join(','),
      ...keptProperties(resolved.boot_properties),
    },
    reservation_id: draft.reservation_id,
    launch_index: draft.index,
    root_device_name: null,
    user_data: body.user_data ?? null,
    address_list: {},
    groups: [],
    ips: [],
    fault_record: null,
    percent: 0,
    launched_at: null,
    terminated_at: null,
    deleted_at: null,
    attention: false,
    create_sent_at: null,
    delete_sent_at: null,
    acted_at: null,
    boot,
    pending: [],
    resize: null,
    shelved_image: null,
    kept_image: null,
    origin: null,
    disks: devices.filter(({ destination_type }) => destination_type === 'local'),
    facts: 0,
    facts_pushed: 0,
  };
}

/** As Nova does: the request was fine, the cloud had no place for it. The server says so until it is deleted. */
async function storeNowhere(tx: Tx, context: RequestContext, draft: ServerRow, why: string): Promise<ServerRow> {
  const { created_at, updated_at: _updated, ...rest } = draft;
  const row = await serverStore.insert(tx, {
    ...rest,
    vm_state: 'error',
    task_state: null,
    status: statusOf('error', null),
    fault_record: faultOf(why, created_at),
    boot: null,
  });
  await closeAction(tx, await recordAction(tx, row.id, 'create', askerOf(context)), why);
  return row;
}

async function store(
  tx: Tx,
  dependencies: ServerDependencies,
  context: RequestContext,
  body: CreateBody,
  resolved: Resolved,
  placement: Placement,
  draft: ServerRow,
): Promise<ServerRow> {
  const { created_at: _created, updated_at: _updated, ...rest } = draft;
  const { child, zone } = placement;
  const groups = body.security_groups?.flatMap(({ name }) => (name === undefined ? [] : [name]));
  const ports = await dependencies.network.attach(tx, context, resolved.networks, {
    server_id: draft.id,
    child,
    zone,
    is_new: true,
    security_groups: groups === undefined || groups.length === 0 ? undefined : [...new Set(groups)],
  });
  const devices = await attachVolumes(tx, dependencies, context, resolved, placement, draft);
  const row = await serverStore.insert(tx, {
    ...rest,
    ...addressesOf(ports),
    child,
    zone,
    attention: true,
    boot: draft.boot === null ? null : { ...draft.boot, block_devices: devices },
    root_volume: rootDevice(devices)?.uuid ?? null,
    volumes: devices.flatMap(({ destination_type, uuid, delete_on_termination }) =>
      destination_type === 'volume' && uuid !== null ? [{ id: uuid, delete_on_termination }] : [],
    ),
  });
  await recordAction(tx, row.id, 'create', askerOf(context));
  await dependencies.cascade.want(tx, child, 'server', row.id, { requestId: context.requestId });
  return row;
}

/** Volumes are made and reserved by the parent, so that in the end every device is a volume that exists. */
async function attachVolumes(
  tx: Tx,
  { volumes }: ServerDependencies,
  context: RequestContext,
  resolved: Resolved,
  { child, zone }: Placement,
  draft: ServerRow,
): Promise<BootDevice[]> {
  const devices: BootDevice[] = [];
  // The root comes first, since it gets the first of the names.
  const rank = ({ boot_index }: BootDevice): number => (boot_index === 0 ? 0 : 1);
  for (const device of resolved.devices.toSorted((one, other) => rank(one) - rank(other))) {
    if (device.destination_type !== 'volume') {
      devices.push(device);
      continue;
    }
    const { source_type, uuid, volume_size } = device;
    const { volume_type, device_name, tag, ...others } = device.rest;
    const id =
      source_type === 'volume'
        ? (uuid as string)
        : await volumes.create(tx, context, {
            size: volume_size ?? (await sizeOfSnapshot(tx, volumes, context, uuid)),
            ...(source_type === 'image' ? { image_id: uuid ?? undefined } : {}),
            ...(source_type === 'snapshot' ? { snapshot_id: uuid ?? undefined } : {}),
            // Nova boots from a blank one too, but from no volume that is not called bootable.
            ...(source_type === 'blank' && device.boot_index === 0 ? { bootable: true } : {}),
            ...(typeof volume_type === 'string' ? { volume_type } : {}),
            child,
            zone,
          });
    await volumes.attach(tx, id, {
      server_id: draft.id,
      delete_on_termination: device.delete_on_termination,
      ...(typeof device_name === 'string' ? { device: device_name } : {}),
      ...(typeof tag === 'string' ? { tag } : {}),
    });
    const rest = {
      ...others,
      ...(tag === undefined ? {} : { tag }),
      ...(device_name === undefined ? {} : { device_name }),
    };
    devices.push({ ...device, source_type: 'volume', uuid: id, rest });
  }
  return devices;
}

async function sizeOfSnapshot(
  tx: Tx,
  volumes: ServerDependencies['volumes'],
  context: RequestContext,
  id: string | null,
): Promise<number> {
  return id === null ? 0 : (await volumes.resolveSnapshot(tx, context, id)).size;
}
