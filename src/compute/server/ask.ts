/** Questions about a server that only its child can answer: they fail alone when it is gone. */
import { badRequest, conflict, Fault, notFound, notImplemented } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import { CloudError } from '../../openstack/error.ts';
import { minorAt } from './child.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { ServerRow } from './resource.ts';
import { isRefusal, tenantWords } from './words.ts';

export const NOT_SUPPORTED = 'The requested functionality is not supported.';

export interface Question {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below the server: `/diagnostics`. */
  readonly path: string;
  readonly body?: unknown;
  /** Minor number of the microversion that the question is worded for; the child's highest where that is lower. */
  readonly version?: number;
  /** The lowest at which the child has an answer. */
  readonly since?: number;
  /** Words for a child that knows of none. */
  readonly missing?: string;
}

/**
 * The child's answer about a server.
 * @throws Fault 409 before the server is made, 400, 404, 409 and 501 as the child answers, 503 while it cannot be reached
 */
export async function askChild<Answer>(
  { cascade }: Pick<ServerDependencies, 'cascade'>,
  context: RequestContext,
  row: ServerRow,
  question: Question,
): Promise<Answer> {
  if (row.child === null || row.child_id === null || cascade.child(row.child) === undefined) {
    throw conflict(`Instance ${row.id} is not ready`);
  }
  const child = cascade.context(row.child, context.requestId);
  const { method, path, body, version = 1, since = 1, missing } = question;
  try {
    const minor = await minorAt(child, version);
    if (minor < since) throw notImplemented(NOT_SUPPORTED);
    const answer = await child.api.call<Answer>({
      service: 'compute',
      method,
      path: `/servers/${row.child_id}${path}`,
      ...(body === undefined ? {} : { body }),
      microversion: `2.${minor}`,
      scope: await child.scopeOfExisting(row.project_id),
      requestId: context.requestId,
    });
    return answer.body;
  } catch (error) {
    if (!(error instanceof CloudError)) throw error;
    const words = tenantWords(row, error.tenantMessage);
    if (error.status === 404) throw notFound(missing ?? words);
    if (error.status === 501) throw notImplemented(NOT_SUPPORTED);
    if (error.status === 400) throw badRequest(words);
    if (isRefusal(error)) throw conflict(words);
    throw new Fault(503, 'The availability zone cannot be reached now.');
  }
}
