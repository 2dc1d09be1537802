/**
 * The child side of routers: in every child where one of a router's networks lives there is a copy of it, with the
 * interfaces on these networks, a gateway to the child's own external network, and the routes that can be reached there.
 */
import { sql } from 'kysely';
import type { ChildContext, ReplicaKind } from '../cascade/contract.ts';
import { Later } from '../cascade/later.ts';
import type { Db } from '../db/database.ts';
import { abilityOf } from './ability.ts';
import type { CloudScope } from '../openstack/contract.ts';
import { CloudError } from '../openstack/error.ts';
import { childrenOfNetworks, type EdgeParts, portsOfDevice, ROUTER_INTERFACE } from './edge-core.ts';
import { externalNetworkIn, isMadeHere } from './external-network.ts';
import { scopeFor } from './network-replica.ts';
import type { PortRow } from './port-resource.ts';
import { completeGateway, exchangeGatewayAddress } from './router-gateway.ts';
import { type Router, type Routes, routers } from './router-resource.ts';
import { withoutRoutes } from './router-route.ts';
import { interfaceAddress } from './stretched/address.ts';
import { type SubnetRow, subnetStore } from './subnet-resource.ts';
import { type Transit, transitOf } from './transit/make.ts';
import { reachOf } from './transit/reach.ts';
import { routesIn } from './transit/route.ts';

/** A router as a child shows it. */
interface ChildRouter {
  readonly id: string;
  readonly description?: string;
  readonly admin_state_up: boolean;
  /** Only where the child has distributed routers, and to its administrators. */
  readonly distributed?: boolean;
  readonly routes?: Routes;
  readonly external_gateway_info: {
    readonly network_id: string;
    readonly enable_snat?: boolean;
    readonly qos_policy_id?: string | null;
    readonly external_fixed_ips?: readonly { readonly subnet_id?: string; readonly ip_address?: string }[];
  } | null;
}

interface ChildPort {
  readonly id: string;
  readonly device_owner: string;
  readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address: string }[];
}

/** One interface as the copy shall have it. */
interface Interface {
  readonly port: PortRow;
  readonly subnet: SubnetRow;
}

/** A child calls an interface by other names too, as its routers are distributed or highly available. */
const INTERFACE_OWNERS = new Set([
  ROUTER_INTERFACE,
  'network:router_interface_distributed',
  'network:ha_router_replicated_interface',
]);
const IN_USE_AGAIN_MS = 1000;

/** The kind `router`. */
export const routerKind = (parts: Pick<EdgeParts, 'bindNetwork'>): ReplicaKind<Router> => ({
  kind: 'router',
  table: 'routers',
  unique: false,
  load: (query, id) => routers.find(query, id),
  /** Twice: the same answer. */
  async find(context, id, row) {
    const scope = await scopeFor(context, row?.project_id);
    const { body } = await context.api.call<{ routers: { id: string }[] }>({
      service: 'network',
      method: 'GET',
      path: '/routers',
      query: { name: id, fields: 'id' },
      scope,
    });
    const found = body.routers[0];
    if (found === undefined) return undefined;
    return { child_id: found.id, ...(row === undefined ? {} : { detail: { project_id: row.project_id } }) };
  },
  /** Twice: two routers; so it is only called where none was found. */
  async make(context, row) {
    const { body } = await context.api.call<{ router: ChildRouter }>({
      service: 'network',
      method: 'POST',
      path: '/routers',
      body: {
        router: {
          name: row.id,
          description: description(row),
          admin_state_up: row.admin_state_up,
          ...(await distributionIn(context, row)),
        },
      },
      scope: await context.scope(row.project_id),
    });
    return { child_id: body.router.id, detail: { project_id: row.project_id }, current: false };
  },
  /** Twice: the second reads the copy and finds nothing to change. */
  async bring(context, row, replica) {
    const copy = createCopy(context, replica.child_id ?? '', await context.scope(row.project_id));
    const reach = await reachOf(context.db.query, row.id);
    const transit = reach.children.includes(context.child) ? await transitOf(context.db.query, row.id) : undefined;
    const wanted = await wantedInterfaces(context, row, transit);
    const gateway = wanted.length === 0 ? null : await wantedGateway(parts, context, row);
    const [there, ports] = await Promise.all([copy.show(), copy.interfaces()]);
    const routes = await routesIn(row, reach, context.child, (child, version) =>
      transitAddress(context.db, transit, child, version),
    );
    await redistribute(context, row, copy, there);
    // Routes go before the interfaces they lead over, and come after them.
    const kept = (there.routes ?? []).filter((route) => withoutRoutes([route], routes).length === 0);
    if (kept.length < (there.routes ?? []).length) await copy.update({ routes: kept });
    await matchInterfaces(context, copy, wanted, ports);
    const changes = {
      ...(there.admin_state_up === row.admin_state_up ? {} : { admin_state_up: row.admin_state_up }),
      ...(there.description === description(row) ? {} : { description: description(row) }),
      ...(sameGateway(there, gateway) ? {} : { external_gateway_info: withPolicyGone(there, gateway) }),
      ...(withoutRoutes(routes, kept).length === 0 ? {} : { routes }),
    };
    if (Object.keys(changes).length > 0) await whileInUse(copy.update(changes));
    if (gateway !== null && gateway.external_fixed_ips === undefined) await adoptGateway(context, row, copy);
    await recovered(context, row.id);
    return { project_id: row.project_id };
  },
  /** Twice: a 404 counts as done. */
  async remove(context, replica) {
    const copy = createCopy(context, replica.child_id, await scopeFor(context, replica.detail.project_id));
    await whileInUse(copy.remove());
  },
  async failed(context, id, tenantMessage) {
    context.log.warn({ router_id: id, reason: tenantMessage }, 'a router could not be brought to a child');
    await sql`update routers set status = 'ERROR' where id = ${id} and status = 'ACTIVE'`.execute(context.db.query);
  },
});

const description = (row: Router): string => `Headwater: ${row.name}`.slice(0, 255);

/**
 * What to say of a router's distribution over the child's hosts: as the parent says, whatever the child has for a
 * default, since the transit of a distributed one is reached by nobody outside of the host. Children without distributed
 * routers, and accounts that may not choose, do not know the word.
 */
async function distributionIn(context: ChildContext, row: Router): Promise<{ readonly distributed?: boolean }> {
  const ability = await abilityOf(context.db.query, context.child);
  const mayChoose = ability.has_distributed_routers && ability.facts?.provider_networks === true;
  return mayChoose ? { distributed: row.distributed } : {};
}

/** Distributes or centralizes a copy that is otherwise; a child lets that be done to a router only while it is down. */
async function redistribute(context: ChildContext, row: Router, copy: Copy, there: ChildRouter): Promise<void> {
  const { distributed } = await distributionIn(context, row);
  if (distributed === undefined || there.distributed === undefined || there.distributed === distributed) return;
  if (there.admin_state_up) await whileInUse(copy.update({ admin_state_up: false }));
  await whileInUse(copy.update({ distributed }));
  await whileInUse(copy.update({ admin_state_up: row.admin_state_up }));
}

/** A router whose copy is as it is to be works again, unless another child refused its own. */
async function recovered({ child, db }: ChildContext, id: string): Promise<void> {
  await sql`update routers set status = 'ACTIVE' where id = ${id} and status = 'ERROR' and not exists (
    select 1 from replicas where kind = 'router' and resource_id = ${id} and child <> ${child}
      and error is not null and not retiring)`.execute(db.query);
}

type Copy = ReturnType<typeof createCopy>;

/** The calls about one copy. */
function createCopy(context: ChildContext, childId: string, scope: CloudScope) {
  const base = { service: 'network', scope } as const;
  const path = `/routers/${childId}`;
  const copy = {
    async show(): Promise<ChildRouter> {
      const { body } = await context.api.call<{ router: ChildRouter }>({ ...base, method: 'GET', path });
      return body.router;
    },
    async interfaces(): Promise<ChildPort[]> {
      const { body } = await context.api.call<{ ports: ChildPort[] }>({
        ...base,
        method: 'GET',
        path: '/ports',
        query: { device_id: childId, fields: ['id', 'device_owner', 'fixed_ips'] },
      });
      return body.ports.filter((port) => INTERFACE_OWNERS.has(port.device_owner));
    },
    async update(router: Partial<ChildRouter>): Promise<void> {
      await context.api.call({ ...base, method: 'PUT', path, body: { router } });
    },
    async attach(body: { subnet_id: string } | { port_id: string }): Promise<void> {
      await context.api.call({ ...base, method: 'PUT', path: `${path}/add_router_interface`, body });
    },
    async detach(body: { port_id: string }): Promise<void> {
      await context.api.call({
        ...base,
        method: 'PUT',
        path: `${path}/remove_router_interface`,
        body,
        accept: [404],
      });
    },
    async remove(): Promise<void> {
      const { status, body } = await context.api.call<{ router: ChildRouter }>({
        ...base,
        method: 'GET',
        path,
        accept: [404],
      });
      if (status === 404) return;
      if ((body.router.routes ?? []).length > 0) await copy.update({ routes: [] });
      for (const port of await copy.interfaces()) await copy.detach({ port_id: port.id });
      await context.api.call({ ...base, method: 'DELETE', path, accept: [404] });
    },
  };
  return copy;
}

/** Interfaces on networks that live in this child, and the one that joins it with the copies in others. */
async function wantedInterfaces(
  context: ChildContext,
  row: Router,
  transit: Transit | undefined,
): Promise<Interface[]> {
  const { query } = context.db;
  const ports = await portsOfDevice(query, [row.id], ROUTER_INTERFACE);
  const places = await childrenOfNetworks(
    query,
    ports.map(({ network_id }) => network_id),
  );
  const here = ports.filter(({ network_id }) => places.get(network_id)?.includes(context.child) === true);
  const ids = here.flatMap(({ fixed_ips }) => fixed_ips.map(({ subnet_id }) => subnet_id));
  const subnets = new Map((await subnetStore.findMany(query, ids)).map((subnet) => [subnet.id, subnet]));
  const own = here.flatMap((port) =>
    port.fixed_ips.flatMap(({ subnet_id }) => {
      const subnet = subnets.get(subnet_id);
      return subnet === undefined ? [] : [{ port, subnet }];
    }),
  );
  return [...own, ...(transit?.interfaces ?? [])];
}

/** The address that a router has in another child on its transit. */
async function transitAddress(db: Db, transit: Transit | undefined, child: string, version: number) {
  const over = transit?.interfaces.find(({ subnet }) => subnet.ip_version === version);
  const own = over?.port.fixed_ips[0];
  if (over === undefined || own === undefined) return undefined;
  return interfaceAddress(db, { subnet: over.subnet, child }, over.port.id, own.ip_address);
}

/** Adds what is missing and takes away what is too much. */
async function matchInterfaces(
  context: ChildContext,
  copy: Copy,
  wanted: readonly Interface[],
  there: readonly ChildPort[],
): Promise<void> {
  const subnets = await Promise.all(wanted.map(({ subnet }) => context.ensure('subnet', subnet.id)));
  const childSubnets = new Set(subnets.map(({ child_id }) => child_id));
  const surplus = there.filter(({ fixed_ips }) => !fixed_ips.some(({ subnet_id }) => childSubnets.has(subnet_id)));
  for (const port of surplus) await whileInUse(copy.detach({ port_id: port.id }));
  const present = new Set(there.flatMap(({ fixed_ips }) => fixed_ips.map(({ subnet_id }) => subnet_id)));
  // One after the other: a child locks its router for each.
  for (const [at, { port, subnet }] of wanted.entries()) {
    const childId = subnets[at]?.child_id ?? '';
    const address = port.fixed_ips.find(({ subnet_id }) => subnet_id === subnet.id)?.ip_address;
    // Also of an interface that is there: it is part of what the copy uses.
    const own = address === subnet.gateway_ip ? undefined : await context.ensure('port', port.id);
    if (present.has(childId)) continue;
    await copy.attach(own === undefined ? { subnet_id: childId } : { port_id: own.child_id });
    present.add(childId);
  }
}

/** The gateway in this child, with the address that the parent chose there; null where the child has no part in it. */
async function wantedGateway(
  { bindNetwork }: Pick<EdgeParts, 'bindNetwork'>,
  context: ChildContext,
  row: Router,
): Promise<ChildRouter['external_gateway_info']> {
  const { query } = context.db;
  if (row.gateway_network_id === null) return null;
  // One that was made here and is nowhere yet comes to live where the first router needs it.
  const { gateway_network_id } = row;
  const isAble = (await abilityOf(query, context.child)).refusal('external_networks') === undefined;
  if (isAble && (await isMadeHere(query, gateway_network_id))) {
    await context.db.transaction((tx) => bindNetwork(tx, gateway_network_id, context.child));
  }
  const external = await externalNetworkIn(context, gateway_network_id);
  if (external === undefined) return null;
  const { network_id, subnets: mine } = external;
  const isMissing = (id: string) =>
    !row.external_gateway_info?.external_fixed_ips.some(({ subnet_id }) => subnet_id === id);
  const missing = [...mine.keys()].filter(isMissing);
  if (missing.length > 0) await completeGateway(context.db, row.id, missing);
  const info = (missing.length > 0 ? await routers.find(query, row.id) : row)?.external_gateway_info ?? null;
  if (info === null) return null;
  const external_fixed_ips = info.external_fixed_ips.flatMap(({ subnet_id, ip_address }) => {
    const childId = mine.get(subnet_id);
    return childId === undefined ? [] : [{ subnet_id: childId, ip_address }];
  });
  const policy = info.qos_policy_id;
  const qos = policy === undefined ? {} : { qos_policy_id: (await context.ensure('qos_policy', policy)).child_id };
  const ability = await abilityOf(query, context.child);
  // Who may not choose gets an address of the child's choice, which the parent then shows.
  if (ability.facts?.chooses_addresses === false) {
    return { network_id, ...(info.enable_snat ? {} : { enable_snat: false }), ...qos };
  }
  return { network_id, enable_snat: info.enable_snat, external_fixed_ips, ...qos };
}

/** Takes over the gateway's addresses as the child gave them. Twice: they are the parent's already. */
async function adoptGateway(context: ChildContext, row: Router, copy: Copy): Promise<void> {
  const external =
    row.gateway_network_id === null ? undefined : await externalNetworkIn(context, row.gateway_network_id);
  if (external === undefined) return;
  const given = (await copy.show()).external_gateway_info?.external_fixed_ips ?? [];
  for (const [subnet_id, childId] of external.subnets) {
    const ip_address = given.find((one) => one.subnet_id === childId)?.ip_address;
    if (ip_address !== undefined) await exchangeGatewayAddress(context.db, row.id, { subnet_id, ip_address });
  }
}

/** A child keeps the policy that a gateway has until it is told of none. */
function withPolicyGone(there: ChildRouter, wanted: ChildRouter['external_gateway_info']) {
  const isGone = wanted !== null && wanted.qos_policy_id === undefined && there.external_gateway_info?.qos_policy_id;
  return isGone ? { ...wanted, qos_policy_id: null } : wanted;
}

function sameGateway(there: ChildRouter, wanted: ChildRouter['external_gateway_info']): boolean {
  const info = there.external_gateway_info;
  if (info === null || wanted === null) return info === wanted;
  const addresses = (one: typeof wanted) =>
    (one.external_fixed_ips ?? [])
      .map(({ ip_address }) => ip_address)
      .sort()
      .join();
  return (
    info.network_id === wanted.network_id &&
    (info.enable_snat ?? true) === (wanted.enable_snat ?? true) &&
    (info.qos_policy_id ?? null) === (wanted.qos_policy_id ?? null) &&
    (wanted.external_fixed_ips === undefined || addresses(info) === addresses(wanted))
  );
}

/** What a floating IP still needs in the child is free a moment later, when that is gone or moved there too. */
async function whileInUse(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (
      error instanceof CloudError &&
      error.status === 409 &&
      /required by|still attached|in use by/i.test(error.message)
    ) {
      throw new Later(IN_USE_AGAIN_MS, error.message);
    }
    throw error;
  }
}
