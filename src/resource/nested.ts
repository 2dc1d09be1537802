/** Resources that live below another one in the path: `/floatingips/:floatingip_id/port_forwardings`. */
import type { Call, Operation } from '../http/service.ts';
import { type Crud, crudOperations } from './crud.ts';
import type { BaseRow } from './resource.ts';

/**
 * The usual operations on what belongs to one parent object.
 * @param path with the parent's parameter: `/floatingips/:floatingip_id/port_forwardings`
 * @param parentOf reads the parent that a call names, before anything else is done; throws its 404
 * @param crud the resource within one parent: its `visible` keeps to that parent's rows. Undefined: whatever does not
 *   depend on it (names, rules, schemas)
 */
export function nestedOperations<P, R extends BaseRow>(
  path: string,
  parentOf: (call: Call) => Promise<P>,
  crud: (parent: P | undefined) => Omit<Crud<R>, 'path'>,
): Operation[] {
  return crudOperations<R>({ ...crud(undefined), path }).map((described, at) => ({
    ...described,
    handle: async (call) => {
      const parent = await parentOf(call);
      const here = path.replace(/:([a-z_]+)/g, (_, name: string) => encodeURIComponent(call.params[name] ?? ''));
      const within = crudOperations<R>({ ...crud(parent), path: here })[at] as Operation;
      return within.handle(call);
    },
  }));
}
