/** Networks that other projects use: as their own networks, or as external ones behind their routers. */
import { sql } from 'kysely';
import type { Tx } from '../db/database.ts';
import { conflict, type Fault } from '../http/fault.ts';
import { touch } from './standard-attributes.ts';
import { rbacPolicyInUse, type Shareable, sharedAccess } from './rbac/shareable.ts';

export const ACCESS_AS_EXTERNAL = 'access_as_external';

/** What networks say of themselves to RBAC. */
export const networkSharing: Shareable = {
  type: 'network',
  table: 'networks',
  accesses: {
    ...sharedAccess((id) => sql`select project_id from ports where network_id = ${id}`),
    [ACCESS_AS_EXTERNAL]: {
      everybody: 'external_shared',
      projects: 'external_with',
      users: (id) => sql`select project_id from routers where gateway_network_id = ${id}`,
    },
  },
  unsharing: (id) =>
    conflict(
      `Unable to reconfigure sharing settings for network ${id}. Multiple tenants are using it.`,
      'InvalidSharedSetting',
    ),
  /** Who shares a network as external makes it so, as in Neutron; here, as long as no child has a copy of it. */
  async creating(tx, { object_id, action }) {
    if (action !== ACCESS_AS_EXTERNAL) return;
    const inside =
      await sql`select 1 from networks n where n.id = ${object_id} and not n.external and (n.child is not null
      or exists (select 1 from replicas r where r.kind = 'network' and r.resource_id = n.id))`.execute(tx);
    if (inside.rows.length > 0) {
      throw conflict(`Network ${object_id} is in use inside an availability zone.`, 'NetworkInUse');
    }
  },
  async changed(tx, action, id) {
    await touch(tx, 'networks', [id]);
    if (action !== ACCESS_AS_EXTERNAL) return;
    const found = await sql<{ external: boolean; is_default: boolean; external_shared: boolean; still: boolean }>`
      select external, is_default, external_shared, external_shared or external_with <> '{}' as still from networks where id = ${id}`.execute(
      tx,
    );
    const network = found.rows[0];
    if (network === undefined) return;
    if (network.is_default && network.external && !network.external_shared) {
      throw rbacPolicyInUse(id, 'Default external networks must be shared to everyone.');
    }
    if (network.external && !network.still) await refuseWithGateways(tx, id);
    await sql`update networks set external = ${network.still} where id = ${id}`.execute(tx);
  },
};

/**
 * There is one default external network at most. Two at once: the second waits for what the first says.
 * @throws Fault 409 where another one is it
 */
export async function refuseSecondDefault(tx: Tx, id: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended('default external network', 0))`.execute(tx);
  const { rows } = await sql<{ id: string }>`
    select id from networks where external and is_default and id <> ${id} limit 1`.execute(tx);
  if (rows[0] === undefined) return;
  throw conflict(`A default external network already exists: ${rows[0].id}.`, 'DefaultExternalNetworkExists');
}

/** @throws Fault 409 where routers have their gateways on the network */
export async function refuseWithGateways(tx: Tx, id: string): Promise<void> {
  const used = await sql`select 1 from routers where gateway_network_id = ${id} limit 1`.execute(tx);
  if (used.rows.length > 0) throw externalInUse(id);
}

const externalInUse = (id: string): Fault =>
  conflict(
    `External network ${id} cannot be updated to be made non-external, since it has existing gateway ports.`,
    'ExternalNetworkInUse',
  );
