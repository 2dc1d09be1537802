/** Volumes and interfaces of a server in its child. */
import type { ChildContext } from '../../cascade/contract.ts';
import type { ServerDependencies } from './dependencies.ts';
import { call, type Step } from './proxy-step.ts';
import type { PendingAction, ServerRow } from './resource.ts';

/** Twice: what the child shows of the attachment tells whether the first was heard. */
export async function attachVolume(
  { volumes }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  body: Readonly<Record<string, unknown>>,
): Promise<Step> {
  const volumeId = await volumes.childVolume(context, String(body.volume_id));
  if (volumeId === undefined) return 'later';
  if (entry.sent_at !== null) {
    const there = await call(context, row, entry, 'GET', `/os-volume_attachments/${volumeId}`, undefined, [404]);
    if (there.status !== 404) return undefined;
  }
  await call(context, row, entry, 'POST', '/os-volume_attachments', {
    volumeAttachment: {
      volumeId,
      ...(typeof body.device === 'string' ? { device: body.device } : {}),
      ...(typeof body.tag === 'string' ? { tag: body.tag } : {}),
    },
  });
  return undefined;
}

/**
 * Twice: what the child shows of the new volume tells whether the first was heard. While the child copies, the new one is
 * neither free nor attached, and there is only to wait.
 */
export async function swapVolume(
  { volumes }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  body: Readonly<Record<string, unknown>>,
): Promise<Step> {
  const before = await volumes.childVolume(context, String(body.volume_id));
  const volumeId = await volumes.childVolume(context, String(body.new_volume_id));
  if (before === undefined || volumeId === undefined) return 'later';
  const shown =
    entry.sent_at === null
      ? 'available'
      : (
          await context.api.call<{ volume: { status: string } }>({
            service: 'volume',
            method: 'GET',
            path: `/volumes/${volumeId}`,
            scope: await context.scopeOfExisting(row.project_id),
          })
        ).body.volume.status;
  if (shown === 'available') {
    await call(context, row, entry, 'PUT', `/os-volume_attachments/${before}`, { volumeAttachment: { volumeId } });
  } else if (shown !== 'in-use') {
    return 'later';
  }
  return async (_tx, current) => ({ volumes: current.volumes.filter(({ id }) => id !== body.volume_id) });
}

/** Twice: what the child shows of the port tells whether the first was heard. */
export async function attachInterface(
  { network }: ServerDependencies,
  context: ChildContext,
  row: ServerRow,
  entry: PendingAction,
  portId: string,
): Promise<Step> {
  await network.ensurePorts(context, row.id);
  const port = await context.childId('port', portId);
  // Deleted meanwhile: nothing is left to attach.
  if (port === undefined) return undefined;
  if (entry.sent_at !== null) {
    const there = await call(context, row, entry, 'GET', `/os-interface/${port}`, undefined, [404]);
    if (there.status !== 404) return undefined;
  }
  await call(context, row, entry, 'POST', '/os-interface', { interfaceAttachment: { port_id: port } });
  return undefined;
}
