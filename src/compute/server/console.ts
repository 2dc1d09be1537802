/** Console output, which lies in the child. */
import type { RequestContext } from '../../http/service.ts';
import { askChild } from './ask.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { ServerRow } from './resource.ts';

/**
 * The last lines of a server's console, as its child gives them.
 * @param length how many lines; undefined or null for all
 * @throws Fault 409 before it is made, 404 where the child has none, 503 while the child cannot be reached
 */
export async function consoleOutput(
  dependencies: ServerDependencies,
  context: RequestContext,
  row: ServerRow,
  length: number | string | null | undefined,
): Promise<string> {
  const answer = await askChild<{ output?: unknown } | undefined>(dependencies, context, row, {
    method: 'POST',
    path: '/action',
    body: { 'os-getConsoleOutput': length === undefined || length === null ? {} : { length: Number(length) } },
    missing: 'Unable to get console',
  });
  // A guest prints the id that its hypervisor gave it (cloud-init does): the tenant knows the server by another.
  return typeof answer?.output === 'string' ? answer.output.replaceAll(row.child_id as string, row.id) : '';
}
