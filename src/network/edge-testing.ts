/** For tests of the network's edge: the service over a database, with two simulated clouds as children. */
import { sql } from 'kysely';
import { afterAll, expect, vi } from 'vitest';
import { createCascade } from '../cascade/cascade.ts';
import { network as convention } from '../http/conventions.ts';
import { createCloudClient } from '../openstack/client.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { silent, testApi } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { addressGroupKind } from './address-group/address-group-replica.ts';
import { edgeOperations, type EdgeParts, edgeRules, registerEdgeKinds } from './edge.ts';
import { networkKind } from './network-replica.ts';
import { networkResource } from './network-resource.ts';
import { bindNetwork, networkOperations } from './networks.ts';
import { createPortBatches } from './port-batch.ts';
import { createPortEvents } from './port-events.ts';
import { portKind } from './port-replica.ts';
import { portResource } from './port-resource.ts';
import { portOperations, portRules } from './ports.ts';
import { qosPolicyKind } from './qos/qos-policy-replica.ts';
import { qosOperations } from './qos/qos-policies.ts';
import { remoteMembersKind } from './remote-member/remote-member-replica.ts';
import { securityGroupKind } from './security-group-replica.ts';
import { subnetKind } from './subnet-replica.ts';
import { subnetOperations } from './subnets.ts';
import { NO_TOPOLOGY, type NetworkTopology } from './topology.ts';

export const db = await testDatabase();
export const UNKNOWN = '11111111-1111-1111-1111-111111111111';
export const changedServers: string[] = [];
/** Floating IPs of the servers' ports, as they were when it was told of. */
export const floatingSeen: number[] = [];

/** Waits until the check passes. */
export const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 10_000, interval: 25 });

async function child(name: string, cidr: string) {
  const sim = await createSimCloud({ name, externalNetworks: [{ name: 'public', cidr }] });
  const entry = { name, auth_type: 'password' as const, ...sim.cloudsYamlEntry };
  const client = createCloudClient({ entry, name, backoff_ms: 1 });
  return {
    sim,
    configured: { config: { name, zones: { [name]: 'nova' }, tenancy: 'mirrored' as const }, api: client },
  };
}

const [one, other] = await Promise.all([child('east', '172.24.1.0/24'), child('west', '172.24.2.0/24')]);
export const [east, west] = [one.sim, other.sim];
export const cascade = await createCascade({ db, log: silent, children: [one.configured, other.configured] });
await sql`insert into identity_domains (id, name) values ('default', 'Default') on conflict do nothing`.execute(
  db.query,
);
await sql`insert into identity_projects (id, name, domain_id, parent_id)
  select p, p, 'default', 'default' from unnest(array['p0', 'p1', 'p2']) p on conflict do nothing`.execute(db.query);
await sql`update children set up = true, seen_at = clock_timestamp()`.execute(db.query);
const events = createPortEvents();
events.onServersChanged(async (tx, ids) => {
  changedServers.push(...ids);
  const found = await sql`select 1 from floating_ips f join ports p on p.id = f.port_id
    where p.device_id = any(${[...ids]}::text[])`.execute(tx);
  floatingSeen.push(found.rows.length);
});
const topology: NetworkTopology = {
  ...NO_TOPOLOGY,
  physical_networks: [
    {
      name: 'wan',
      children: { east: 'physnet1', west: 'physnet1' },
      vlans: undefined,
      transit_vlans: { first: 150, last: 159 },
      flat: false,
      mtu: 1500,
    },
  ],
};
const parts: EdgeParts = {
  db,
  cascade,
  events,
  topology,
  async bindNetwork(tx, networkId, name) {
    return bindNetwork(tx, { cascade, topology }, networkId, name);
  },
};
for (const replica of [
  networkKind({ cascade, topology }),
  subnetKind,
  addressGroupKind(cascade),
  qosPolicyKind,
  securityGroupKind(cascade),
  portKind(createPortBatches(), cascade),
  remoteMembersKind(cascade),
]) {
  cascade.register({ replica: replica as never });
}
registerEdgeKinds(parts);
const operations = [
  ...networkOperations({ db, cascade, events, topology }),
  ...subnetOperations({ db, cascade, events }),
  ...portOperations({ db, cascade, events }),
  ...qosOperations({ db, cascade }),
  ...edgeOperations(parts),
];
const rules = [...edgeRules, ...portRules, ...networkResource.fieldRules, ...portResource.fieldRules];
const api = testApi([{ convention, operations, rules }]);
await cascade.start();
await eventually(async () => {
  const found = await sql<{ times: number }>`select count(*)::int as times from external_subnets`.execute(db.query);
  expect(found.rows[0]?.times).toBe(2);
});

afterAll(async () => {
  await api.close();
  await cascade.stop();
  await Promise.all([east.close(), west.close()]);
});

/** One request to the network API. */
export const call = (who: string, method: string, path: string, body?: unknown) =>
  api.call(who, method, `/network/v2.0${path}`, body);

/** The parent's only external network, as a tenant sees it. */
export async function external(): Promise<{ id: string; subnets: string[] }> {
  const { body } = await call('alice', 'GET', '/networks?router:external=true');
  expect(body.networks).toHaveLength(1);
  return body.networks[0];
}

/** The parent's external subnet that stands for a child's. */
export async function subnetIn(name: string): Promise<string> {
  const found = await sql<{ subnet_id: string }>`select subnet_id from external_subnets where child = ${name}`.execute(
    db.query,
  );
  return found.rows[0]?.subnet_id ?? '';
}

/** A new network of alice's with one subnet. */
export async function tenantSubnet(cidr: string, gateway?: string | null) {
  const { body } = await call('alice', 'POST', '/networks', { network: { name: 'n' } });
  const network_id: string = body.network.id;
  const wanted = { network_id, cidr, ip_version: 4, ...(gateway === undefined ? {} : { gateway_ip: gateway }) };
  const made = await call('alice', 'POST', '/subnets', { subnet: wanted });
  expect(made.status).toBe(201);
  return { network_id, subnet_id: made.body.subnet.id as string };
}

/** A new router of alice's. */
export async function newRouter(more: object = {}): Promise<string> {
  const { status, body } = await call('alice', 'POST', '/routers', { router: { name: 'r', ...more } });
  expect(status).toBe(201);
  return body.router.id;
}

/** Says that a network lives in a child now. */
export const bind = (networkId: string, name: string) => db.transaction((tx) => parts.bindNetwork(tx, networkId, name));
/** Neutron's name of a fault. */
export const type = (answer: { body: { NeutronError: { type: string } } }) => answer.body.NeutronError.type;
/** Copies of a router in a simulated child. */
export const routersIn = (sim: SimCloud, id: string) =>
  [...sim.state.routers.values()].filter(({ name }) => name === id);

/** A port that somebody else has in a child. */
export const foreign = (network_id: string) => ({
  id: 'foreign-port',
  network_id,
  project_id: 'somebody',
  mac_address: 'fa:16:3e:00:00:01',
  status: 'ACTIVE',
  device_id: 'something',
  device_owner: 'network:floatingip',
  security_groups: [],
});
