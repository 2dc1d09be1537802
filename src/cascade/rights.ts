/**
 * What the parent may have done in a child. Where tenants share a project the account is usually no administrator, and
 * whatever OpenStack leaves to those is refused when it is asked for, instead of long after it was accepted.
 */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import type { CloudApi } from '../openstack/contract.ts';
import './tables.ts';

/** For the end of a refusal: names nothing of the child's own. */
export const ADMINISTRATORS_ONLY = 'the cloud below lets only its own administrators do that';

/** Whether the account has the role admin in the child; true also where nobody has seen that yet. One query, no call. */
export async function mayAdminister(query: Queryable, child: string | null): Promise<boolean> {
  if (child === null) return true;
  const { rows } = await sql<{ is_admin: boolean | null }>`
    select is_admin from children where name = ${child}`.execute(query);
  return rows[0]?.is_admin !== false;
}

/** True where the account may see and make things for every project of the child: by its token, which may be asked for. */
export async function isCloudAdmin(api: CloudApi): Promise<boolean> {
  return (await api.account()).roles.includes('admin');
}
