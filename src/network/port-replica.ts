/** The copy of a port in a child: with the MAC and the addresses that the parent chose. Nova there says whose it is. */
import { sql } from 'kysely';
import type { Cascade, ChildContext, Found, ReplicaKind } from '../cascade/contract.ts';
import type { Queryable } from '../db/database.ts';
import { CloudError } from '../openstack/contract.ts';
import { asCopied } from './copies-project.ts';
import { describe, detailOf, findByName, removeByPath } from './network-replica.ts';
import type { PortBatches } from './port-batch.ts';
import { type PortRow, portStore } from './port-resource.ts';
import { membersChanged } from './remote-member/members.ts';
import { policyInChild } from './qos/qos-child.ts';
import { addressIn, letGo } from './stretched/address.ts';

/** A port as it is brought: with the subnets on which its address follows from its MAC. */
type Brought = PortRow & { readonly auto_subnets: readonly string[] };

/** The kind of ports of servers. */
export function portKind(batches: PortBatches, cascade: Cascade): ReplicaKind<Brought> {
  return {
    kind: 'port',
    table: 'ports',
    unique: false,
    load,
    needs: (row) => [
      { kind: 'network', id: row.network_id },
      ...row.fixed_ips.map(({ subnet_id }) => ({ kind: 'subnet', id: subnet_id })),
      ...row.security_groups.map((id) => ({ kind: 'security_group', id })),
    ],
    find: (context, id, row) => findByName(context, '/ports', 'ports', id, row?.project_id),
    async make(context, row) {
      if (row.child === null && row.security_groups.length > 0) {
        // No server brought it here but a trunk or a floating IP: from now on its addresses are those of a member here.
        const after = { ...row, child: context.child };
        await context.db.transaction((tx) => membersChanged(tx, cascade, [{ after }], context.requestId));
      }
      const { child_id: network_id } = await context.ensure('network', row.network_id);
      const port = {
        name: row.id,
        network_id,
        ...(await macOf(context, row)),
        ...(await valuesOf(context, row)),
        extra_dhcp_opts: row.extra_dhcp_opts,
        ...(row.numa_affinity_policy === null ? {} : { numa_affinity_policy: row.numa_affinity_policy }),
        ...(row.vnic_type === 'normal' ? {} : { 'binding:vnic_type': row.vnic_type }),
      };
      const scope = await context.scope(row.project_id);
      const create = async (together: string): Promise<Found> => {
        try {
          return { child_id: await batches.create(context, { port, scope, together }), detail: detail(row) };
        } catch (error) {
          throw (await notYetFree(context, error)) ?? error;
        }
      };
      try {
        return await create(row.device_id);
      } catch (error) {
        if (!isTaken(error)) throw error;
        // Who had the address may have left between the refusal and the look at who is leaving.
        return await create('');
      }
    },
    /** Sends all that may change; twice: the same values again. */
    async bring(context, row, replica) {
      const before = (replica.detail.dhcp_options ?? []) as readonly { opt_name: string; ip_version: number }[];
      const gone = before.filter(
        (old) =>
          !row.extra_dhcp_opts.some(
            ({ opt_name, ip_version }) => opt_name === old.opt_name && ip_version === old.ip_version,
          ),
      );
      const extra_dhcp_opts = [...row.extra_dhcp_opts, ...gone.map((old) => ({ ...old, opt_value: null }))];
      await context.api.call({
        service: 'network',
        method: 'PUT',
        path: `/ports/${replica.child_id}`,
        body: {
          port: { ...(await valuesOf(context, row)), ...(extra_dhcp_opts.length === 0 ? {} : { extra_dhcp_opts }) },
        },
        scope: await context.scope(row.project_id),
      });
      return detail(row);
    },
    async remove(context, replica) {
      await removeByPath(context, `/ports/${replica.child_id}`, replica.detail.project_id);
      await letGo(context.db.query, context.child, replica.resource_id);
    },
    async failed(context, id) {
      await portStore.update(context.db.query, id, { status: 'ERROR' }, { revise: false });
    },
  };
}

const detail = (row: PortRow): NonNullable<Found['detail']> => ({
  ...detailOf(row.project_id),
  dhcp_options: row.extra_dhcp_opts.map(({ opt_name, ip_version }) => ({ opt_name, ip_version })),
});

async function load(query: Queryable, id: string): Promise<Brought | undefined> {
  const found = await portStore.find(query, id);
  if (found === undefined) return undefined;
  const row = asCopied(found);
  const subnets = row.fixed_ips.filter(({ ip_address }) => ip_address.includes(':')).map(({ subnet_id }) => subnet_id);
  if (subnets.length === 0) return { ...row, auto_subnets: [] };
  const auto = await sql<{ id: string }>`select id from subnets
    where id = any(${subnets}::text[]) and ipv6_address_mode in ('slaac', 'dhcpv6-stateless')`.execute(query);
  return { ...row, auto_subnets: auto.rows.map((subnet) => subnet.id) };
}

/** Copies of one router's interface in several children must not have one MAC: the further ones get one from their child. */
async function macOf({ db, child }: ChildContext, row: Brought): Promise<{ readonly mac_address?: string }> {
  for (const fixedIp of row.fixed_ips) {
    if ((await addressIn(db, child, row, fixedIp)) !== fixedIp.ip_address) return {};
  }
  return { mac_address: row.mac_address };
}

async function valuesOf(context: ChildContext, row: Brought): Promise<Record<string, unknown>> {
  const [fixed_ips, security_groups] = await Promise.all([
    Promise.all(
      row.fixed_ips.map(async (fixedIp) => {
        const { subnet_id } = fixedIp;
        const { child_id } = await context.ensure('subnet', subnet_id);
        // A child refuses to be told an automatic address; it comes to the same one.
        if (row.auto_subnets.includes(subnet_id)) return { subnet_id: child_id };
        return { subnet_id: child_id, ip_address: await addressIn(context.db, context.child, row, fixedIp) };
      }),
    ),
    Promise.all(row.security_groups.map(async (id) => (await context.ensure('security_group', id)).child_id)),
  ]);
  return {
    description: describe(row.name),
    admin_state_up: row.admin_state_up,
    fixed_ips,
    security_groups,
    allowed_address_pairs: row.allowed_address_pairs,
    port_security_enabled: row.port_security_enabled,
    ...(await policyInChild(context, row)),
  };
}

const isTaken = (error: unknown): boolean =>
  error instanceof CloudError && error.status === 409 && error.transient !== true;

/**
 * An address given back in the parent is free there at once, in the child only when the port that had it is deleted
 * there too: until then the create is to be tried again.
 */
async function notYetFree(context: ChildContext, error: unknown): Promise<CloudError | undefined> {
  if (!(error instanceof CloudError) || error.status !== 409) return undefined;
  const leaving = await sql`select 1 from replicas
    where child = ${context.child} and kind = 'port' and retiring limit 1`.execute(context.db.query);
  if (leaving.rows.length === 0) return undefined;
  const { failure, stage, tenantMessage, status, requestId } = error;
  return new CloudError(error.message, {
    failure,
    stage,
    tenantMessage,
    status,
    requestId,
    transient: true,
    cause: error,
  });
}
