/** Attachments: which server has a volume. The parent's own rows; the child's ids of servers are compute's affair. */
import type { Generated } from 'kysely';
import type { Queryable, Tx } from '../../db/database.ts';
import { markActed } from '../hosted.ts';
import { type Volume, volumes } from './volume.ts';

declare module '../../db/tables.ts' {
  interface Tables {
    volume_attachments: {
      id: string;
      volume_id: string;
      server_id: string;
      project_id: string;
      device: string;
      delete_on_termination: boolean;
      tag: string | null;
      status: string;
      child_attachment: string | null;
      created_at: Generated<string>;
      attached_at: string | null;
    };
  }
}

export interface AttachmentRow {
  readonly id: string;
  readonly volume_id: string;
  readonly server_id: string;
  readonly project_id: string;
  readonly device: string;
  readonly delete_on_termination: boolean;
  readonly tag: string | null;
  /** `attaching`: asked for; `attached`: the child showed it; `detaching`: its end was asked for; `leaving`: its server's end was. */
  readonly status: string;
  readonly attached_at: string | null;
}

/** The attachments of volumes. */
export function attachmentsOfVolumes(query: Queryable, volumeIds: readonly string[]): Promise<AttachmentRow[]> {
  if (volumeIds.length === 0) return Promise.resolve([]);
  return query
    .selectFrom('volume_attachments')
    .select([
      'id',
      'volume_id',
      'server_id',
      'project_id',
      'device',
      'delete_on_termination',
      'tag',
      'status',
      'attached_at',
    ])
    .where('volume_id', 'in', [...volumeIds])
    .orderBy('created_at')
    .execute();
}

/** The status that a tenant sees: what the child shows, unless the parent knows of more that was asked for. */
export function shownStatus(childStatus: string, attachments: readonly Pick<AttachmentRow, 'status'>[]): string {
  const has = (status: string): boolean => attachments.some((one) => one.status === status);
  if (childStatus === 'available' && has('attaching')) return 'attaching';
  if (childStatus === 'in-use' && has('detaching')) return 'detaching';
  if (childStatus === 'available' && has('leaving')) return 'in-use';
  return childStatus;
}

/** Keeps what a volume shows of its attachments beside it, so that a list is one query. */
export async function refreshAttached(tx: Tx, row: Volume, status?: string): Promise<void> {
  const rows = await attachmentsOfVolumes(tx, [row.id]);
  const attached = rows
    .filter((one) => one.status !== 'attaching')
    .map(({ id, server_id, device, attached_at }) => ({ attachment_id: id, server_id, device, attached_at }));
  await markActed(tx, 'volumes', row.id);
  await volumes.update(tx, row.id, { attached, ...(status === undefined ? {} : { status }) }, { revise: false });
}
