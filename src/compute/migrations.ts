/**
 * Migrations: servers are moved between hosts within a child, by the child's own operators; between children none is
 * moved. So the list is empty, which is what admin clients want to be told.
 */
import { type Operation, operation } from '../http/service.ts';
import { ADMIN, computeRule } from './rules.ts';

/** `/os-migrations`. */
export function migrationOperations(): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/os-migrations',
      policy: computeRule('os-migrations:index', ADMIN),
      status: 200,
      summary: 'List migrations',
      handle: async () => ({ migrations: [] }),
    }),
  ];
}
