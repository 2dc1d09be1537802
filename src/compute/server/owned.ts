/**
 * What is asked about the server of a URL before anything is done with it. A rule that speaks of users is asked about the
 * one whose server it is; and who may not do something learns first, as in Nova, whether there is such a server.
 */
import { compute } from '../../http/conventions.ts';
import type { Call, Operation } from '../../http/service.ts';
import type { ServerDependencies } from './dependencies.ts';
import { findServer, findServerOrTombstone } from './lookup.ts';

/** An operation on a server, with that asked; any other as it is. */
export function owned(dependencies: ServerDependencies, operation: Operation): Operation {
  const { policy, path } = operation;
  if (policy === 'none' || !path.includes(':server_id') || operation.target !== undefined) return operation;
  // What was asked of a server outlives it.
  const find = path.includes('/os-instance-actions') ? findServerOrTombstone : findServer;
  return {
    ...operation,
    async target(call) {
      const { identity, speaksOf } = call.context;
      const own = { project_id: identity.project?.id, user_id: identity.user.id };
      // That the server is of the caller's project, or the caller an administrator, is what finding it means.
      if (!speaksOf(policy.name, 'user_id')) return own;
      const { project_id, user_id } = await find(dependencies, call as Call);
      return { project_id, user_id };
    },
    async refused(call) {
      await find(dependencies, call as Call);
      throw compute.refusal(policy.name);
    },
  };
}
