/** Console output: one of the few answers that lie in the child, and that fail alone when it is gone. */
import { conflict, Fault, notFound } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { CloudError } from '../../openstack/error.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { ServerRow } from './resource.ts';
import { isRefusal, tenantWords } from './words.ts';

/**
 * The last lines of a server's console, as its child gives them.
 * @param length how many lines; undefined or null for all
 * @throws Fault 409 before it is made, 404 where the child has none, 503 while the child cannot be reached
 */
export async function consoleOutput(
  { cascade }: ServerDependencies,
  context: RequestContext,
  row: ServerRow,
  length: number | string | null | undefined,
): Promise<string> {
  if (row.child === null || row.child_id === null) throw conflict(`Instance ${row.id} is not ready`);
  if (cascade.child(row.child) === undefined) throw conflict(`Instance ${row.id} is not ready`);
  const child = cascade.context(row.child, context.requestId);
  const body = { 'os-getConsoleOutput': length === undefined || length === null ? {} : { length: Number(length) } };
  try {
    const answer = await child.api.call<{ output?: unknown }>({
      service: 'compute',
      method: 'POST',
      path: `/servers/${row.child_id}/action`,
      body,
      scope: await child.scopeOfExisting(row.project_id),
      requestId: context.requestId,
    });
    // A guest prints the id that its hypervisor gave it (cloud-init does): the tenant knows the server by another.
    return typeof answer.body?.output === 'string' ? answer.body.output.replaceAll(row.child_id, row.id) : '';
  } catch (error) {
    if (!(error instanceof CloudError)) throw error;
    if (error.status === 404) throw notFound('Unable to get console');
    if (isRefusal(error)) throw new Fault(error.status === 501 ? 501 : 409, tenantWords(row, error.tenantMessage));
    throw new Fault(503, 'The availability zone cannot be reached now.');
  }
}
