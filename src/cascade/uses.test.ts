/** Copies go from a child in the order in which it lets them go, each asked for once. */
import { sql } from 'kysely';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CloudApi } from '../openstack/contract.ts';
import { silent } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { createCascade, type RunningCascade } from './cascade.ts';
import type { ReplicaKind } from './contract.ts';

const db = await testDatabase();

interface Part {
  readonly id: string;
  readonly uses: readonly string[];
  readonly revision: number;
}

/** What the child was asked, in its order. */
let asked: string[] = [];
/** How long the child takes over something, in ms. */
let slow: Record<string, number> = {};
let cascade: RunningCascade;

async function ask(what: string): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, slow[what] ?? 1));
  asked.push(what);
}

/** Parts that use others by bringing them, as a port its subnet. */
const part: ReplicaKind<Part> = {
  kind: 'part',
  table: 'parts',
  unique: true,
  load: async (query, id) => (await sql<Part>`select * from parts where id = ${id}`.execute(query)).rows[0],
  find: async () => undefined,
  async make(context, row) {
    for (const use of row.uses) await context.ensure('part', use);
    await ask(`make ${row.id}`);
    return { child_id: row.id };
  },
  async bring(context, row) {
    for (const use of row.uses) await context.ensure('part', use);
    await ask(`bring ${row.id}`);
  },
  remove: (_context, { resource_id }) => ask(`remove ${resource_id}`),
};

const have = (id: string, uses: readonly string[] = []) =>
  sql`insert into parts (id, uses) values (${id}, ${uses}::text[])`.execute(db.query);

async function go(...ids: readonly string[]): Promise<void> {
  await db.transaction(async (tx) => {
    await sql`delete from parts where id = any(${ids}::text[])`.execute(tx);
    for (const id of ids) await cascade.retire(tx, 'part', id);
  });
  cascade.poke();
}

const remaining = async () =>
  (await sql`select 1 from replicas union all select 1 from work`.execute(db.query)).rows.length;
const atRest = () => vi.waitFor(async () => expect(await remaining()).toBe(0), { timeout: 10_000, interval: 20 });
const asks = (what: string) => vi.waitFor(() => expect(asked).toContain(what), { timeout: 10_000, interval: 20 });

beforeAll(async () => {
  await sql`create table parts (id text primary key, uses text[] not null, revision int not null default 1)`.execute(
    db.query,
  );
});

beforeEach(async () => {
  await sql`truncate parts, replicas, work`.execute(db.query);
  slow = {};
  const api = { breaker: 'closed', probe: async () => true, close: async () => undefined } as unknown as CloudApi;
  const config = { name: 'east', zones: { east: 'nova' }, tenancy: 'mirrored' } as const;
  cascade = await createCascade({ db, log: silent, children: [{ config, api }] });
  cascade.register({ replica: part as never });
  await cascade.start();
  await have('network');
  await have('subnet', ['network']);
  await have('port', ['subnet']);
  await cascade.context('east').ensure('part', 'port');
  await vi.waitFor(async () => expect((await sql`select 1 from work`.execute(db.query)).rows).toHaveLength(0));
  asked = [];
});

afterEach(() => cascade.stop());

describe('copies that go', () => {
  it('wait for those that use them, and go right behind', async () => {
    slow = { 'remove port': 300, 'remove subnet': 100 };
    const begun = performance.now();
    await go('network', 'subnet', 'port');
    await atRest();
    expect(asked).toEqual(['remove port', 'remove subnet', 'remove network']);
    expect(performance.now() - begun, 'nothing waits for the next look').toBeLessThan(2500);
  });

  it('wait for those that change to use them no more', async () => {
    slow = { 'bring port': 300 };
    await have('other');
    await db.transaction(async (tx) => {
      await sql`update parts set uses = '{other}', revision = 2 where id = 'port'`.execute(tx);
      await cascade.revise(tx, 'part', 'port');
    });
    await go('subnet');
    await asks('remove subnet');
    expect(asked).toEqual(['make other', 'bring port', 'remove subnet']);
  });

  it('wait for nothing that is at rest: whether they can go the child must say', async () => {
    await go('subnet');
    await asks('remove subnet');
    expect(asked).toEqual(['remove subnet']);
  });

  it('are looked at again where nobody lived to say that they are used no more', async () => {
    slow = { 'remove port': 60_000 };
    await go('subnet', 'port');
    await vi.waitFor(async () => {
      const { rows } = await sql`select 1 from work where resource_id = 'subnet' and due_at < 'infinity'
        and due_at > clock_timestamp() + interval '500 milliseconds'`.execute(db.query);
      expect(rows).toHaveLength(1);
    });
    await sql`delete from replicas where resource_id = 'port'`.execute(db.query);
    await asks('remove subnet');
  });
});
