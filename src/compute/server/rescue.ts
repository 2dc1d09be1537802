/** Rescuing: a server is started from another image, its own disk beside it. */
import { badRequest } from '../../http/fault.ts';
import type { Call, Operation } from '../../http/service.ts';
import { act } from './act.ts';
import { randomPassword } from './boot.ts';
import type { ServerDependencies } from './dependencies.ts';
import { findServer, withServer } from './lookup.ts';
import { usableImage } from './rebuild.ts';
import type { ServerRow } from './resource.ts';
import { rules } from './rules.ts';
import { rescueSchema } from './schema.ts';
import { send } from './send.ts';
import { requireState } from './state.ts';

type RescueBody = { readonly adminPass?: string; readonly rescue_image_ref?: string } | null;

/** Since when a server that boots from a volume may be rescued. */
const RESCUES_VOLUMES_SINCE = 87;
const WANTED_STATE = { method: 'rescue', vm: ['active', 'stopped', 'error'] };

/** `rescue`. */
export function rescueAction(dependencies: ServerDependencies): Operation {
  return act<RescueBody>({
    action: 'rescue',
    policy: rules.rescue,
    body: rescueSchema,
    status: 200,
    summary: 'Rescue a server',
    handle: async (call) => {
      const adminPass = call.body?.adminPass ?? randomPassword();
      const image = call.body?.rescue_image_ref;
      requireState(await findServer(dependencies, call), call.context, WANTED_STATE);
      const properties = image === undefined ? undefined : await propertiesOf(dependencies, call, image);
      await withServer(dependencies, call, async (tx, row) => {
        requireState(row, call.context, WANTED_STATE);
        requireRescuable(call, row, properties ?? row.inherited);
        const body = { adminPass, ...(image === undefined ? {} : { rescue_image_ref: image }) };
        await send(dependencies, tx, row, call, 'rescue', 'rescue', body, 'rescuing');
      });
      return { adminPass };
    },
  });
}

/** @throws Fault 400 for an image that nothing can be rescued by */
async function propertiesOf(
  dependencies: ServerDependencies,
  call: Call<RescueBody>,
  id: string,
): Promise<Readonly<Record<string, string>>> {
  const words = `Requested rescue image '${id}' is not supported`;
  const { properties } = await usableImage(dependencies, call, id, words);
  if ((properties.block_device_mapping ?? '') !== '') throw badRequest(words);
  return properties;
}

/**
 * One that boots from a volume keeps its disks where they are, which takes an image that says as what it is to be put
 * beside them. Whether the host can do it is known to the child alone, whose refusal stands in the server's record.
 * @throws Fault 400 where it cannot be rescued
 */
function requireRescuable(
  { context }: Call<RescueBody>,
  { id, image_id }: ServerRow,
  properties: Readonly<Record<string, string>>,
): void {
  if (image_id !== '') return;
  const isStable = 'hw_rescue_bus' in properties && 'hw_rescue_device' in properties;
  if (context.version >= RESCUES_VOLUMES_SINCE && isStable) return;
  throw badRequest(`Instance ${id} cannot be rescued: Cannot rescue a volume-backed instance`);
}
