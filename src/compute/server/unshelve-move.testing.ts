/** For the tests of servers that are unshelved in another child: two that a wire joins, and what is left in either. */
import { sql } from 'kysely';
import { expect } from 'vitest';
import { NO_TOPOLOGY } from '../../network/topology.ts';
import type { SimCloud } from '../../sim/cloud.ts';
import { serverTest, until } from './testing.ts';

const topology = {
  ...NO_TOPOLOGY,
  physical_networks: [
    {
      name: 'wan',
      children: { east: 'physnet1', west: 'physnet1' },
      vlans: { first: 100, last: 149 },
      transit_vlans: { first: 150, last: 153 },
      flat: false,
      mtu: 1500,
    },
  ],
};

type Row = Readonly<Record<string, unknown>>;

export async function moveTest() {
  const test = await serverTest({ topology });
  const { call, ask, db, east, west, boot, reached } = test;
  const clouds = { east, west };

  const made = async (path: string, kind: string, values: object): Promise<string> => {
    const answer = await ask('admin', 'POST', `/network/v2.0/${path}`, { [kind]: values });
    if (answer.status !== 201) throw new Error(answer.text);
    return answer.body[kind].id;
  };
  /** A network of alice's in both clouds. */
  const stretched = async (cidr: string): Promise<string> => {
    const provider = { 'provider:network_type': 'vlan', 'provider:physical_network': 'wan' };
    // A child is asked now and then what its networking can do.
    const network = await until(() =>
      made('networks', 'network', { ...provider, project_id: 'p1' }).catch(() => false),
    );
    const network_id = String(network);
    await made('subnets', 'subnet', { network_id, ip_version: 4, cidr, project_id: 'p1' });
    return network_id;
  };

  const act = (who: string, id: string, body: object, minor = 93) =>
    call(who, 'POST', `/servers/${id}/action`, body, minor);
  const serversOf = (cloud: SimCloud, id: string) =>
    [...cloud.state.servers.values()].filter(({ isDeleted, tags }) => !isDeleted && tags.includes(`headwater:${id}`));
  const portsOf = (cloud: SimCloud, ids: readonly unknown[]) =>
    [...cloud.state.ports.values()].filter(({ name }) => ids.includes(name));
  const shelvedIn = (cloud: SimCloud): Row[] =>
    [...cloud.state.images.values()]
      .map(({ fields }) => fields)
      .filter(({ name }) => String(name).endsWith('-shelved'));
  const portIds = async (id: string): Promise<string[]> => {
    const { rows } = await sql<{ id: string }>`select id from ports where device_id = ${id}`.execute(db.query);
    return rows.map((row) => row.id);
  };
  const actionsOf = async (id: string) =>
    (await call('alice', 'GET', `/servers/${id}/os-instance-actions`)).body.instanceActions as Row[];
  const usage = async () =>
    (await call('admin', 'GET', '/os-quota-sets/p1/detail')).body.quota_set as Record<string, { in_use: number }>;
  const shelve = async (id: string) => {
    expect((await act('alice', id, { shelve: null })).status).toBe(202);
    return reached(id, 'SHELVED_OFFLOADED');
  };
  const unshelve = (id: string, body: object | null, who = 'alice', minor = 93) =>
    act(who, id, { unshelve: body }, minor);

  /** Waits until a server and its ports are in one cloud, once, and nothing of it is in the other. */
  const settled = async (id: string, where: 'east' | 'west'): Promise<void> => {
    const away = clouds[where === 'east' ? 'west' : 'east'];
    const ports = await portIds(id);
    await until(async () => {
      const here = serversOf(clouds[where], id).length === 1 && portsOf(clouds[where], ports).length === ports.length;
      return here && serversOf(away, id).length === 0 && portsOf(away, ports).length === 0 && (await nothingLeaves());
    }, 40_000);
  };
  const nothingLeaves = async (): Promise<boolean> => {
    const { rows } = await sql`select 1 from server_leavings union all
      select 1 from replicas where retiring`.execute(db.query);
    return rows.length === 0;
  };
  /** Lets the time pass after which what was sent and never heard of counts as never made. */
  const timePasses = async (): Promise<void> => {
    const before = sql`interval '10 minutes'`;
    await sql`update replicas set sent_at = sent_at - ${before} where child_id is null`.execute(db.query);
    await sql`update servers set create_sent_at = create_sent_at - ${before} where child_id is null`.execute(db.query);
    await sql`update server_leavings set create_sent_at = create_sent_at - ${before}`.execute(db.query);
    await sql`update work set due_at = least(due_at, clock_timestamp())`.execute(db.query);
  };

  return {
    ...test,
    clouds,
    stretched,
    act,
    serversOf,
    portsOf,
    shelvedIn,
    portIds,
    actionsOf,
    usage,
    shelve,
    unshelve,
    settled,
    timePasses,
    boot,
  };
}
