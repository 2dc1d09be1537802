/** Actions on volumes. Those that only a Nova calls are refused: servers of the parent attach through the parent's Nova. */
import { type TSchema, Type } from 'typebox';
import type { Tx } from '../../db/database.ts';
import { badRequest, notFound } from '../../http/fault.ts';
import { type Operation, operation, type PolicyRule, Reply, type RequestContext } from '../../http/service.ts';
import { nullable } from '../../resource/resource.ts';
import { administers, reads, writes } from '../rules.ts';
import { Boolish, isTrue, Size } from '../shapes.ts';
import { deleteVolume, extendVolume, resetVolume, reviseVolume, uploadVolume } from './change.ts';
import { lockVolume, seenVolume, type Volume, type VolumeCore } from './volume.ts';

const STATUSES = [
  'creating',
  'available',
  'deleting',
  'error',
  'error_deleting',
  'error_managing',
  'managing',
  'attaching',
  'in-use',
  'detaching',
  'maintenance',
  'restoring-backup',
  'error_restoring',
  'reserved',
  'awaiting-transfer',
  'backing-up',
  'error_backing-up',
  'error_extending',
  'downloading',
  'uploading',
  'retyping',
  'extending',
];
const choice = (values: readonly string[]) => nullable(Type.String({ pattern: `^(${values.join('|')})$` }));

const Extend = Type.Object({ new_size: Size }, { additionalProperties: false });
const Reset = Type.Object(
  {
    status: Type.Optional(choice(STATUSES)),
    attach_status: Type.Optional(choice(['attached', 'detached'])),
    migration_status: Type.Optional(nullable(Type.String({ maxLength: 255 }))),
  },
  { additionalProperties: false },
);
const Bootable = Type.Object({ bootable: Boolish }, { additionalProperties: false });
const Readonly = Type.Object({ readonly: Boolish }, { additionalProperties: false });
const UploadImage = Type.Object(
  {
    image_name: Type.String({ minLength: 1, maxLength: 255 }),
    force: Type.Optional(nullable(Boolish)),
    disk_format: Type.Optional(Type.String({ pattern: '^(raw|vmdk|vdi|qcow2|vhd|vhdx|ploop)$' })),
    container_format: Type.Optional(Type.String({ maxLength: 255 })),
    visibility: Type.Optional(Type.String({ pattern: '^(community|public|private|shared)$' })),
    protected: Type.Optional(Boolish),
  },
  { additionalProperties: false },
);

/** Only a Nova that holds this Cinder's connections may call these. */
const NOVAS: Readonly<Record<string, string>> = {
  'os-attach': 'attach',
  'os-detach': 'detach',
  'os-reserve': 'reserve',
  'os-unreserve': 'unreserve',
  'os-begin_detaching': 'begin_detaching',
  'os-roll_detaching': 'roll_detaching',
  'os-initialize_connection': 'initialize_connection',
  'os-terminate_connection': 'terminate_connection',
};

/** Every action of `POST /volumes/{id}/action`. */
export function volumeActions(core: VolumeCore): Operation[] {
  const { db, cascade } = core;

  function action<Body>(of: {
    readonly name: string;
    readonly policy: PolicyRule;
    readonly schema: TSchema;
    readonly status: number;
    readonly summary: string;
    readonly run: (tx: Tx, context: RequestContext, row: Volume, body: Body) => Promise<unknown>;
  }): Operation {
    return operation<Body>({
      method: 'POST',
      path: '/volumes/:volume_id/action',
      action: of.name,
      policy: of.policy,
      body: Type.Object({ [of.name]: of.schema }, { additionalProperties: false }),
      status: of.status,
      summary: of.summary,
      handle: async ({ context, params, body }) => {
        const done = await db.transaction(async (tx) => {
          const row = await lockVolume(tx, context, params.volume_id as string);
          return { child: row.child, answer: await of.run(tx, context, row, body) };
        });
        cascade.poke(done.child);
        return new Reply(of.status, done.answer);
      },
    });
  }

  return [
    action<{ new_size: number | string }>({
      name: 'os-extend',
      policy: writes('volume:extend'),
      schema: Extend,
      status: 202,
      summary: 'Extend a volume',
      run: (tx, context, row, body) => extendVolume(core, tx, context, row, Number(body.new_size)),
    }),
    action<Record<string, string | null>>({
      name: 'os-reset_status',
      policy: administers('volume_extension:volume_admin_actions:reset_status'),
      schema: Reset,
      status: 202,
      summary: 'Say what status a volume has',
      run: async (tx, context, row, body) => {
        const to = Object.entries(body).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
        if (to.length === 0) throw badRequest("Must specify 'status', 'attach_status' or 'migration_status'");
        await resetVolume(core, tx, context, row, Object.fromEntries(to));
      },
    }),
    action<{ bootable: unknown }>({
      name: 'os-set_bootable',
      policy: writes('volume_extension:volume_actions:set_bootable'),
      schema: Bootable,
      status: 200,
      summary: 'Say whether a volume can be booted from',
      run: async (tx, context, row, body) => {
        const bootable = isTrue(body.bootable);
        await reviseVolume(core, tx, context, row, { bootable, wanted_bootable: bootable });
      },
    }),
    action<{ readonly: unknown }>({
      name: 'os-update_readonly_flag',
      policy: writes('volume:update_readonly_flag'),
      schema: Readonly,
      status: 202,
      summary: 'Say whether a volume may be written',
      run: async (tx, context, row, body) => {
        if (row.status !== 'available') {
          throw badRequest(
            `Invalid volume: Volume ${row.id} status must be available to update readonly flag, but current status is: ${row.status}.`,
          );
        }
        await reviseVolume(core, tx, context, row, { wanted_readonly: isTrue(body.readonly) });
      },
    }),
    action({
      name: 'os-force_delete',
      policy: administers('volume_extension:volume_admin_actions:force_delete'),
      schema: nullable(Type.Object({})),
      status: 202,
      summary: 'Delete a volume whatever its status',
      run: (tx, context, row) => deleteVolume(core, tx, row, { force: true, requestId: context.requestId }),
    }),
    action<{ image_name: string; force?: unknown; disk_format?: string; container_format?: string }>({
      name: 'os-volume_upload_image',
      policy: writes('volume_extension:volume_actions:upload_image'),
      schema: UploadImage,
      status: 202,
      summary: 'Make an image of a volume',
      run: async (tx, context, row, body) => {
        const { image_name, disk_format = 'raw', container_format = 'bare' } = body;
        const wanted = { name: image_name, disk_format, container_format, force: isTrue(body.force ?? false) };
        const image_id = await uploadVolume(core, tx, context, row, wanted);
        const answer = {
          id: row.id,
          updated_at: convention_time(row.updated_at),
          status: 'uploading',
          display_description: row.description,
          size: row.size,
          volume_type: row.volume_type,
          image_id,
          container_format,
          disk_format,
          image_name,
          ...(context.version >= 1 ? { visibility: 'private', protected: false } : {}),
        };
        return { 'os-volume_upload_image': answer };
      },
    }),
    operation({
      method: 'POST',
      path: '/volumes/:volume_id/action',
      action: 'os-show_image_metadata',
      policy: reads('volume_extension:volume_image_metadata:show'),
      status: 200,
      summary: 'Show the image metadata of a volume',
      handle: async ({ context, params }) => {
        const row = await seenVolume(db.query, context, params.volume_id as string);
        if (row.image_metadata === null || row.image_metadata === undefined) {
          throw notFound(`Volume ${row.id} has no image metadata.`);
        }
        return { metadata: row.image_metadata };
      },
    }),
    ...Object.entries(NOVAS).map(([name, rule]) =>
      operation({
        method: 'POST',
        path: '/volumes/:volume_id/action',
        action: name,
        policy: writes(`volume_extension:volume_actions:${rule}`),
        status: 202,
        summary: 'Refused: servers attach volumes through the compute API',
        handle: async ({ context, params }) => {
          await seenVolume(db.query, context, params.volume_id as string);
          throw badRequest(`The action ${name} is not served: attach volumes to servers through the compute API.`);
        },
      }),
    ),
  ];
}

const convention_time = (iso: string): string => iso.slice(0, 26);
