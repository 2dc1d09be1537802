/**
 * Keeps the children's external networks as the parent's. Networks of one name in several children are one network of
 * the parent, with a subnet for each child's subnet; the children's own are never changed.
 */
import { sql } from 'kysely';
import { randomUUID } from 'node:crypto';
import { applyEach } from '../cascade/apply-each.ts';
import type { Cascade, ChildConfig, ChildContext, Feed } from '../cascade/contract.ts';
import type { Db, Queryable, Tx } from '../db/database.ts';
import { networkStore } from './network-resource.ts';
import { ACCESS_AS_EXTERNAL, networkSharing } from './network-sharing.ts';
import { NO_POLICY } from './qos/qos-child.ts';
import { addImplied } from './rbac/shareable.ts';
import { NOT_SHARED } from './sharing.ts';
import { type SubnetRow, subnetStore } from './subnet-resource.ts';

interface ChildNetwork {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
  readonly mtu?: number;
  readonly is_default?: boolean;
}

interface ChildSubnet {
  readonly id: string;
  readonly name: string;
  readonly ip_version: number;
  readonly cidr: string;
  readonly gateway_ip: string | null;
  readonly allocation_pools: { readonly start: string; readonly end: string }[];
}

interface ChildPort {
  readonly fixed_ips?: { readonly subnet_id: string; readonly ip_address: string }[];
}

const IDLE_MS = 60_000;
const BUSY_MS = 5000;

/** The feed `external-networks`: the networks, their subnets, and which of their addresses are used in the child. */
export function externalNetworkFeed(db: Db, cascade: Cascade): Feed {
  return {
    name: 'external-networks',
    idle_ms: IDLE_MS,
    busy_ms: BUSY_MS,
    busy: holds,
    round: async (context, cursor) => {
      const config = (await cascade.children(db.query)).find(({ name }) => name === context.child);
      if (config === undefined) return cursor;
      const networks: ChildNetwork[] = [];
      const pages = context.api.pages<ChildNetwork>(
        { service: 'network', method: 'GET', path: '/networks', query: { 'router:external': true } },
        'networks',
      );
      for await (const page of pages) networks.push(...page);
      await applyEach(
        networks,
        context.log,
        ({ id }) => id,
        async (network) => {
          const name = parentName(config, network.name);
          if (name !== undefined && !isCopy(network)) await bring(context, config, network, name);
        },
      );
      return cursor;
    },
  };
}

/** Whether a parent made it, this one or another: what is one parent's is not for everybody. */
const isCopy = ({ name, description }: ChildNetwork): boolean =>
  description?.startsWith('Headwater: ') === true && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(name);

/** Whether addresses wait for the child to let go of them. */
async function holds(query: Queryable, child: string): Promise<boolean> {
  const found = await sql`select 1 from ip_allocations where port_id = ${`held:${child}`} limit 1`.execute(query);
  return found.rows.length > 0;
}

/** What the parent calls a child's network; undefined where the configuration leaves it out. */
function parentName(config: ChildConfig, name: string): string | undefined {
  if (config.external_networks === undefined) return name;
  return Object.entries(config.external_networks).find(([, own]) => own === name)?.[0];
}

async function bring(context: ChildContext, config: ChildConfig, network: ChildNetwork, name: string): Promise<void> {
  const query = { network_id: network.id };
  const subnets: ChildSubnet[] = [];
  const pages = context.api.pages<ChildSubnet>(
    { service: 'network', method: 'GET', path: '/subnets', query },
    'subnets',
  );
  for await (const page of pages) subnets.push(...page);
  const ids = await context.db.transaction(async (tx) => {
    // Two children's feeds at once would each make a network of this name.
    await sql`select pg_advisory_xact_lock(hashtext('external-networks'))`.execute(tx);
    const networkId = await bringNetwork(tx, context.child, config, network, name);
    const byChildId = new Map<string, string>();
    for (const subnet of subnets) byChildId.set(subnet.id, await bringSubnet(tx, context.child, networkId, subnet));
    return byChildId;
  });
  await recordAddresses(context, network.id, ids);
}

async function bringNetwork(tx: Tx, child: string, config: ChildConfig, network: ChildNetwork, name: string) {
  const found = await sql<{ id: string; is_mapped: boolean }>`
    select n.id, e.child is not null as is_mapped from networks n
    left join external_networks e on e.network_id = n.id and e.child = ${child} and e.child_id = ${network.id}
    where e.child is not null
       or (n.external and n.name = ${name} and exists (select 1 from external_networks o where o.network_id = n.id))
    order by is_mapped desc, n.created_at limit 1`.execute(tx);
  const id = found.rows[0]?.id ?? (await newNetwork(tx, network, name));
  // One that was deleted here comes back, as long as the child has it.
  await sql`insert into external_networks (child, child_id, network_id) values (${child}, ${network.id}, ${id})
    on conflict (child, child_id) do update set network_id = excluded.network_id`.execute(tx);
  await sql`update networks set availability_zones = (
      select array_agg(distinct zone order by zone)
      from unnest(availability_zones || ${Object.keys(config.zones)}::text[]) as zone)
    where id = ${id} and not availability_zones @> ${Object.keys(config.zones)}::text[]`.execute(tx);
  return id;
}

async function newNetwork(tx: Tx, network: ChildNetwork, name: string): Promise<string> {
  const others = await sql`select 1 from networks where external and is_default limit 1`.execute(tx);
  const { id } = await networkStore.insert(tx, {
    id: randomUUID(),
    project_id: '',
    name,
    description: network.description ?? '',
    admin_state_up: true,
    status: 'ACTIVE',
    subnets: [],
    ...NOT_SHARED,
    external: true,
    external_shared: true,
    external_with: [],
    // There is one default at most.
    is_default: network.is_default === true && others.rows.length === 0,
    mtu: network.mtu ?? 1500,
    port_security_enabled: true,
    availability_zone_hints: [],
    availability_zones: [],
    dns_domain: '',
    // Their wires are the children's own affair; administrators expect a type all the same.
    provider_network_type: 'flat',
    provider_physical_network: null,
    provider_segmentation_id: null,
    child: null,
    copies_project_id: null,
    ...NO_POLICY,
    tags: [],
  });
  await addImplied(tx, networkSharing, { id, project_id: '' }, ACCESS_AS_EXTERNAL);
  return id;
}

async function bringSubnet(tx: Tx, child: string, networkId: string, subnet: ChildSubnet): Promise<string> {
  const known = await sql<{ subnet_id: string }>`
    select subnet_id from external_subnets where child = ${child} and child_id = ${subnet.id}`.execute(tx);
  const id = known.rows[0]?.subnet_id;
  const { name, gateway_ip, allocation_pools } = subnet;
  const row = id === undefined ? undefined : await subnetStore.lock(tx, id);
  if (row !== undefined) {
    const wanted = { name, gateway_ip, allocation_pools };
    if (!isSame(row, wanted)) await subnetStore.update(tx, row.id, wanted);
    return row.id;
  }
  const made = await subnetStore.insert(tx, {
    id: randomUUID(),
    project_id: '',
    network_id: networkId,
    name,
    description: '',
    ip_version: subnet.ip_version,
    cidr: subnet.cidr,
    gateway_ip,
    allocation_pools,
    dns_nameservers: [],
    host_routes: [],
    enable_dhcp: false,
    ipv6_ra_mode: null,
    ipv6_address_mode: null,
    subnetpool_id: null,
    service_types: [],
    dns_publish_fixed_ip: false,
    copies_project_id: null,
    tags: [],
  });
  await sql`insert into external_subnets (child, child_id, subnet_id, network_id)
    values (${child}, ${subnet.id}, ${made.id}, ${networkId})
    on conflict (child, child_id) do update set subnet_id = excluded.subnet_id, network_id = excluded.network_id`.execute(
    tx,
  );
  await sql`update networks set subnets = array_append(subnets, ${made.id}) where id = ${networkId}`.execute(tx);
  return made.id;
}

const isSame = (row: SubnetRow, wanted: Pick<SubnetRow, 'name' | 'gateway_ip' | 'allocation_pools'>): boolean =>
  row.name === wanted.name &&
  row.gateway_ip === wanted.gateway_ip &&
  JSON.stringify(row.allocation_pools) === JSON.stringify(wanted.allocation_pools);

/** What others use in the child, the parent must not hand out; what they let go of, it may again. */
async function recordAddresses(context: ChildContext, childNetworkId: string, ids: ReadonlyMap<string, string>) {
  const used: { subnet: string; address: string }[] = [];
  const pages = context.api.pages<ChildPort>(
    {
      service: 'network',
      method: 'GET',
      path: '/ports',
      query: { network_id: childNetworkId, fields: ['id', 'fixed_ips'] },
    },
    'ports',
  );
  for await (const page of pages) {
    for (const { subnet_id, ip_address } of page.flatMap(({ fixed_ips }) => fixed_ips ?? [])) {
      const subnet = ids.get(subnet_id);
      if (subnet !== undefined) used.push({ subnet, address: ip_address });
    }
  }
  const { child } = context;
  await sql`
    with used as (
      select * from unnest(${used.map(({ subnet }) => subnet)}::text[], ${used.map(({ address }) => address)}::inet[])
        as u(subnet_id, ip_address)
    ), gone as (
      delete from ip_allocations a
      where a.subnet_id = any(${[...ids.values()]}::text[])
        and not exists (select 1 from used u where u.subnet_id = a.subnet_id and u.ip_address = a.ip_address)
        and (a.port_id = ${`child:${child}`} or a.port_id = ${`held:${child}`} and not exists (
          select 1 from replicas r where r.child = ${child} and r.kind = 'floating_ip' and r.retiring))
    )
    insert into ip_allocations (subnet_id, ip_address, port_id)
    select distinct subnet_id, ip_address, ${`child:${child}`} from used
    on conflict do nothing`.execute(context.db.query);
}
