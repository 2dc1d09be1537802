/** Unshelving: where the server was, or in another zone of its child. */
import { badRequest, conflict } from '../../http/fault.ts';
import type { Call } from '../../http/service.ts';
import type { ServerDependencies } from './dependencies.ts';
import { withServer } from './lookup.ts';
import { inner } from './rules.ts';
import { send } from './send.ts';
import { requireState } from './state.ts';

export type UnshelveBody = { readonly availability_zone?: string | null; readonly host?: string } | null;

/** Since when the body may name a zone, and since when a host. */
const ZONE_SINCE = 77;
const HOST_SINCE = 91;

/** @throws Fault 400 for a zone or host that there is not, 409 for one that the server cannot come up in */
export async function unshelve(dependencies: ServerDependencies, call: Call<UnshelveBody>): Promise<void> {
  const { context, body } = call;
  const zone = context.version >= ZONE_SINCE ? body?.availability_zone : undefined;
  const host = context.version >= HOST_SINCE ? body?.host : undefined;
  const { cascade, db } = dependencies;
  const zones = await cascade.zones(db.query);
  await withServer(dependencies, call, async (tx, row) => {
    requireState(row, context, { method: 'unshelve', vm: ['shelved', 'shelved_offloaded'] });
    if (typeof zone === 'string' || host !== undefined) {
      if (row.vm_state !== 'shelved_offloaded') {
        throw conflict(
          `Specifying an availability zone or a host when unshelving server "${row.id}" with status "${row.vm_state.toUpperCase()}" is not supported, server status must be SHELVED_OFFLOADED.`,
        );
      }
    }
    if (typeof zone === 'string' && zone !== row.zone) {
      const known = zones.find(({ name }) => name === zone);
      if (known === undefined) throw badRequest(`The requested availability zone is not available`);
      if (!known.children.includes(row.child as string)) {
        throw conflict(
          `The server "${row.id}" lies in another cloud than the availability zone "${zone}" and is not moved there.`,
        );
      }
    }
    if (host !== undefined) {
      context.enforce(inner.unshelveToHost.name);
      if (!(await cascade.children(tx)).some(({ name }) => name === host)) {
        throw badRequest(`Compute host ${host} could not be found.`);
      }
      if (host !== row.child) {
        throw conflict(`The server "${row.id}" lies in another cloud than the host "${host}" and is not moved there.`);
      }
    }
    await send(
      dependencies,
      tx,
      row,
      call,
      'unshelve',
      'unshelve',
      typeof zone === 'string' ? { availability_zone: zone } : null,
      'unshelving',
      zone === undefined ? {} : { pinned_zone: zone, ...(zone === null ? {} : { zone }) },
    );
  });
}
