/** Unshelving: where the server was, in another zone of its child, or in another child (`move.ts`). */
import type { Placement } from '../../cascade/contract.ts';
import type { Tx } from '../../db/database.ts';
import { badRequest, conflict, type Fault } from '../../http/fault.ts';
import type { Call } from '../../http/service.ts';
import { groupOfServer } from '../server-group/server-group.ts';
import { attemptsOf } from './boot-group.ts';
import { NO_ROOM } from './boot-reason.ts';
import type { ServerDependencies } from './dependencies.ts';
import { askerOf, withServer } from './lookup.ts';
import { startMove } from './move.ts';
import { closeAction, recordAction } from './records.ts';
import type { ServerRow } from './resource.ts';
import { inner } from './rules.ts';
import { send } from './send.ts';
import { requireState } from './state.ts';

export type UnshelveBody = { readonly availability_zone?: string | null; readonly host?: string } | null;

/** Since when the body may name a zone, and since when a host. */
const ZONE_SINCE = 77;
const HOST_SINCE = 91;

/** Where to, as far as it was said: a zone, none (null) or the server's own (undefined); a host of it or any. */
interface Asked {
  readonly zone: string | null | undefined;
  readonly host: string | undefined;
}

type Zones = Awaited<ReturnType<ServerDependencies['cascade']['zones']>>;

/** @throws Fault 400 for a zone or host that there is not, 409 for one that the server cannot come up in */
export async function unshelve(dependencies: ServerDependencies, call: Call<UnshelveBody>): Promise<void> {
  const { context, body } = call;
  const asked: Asked = {
    zone: context.version >= ZONE_SINCE ? body?.availability_zone : undefined,
    host: context.version >= HOST_SINCE ? body?.host : undefined,
  };
  const { cascade, db } = dependencies;
  const zones = await cascade.zones(db.query);
  let to: string | undefined;
  await withServer(dependencies, call, async (tx, row) => {
    requireState(row, context, { method: 'unshelve', vm: ['shelved', 'shelved_offloaded'] });
    const children = await childrenFor(dependencies, tx, call, row, zones, asked);
    const { zone } = asked;
    if (row.child === null || children.includes(row.child)) {
      const body = typeof zone === 'string' ? { availability_zone: zone } : null;
      const patch = zone === undefined ? {} : { pinned_zone: zone, ...(zone === null ? {} : { zone }) };
      await send(dependencies, tx, row, call, 'unshelve', 'unshelve', body, 'unshelving', patch);
      return;
    }
    to = await moveTo(dependencies, tx, call, row, children, asked);
  });
  if (to !== undefined) cascade.poke(to);
}

/**
 * Children that the server may come up in; its own is among them where nothing speaks for another. In Nova's order.
 * @throws Fault 400 for a zone or host that there is not, 409 for a server that is on a host or a host in another zone
 */
async function childrenFor(
  { cascade }: ServerDependencies,
  tx: Tx,
  { context }: Call,
  row: ServerRow,
  zones: Zones,
  { zone, host }: Asked,
): Promise<readonly string[]> {
  if ((zone !== undefined || host !== undefined) && row.vm_state !== 'shelved_offloaded') {
    throw conflict(
      `Specifying an availability zone or a host when unshelving server "${row.id}" with status "${row.vm_state}" is not supported. The server status must be SHELVED_OFFLOADED.`,
    );
  }
  const named = typeof zone === 'string' ? zones.find(({ name }) => name === zone) : undefined;
  if (typeof zone === 'string' && named?.available !== true) {
    throw badRequest('The requested availability zone is not available');
  }
  if (host === undefined) return named?.children ?? [row.child ?? ''];
  context.enforce(inner.unshelveToHost.name);
  if (!(await cascade.children(tx)).some(({ name }) => name === host)) {
    throw badRequest(`Compute host ${host} could not be found.`);
  }
  const expected = zone === undefined ? row.pinned_zone : zone;
  if (expected !== null && !zones.some(({ name, children }) => name === expected && children.includes(host))) {
    throw conflict(`Host "${host}" is not in the availability zone "${expected}".`);
  }
  return [host];
}

/**
 * Chooses one of the children and has the server go there.
 * @returns the child, or none where none can have it now, which as in Nova only the server's record of actions tells
 * @throws Fault 409 where what hangs on the server cannot go there
 */
async function moveTo(
  dependencies: ServerDependencies,
  tx: Tx,
  call: Call,
  row: ServerRow,
  children: readonly string[],
  { zone, host }: Asked,
): Promise<string | undefined> {
  const { child, child_id, shelved_image } = row;
  const wanted = (zone === undefined ? row.pinned_zone : zone) ?? undefined;
  const place = wanted ?? host ?? '';
  refuseVolumes(row, place);
  if (child === null || child_id === null || shelved_image === null) {
    throw cannotGo(row, place, 'the image that it waits in is not known.');
  }
  const reachable = await reachableOf(dependencies, tx, row, children, place);
  const chosen = await choose(dependencies, tx, row, reachable, wanted);
  if (chosen === undefined) {
    const record = await recordAction(tx, row.id, 'unshelve', askerOf(call.context));
    await closeAction(tx, record, NO_ROOM);
    return undefined;
  }
  const to = { ...chosen, pinned_zone: zone === undefined ? row.pinned_zone : zone };
  await startMove(tx, dependencies, { ...row, child, child_id, shelved_image }, to, askerOf(call.context));
  return chosen.child;
}

/** As Nova does where volumes cannot be attached across zones: between clouds they never can. */
function refuseVolumes({ volumes, zone }: ServerRow, place: string): void {
  const [volume] = volumes;
  if (volume === undefined) return;
  throw conflict(
    `The availability zone between the server and its attached volumes do not match: The specified availability zone does not match the volume ${volume.id} attached to the server. Specified availability zone is ${place}. Volume is in ${zone}..`,
  );
}

/** Those of the children that the server's networks reach. @throws Fault 409 with the reason where none is left */
async function reachableOf(
  { network }: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  children: readonly string[],
  place: string,
): Promise<readonly string[]> {
  const reachable: string[] = [];
  let reason: string | undefined;
  for (const child of children) {
    const obstacle = await network.obstacle(tx, row.id, child);
    if (obstacle === undefined) reachable.push(child);
    reason ??= obstacle;
  }
  if (reachable.length === 0 && reason !== undefined) throw cannotGo(row, place, reason);
  return reachable;
}

async function choose(
  { cascade }: ServerDependencies,
  tx: Tx,
  row: ServerRow,
  children: readonly string[],
  zone: string | undefined,
): Promise<Placement | undefined> {
  const { vcpus, ram, disk } = row.flavor_copy;
  const size = { vcpus, memory_mb: ram, local_gb: disk };
  const found = await groupOfServer(tx, row.id);
  const attempts = found === undefined ? [{}] : attemptsOf(found.group, found.others);
  for (const { among, exclude } of attempts) {
    const left = children.filter((child) => among?.includes(child) !== false);
    const request = { zone, binary: 'nova-compute', among: left, exclude, ...size };
    const chosen = left.length === 0 ? undefined : await cascade.schedule(tx, request);
    if (chosen !== undefined) return chosen;
  }
  return undefined;
}

const cannotGo = ({ id }: ServerRow, place: string, reason: string): Fault =>
  conflict(`Instance ${id} cannot be unshelved in the availability zone ${place}: ${reason}`);
