/** A child's words, made fit for a tenant. */
import { CloudError } from '../../openstack/error.ts';
import type { ServerRow } from './resource.ts';

const UUID = /\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b/gi;
const LENGTH_MAX = 255;

/**
 * A child's fault text in which its ids are the parent's, or nothing: what is known of this server is translated, any
 * other id is withheld, since it means nothing to the tenant and is no business of theirs.
 */
export function tenantWords(row: ServerRow, text: string): string {
  const known = new Set([row.id, row.image_id, row.flavor_id, row.resize?.to.id, ...row.volumes.map(({ id }) => id)]);
  return text
    .replace(UUID, (id) => (id === row.child_id ? row.id : known.has(id) ? id : '(id withheld)'))
    .slice(0, LENGTH_MAX);
}

/** The same for whatever was thrown at a proxy. */
export function refusalWords(row: ServerRow, error: unknown): string {
  if (error instanceof CloudError) return tenantWords(row, error.tenantMessage);
  return 'The availability zone could not carry out the request.';
}

/** Whether a call failed for good: the child answered, and not that it is busy or away. */
export function isRefusal(error: unknown): error is CloudError {
  return (
    error instanceof CloudError &&
    !error.transient &&
    error.failure !== 'down' &&
    error.failure !== 'unauthorized' &&
    error.status >= 400
  );
}
