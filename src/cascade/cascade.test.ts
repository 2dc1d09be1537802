import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { silent } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { applyEach } from './apply-each.ts';
import { createCascade, type RunningCascade } from './cascade.ts';
import type { ChildConfig, HostedKind, ReplicaKind } from './contract.ts';
import { FakeChild } from './fake-child.testing.ts';
import { backlog } from './work.ts';

const db = await testDatabase();

interface Thing {
  id: string;
  size: number;
  revision: number;
}

let east: FakeChild;
let west: FakeChild;
let running: RunningCascade[] = [];
const failures: string[] = [];

const childOf = (name: string) => (name === 'east' ? east : west);

const thingKind = (unique: boolean): ReplicaKind<Thing> => ({
  kind: 'thing',
  table: 'things',
  unique,
  load: async (query, id) => (await sql<Thing>`select * from things where id = ${id}`.execute(query)).rows[0],
  find: ({ child }, id) =>
    childOf(child).call(() => {
      const found = [...childOf(child).things].find(([, thing]) => thing.name === id);
      return found === undefined ? undefined : { child_id: found[0] };
    }),
  make: async ({ child }, row) => ({ child_id: await childOf(child).create(row.id, row.size) }),
  bring: ({ child }, row, replica) =>
    childOf(child).call(() => {
      const thing = childOf(child).things.get(replica.child_id ?? '');
      if (thing !== undefined) thing.size = row.size;
    }),
  remove: ({ child }, replica) => childOf(child).call(() => void childOf(child).things.delete(replica.child_id)),
  failed: async (_context, _id, message) => void failures.push(message),
});

async function start(
  options: { unique?: boolean; hosted?: HostedKind; begin?: boolean } = {},
): Promise<RunningCascade> {
  const config = (name: string): ChildConfig => ({ name, zones: { [name]: 'nova' }, tenancy: 'mirrored' });
  const cascade = await createCascade({
    db,
    log: silent,
    children: [
      { config: config('east'), api: east.api },
      { config: config('west'), api: west.api },
    ],
  });
  cascade.register({ replica: thingKind(options.unique ?? true) as never });
  if (options.hosted !== undefined) cascade.register({ hosted: options.hosted });
  if (options.begin !== false) await cascade.start();
  running.push(cascade);
  return cascade;
}

async function newThing(size = 1): Promise<string> {
  const id = randomUUID();
  await sql`insert into things (id, size) values (${id}, ${size})`.execute(db.query);
  return id;
}

const sizes = (child: FakeChild, id: string) =>
  [...child.things.values()].filter((t) => t.name === id).map((t) => t.size);
function withResolvers() {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}
const eventually = (check: () => void | Promise<void>, timeout = 10_000) =>
  vi.waitFor(check, { timeout, interval: 20 });

beforeAll(async () => {
  await sql`create table things (id text primary key, size integer not null, revision bigint not null default 1)`.execute(
    db.query,
  );
});
beforeEach(() => {
  east = new FakeChild();
  west = new FakeChild();
  failures.length = 0;
});
afterEach(async () => {
  await Promise.all(running.map((cascade) => cascade.stop()));
  running = [];
  await sql`truncate things, work, replicas, cursors`.execute(db.query);
});

describe('replicas', () => {
  it('are made when first needed, once for many who need them, and cost no call afterwards', async () => {
    const cascade = await start();
    const id = await newThing(3);
    const made = await Promise.all(Array.from({ length: 10 }, () => cascade.context('east').ensure('thing', id)));
    expect(new Set(made.map((replica) => replica.child_id)).size).toBe(1);
    expect(sizes(east, id)).toEqual([3]);
    const calls = east.calls;
    await cascade.context('east').ensure('thing', id);
    expect(east.calls).toBe(calls);
    expect(await cascade.context('east').parentIds('thing', [made[0]!.child_id])).toEqual(
      new Map([[made[0]!.child_id, id]]),
    );
    expect(sizes(west, id)).toEqual([]);
  });

  it('follow the parent when it changes, and go when it goes', async () => {
    const cascade = await start();
    const id = await newThing(1);
    await Promise.all(['east', 'west'].map((child) => cascade.context(child).ensure('thing', id)));
    await db.transaction(async (tx) => {
      await sql`update things set size = 9, revision = revision + 1 where id = ${id}`.execute(tx);
      await cascade.revise(tx, 'thing', id);
    });
    cascade.poke();
    await eventually(() => expect([sizes(east, id), sizes(west, id)]).toEqual([[9], [9]]));
    await db.transaction(async (tx) => {
      await cascade.retire(tx, 'thing', id);
      await sql`delete from things where id = ${id}`.execute(tx);
    });
    cascade.poke();
    await eventually(async () => {
      expect([sizes(east, id), sizes(west, id)]).toEqual([[], []]);
      expect(await cascade.replicasOf(db.query, 'thing', id)).toEqual([]);
      expect(await backlog(db.query, 'east')).toBe(0);
    });
  });

  it('go and change too where that is wanted while they are being made', async () => {
    const cascade = await start();
    const ids = [await newThing(1), await newThing(1)];
    east.delay_ms = 400;
    const made = ids.map((id) => cascade.context('east').ensure('thing', id));
    await new Promise((resolve) => setTimeout(resolve, 200));
    await db.transaction(async (tx) => {
      await cascade.retire(tx, 'thing', ids[0] ?? '');
      await sql`delete from things where id = ${ids[0]}`.execute(tx);
      await sql`update things set size = 9, revision = revision + 1 where id = ${ids[1]}`.execute(tx);
      await cascade.revise(tx, 'thing', ids[1] ?? '');
    });
    cascade.poke();
    await Promise.allSettled(made);
    east.delay_ms = 2;
    await eventually(() => expect(ids.map((id) => sizes(east, id))).toEqual([[], [9]]));
  });

  it('of a child that let go stay away, though an intent from before comes in behind', async () => {
    const cascade = await start();
    const id = await newThing();
    await cascade.context('east').ensure('thing', id);
    await db.transaction((tx) => cascade.retire(tx, 'thing', id, { child: 'east' }));
    cascade.poke();
    await eventually(() => expect(sizes(east, id)).toEqual([]));
    await db.transaction((tx) => cascade.want(tx, 'east', 'thing', id));
    cascade.poke();
    await eventually(async () => expect(await backlog(db.query, 'east')).toBe(0));
    expect(sizes(east, id)).toEqual([]);
    expect(await cascade.replicasOf(db.query, 'thing', id)).toEqual([]);
  });

  it('are brought to a change that was under way, unseen by both, when the first was made', async () => {
    const cascade = await start();
    const id = await newThing(1);
    const { promise: isMade, resolve: made } = withResolvers();
    const { promise: hasChanged, resolve: changed } = withResolvers();
    const changing = db.transaction(async (tx) => {
      await sql`update things set size = 9, revision = revision + 1 where id = ${id}`.execute(tx);
      await cascade.revise(tx, 'thing', id);
      changed();
      await isMade;
    });
    await hasChanged;
    const ensured = cascade.context('east').ensure('thing', id);
    await eventually(() => expect(sizes(east, id)).toEqual([1]));
    made();
    await Promise.all([changing, ensured]);
    cascade.poke();
    await eventually(() => expect(sizes(east, id)).toEqual([9]));
  });

  it('are at the revision that whoever needs them saw, also where an older one is just being brought', async () => {
    const cascade = await start();
    const id = await newThing(1);
    await cascade.context('east').ensure('thing', id);
    const change = (size: number) =>
      db.transaction(async (tx) => {
        await sql`update things set size = ${size}, revision = revision + 1 where id = ${id}`.execute(tx);
        await cascade.revise(tx, 'thing', id);
      });
    east.delay_ms = 300;
    await change(2);
    const older = cascade.context('east').ensure('thing', id);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await change(3);
    const { revision } = await cascade.context('east').ensure('thing', id);
    expect(revision).toBe(3);
    expect(sizes(east, id)).toEqual([3]);
    await older;
  });

  it('that are to wait for further changes do so, also for those that come while they are brought', async () => {
    const cascade = await start();
    const id = await newThing(1);
    await cascade.context('east').ensure('thing', id);
    const calls = east.calls;
    const started_ms = Date.now();
    for (let size = 2; size <= 21; size += 1) {
      await db.transaction(async (tx) => {
        await sql`update things set size = ${size}, revision = revision + 1 where id = ${id}`.execute(tx);
        await cascade.revise(tx, 'thing', id, { delay_ms: 200 });
      });
      cascade.poke();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await eventually(() => expect(sizes(east, id)).toEqual([21]));
    expect(east.calls - calls).toBeLessThanOrEqual(Math.ceil((Date.now() - started_ms) / 200) + 1);
  });

  it('are found again, not made twice, where the answer to the create was lost', async () => {
    const cascade = await start();
    const id = await newThing();
    east.next = 'lost';
    await db.transaction((tx) => cascade.wantReplica(tx, 'east', 'thing', id));
    cascade.poke();
    await eventually(async () => expect((await cascade.replicasOf(db.query, 'thing', id))[0]?.child_id).toBeTruthy());
    expect(sizes(east, id)).toEqual([1]);
  });

  it('are removed even where it is not known whether they were made', async () => {
    const cascade = await start();
    const id = await newThing();
    east.next = 'lost';
    await expect(cascade.context('east').ensure('thing', id)).rejects.toThrow('lost');
    await db.transaction(async (tx) => {
      await cascade.retire(tx, 'thing', id);
      await sql`delete from things where id = ${id}`.execute(tx);
    });
    cascade.poke();
    await eventually(() => expect(sizes(east, id)).toEqual([]));
  });

  it('that the child refuses are given up until the parent changes, and the object is told', async () => {
    const cascade = await start();
    const id = await newThing(100);
    east.next = 'refused';
    await db.transaction((tx) => cascade.wantReplica(tx, 'east', 'thing', id));
    cascade.poke();
    await eventually(() => expect(failures).toEqual(['Too big.']));
    await eventually(async () => expect(await backlog(db.query, 'east')).toBe(0));
    await db.transaction(async (tx) => {
      await sql`update things set size = 2, revision = revision + 1 where id = ${id}`.execute(tx);
      await cascade.revise(tx, 'thing', id);
    });
    cascade.poke();
    await eventually(() => expect(sizes(east, id)).toEqual([2]));
  });

  it('wait, where the child would take a second one, until a create of unknown outcome has settled', async () => {
    const cascade = await start({ unique: false, begin: false });
    const id = await newThing();
    await sql`insert into replicas (kind, resource_id, child, sent_at) values ('thing', ${id}, 'east', clock_timestamp())`.execute(
      db.query,
    );
    await expect(cascade.context('east').ensure('thing', id)).rejects.toMatchObject({ again_ms: 1000 });
    await sql`update replicas set sent_at = clock_timestamp() - interval '1 minute' where resource_id = ${id}`.execute(
      db.query,
    );
    await cascade.context('east').ensure('thing', id);
    expect(sizes(east, id)).toEqual([1]);
  });
});

describe('work', () => {
  it('of a child that is down waits, costs the others nothing, and is done when it is back', async () => {
    const cascade = await start();
    east.up = false;
    const ids = await Promise.all(Array.from({ length: 20 }, () => newThing()));
    await db.transaction(async (tx) => {
      for (const id of ids) for (const child of ['east', 'west']) await cascade.wantReplica(tx, child, 'thing', id);
    });
    cascade.poke();
    await eventually(() => expect(west.things.size).toBe(20));
    expect(east.things.size).toBe(0);
    await eventually(async () =>
      expect((await cascade.children(db.query))[0]).toMatchObject({ name: 'east', up: false }),
    );
    east.up = true;
    await eventually(() => expect(east.things.size).toBe(20));
  });

  it('can be lost whole: what remains to be done is read off the rows', async () => {
    const first = await start({ begin: false });
    const [kept, gone] = [await newThing(), await newThing()];
    await first.context('east').ensure('thing', gone);
    await db.transaction(async (tx) => {
      await first.wantReplica(tx, 'east', 'thing', kept);
      await sql`delete from things where id = ${gone}`.execute(tx);
    });
    await sql`truncate work`.execute(db.query);
    await start();
    await eventually(() => expect([sizes(east, kept), sizes(east, gone)]).toEqual([[1], []]));
  });

  it('claimed by a process that died is taken over', async () => {
    const id = await newThing();
    const cascade = await start({ begin: false });
    await db.transaction((tx) => cascade.wantReplica(tx, 'east', 'thing', id));
    await sql`update work set claimed_by = 'dead'`.execute(db.query);
    await sql`update replicas set claimed_by = 'dead'`.execute(db.query);
    await start();
    await eventually(() => expect(sizes(east, id)).toEqual([1]));
  });

  it('for one object is never done twice at once, and an intent during the work is not lost', async () => {
    let underway = 0;
    let most = 0;
    const seen: string[] = [];
    const hosted: HostedKind = {
      kind: 'job',
      pending: async () => [],
      async reconcile(_context, id) {
        underway += 1;
        most = Math.max(most, underway);
        await new Promise((resolve) => setTimeout(resolve, 60));
        underway -= 1;
        seen.push(id);
        return 'done';
      },
    };
    const one = await start({ hosted });
    await start({ hosted });
    const want = () => db.transaction((tx) => one.want(tx, 'east', 'job', 'a'));
    await Promise.all(Array.from({ length: 5 }, want));
    one.poke();
    await eventually(() => expect(underway).toBe(1));
    await want();
    one.poke();
    await eventually(async () => expect(await backlog(db.query, 'east')).toBe(0));
    expect(most).toBe(1);
    expect(seen.length).toBeGreaterThanOrEqual(2);
  });
});

describe('feeds', () => {
  it('store their cursor only after a round went through, and are read by one process', async () => {
    const cursors: (string | undefined)[] = [];
    let fail = true;
    const cascade = await start({ begin: false });
    cascade.register({
      feed: {
        name: 'numbers',
        idle_ms: 30,
        busy_ms: 10,
        busy: async () => false,
        async round({ child }, cursor) {
          if (child !== 'east') return cursor;
          cursors.push(cursor);
          if (cursor === '2' && fail) {
            fail = false;
            throw new Error('midway');
          }
          return String(Number(cursor ?? '0') + 1);
        },
      },
    });
    await cascade.start();
    await eventually(() => expect(cursors.slice(0, 5)).toEqual([undefined, '1', '2', '2', '3']));
  });

  it('skip a record that cannot be applied, and apply the rest', async () => {
    const applied: number[] = [];
    const failed = await applyEach([1, 2, 3], silent, String, (item) => {
      if (item === 2) throw new Error('unreadable');
      applied.push(item);
    });
    expect([applied, failed]).toEqual([[1, 3], 1]);
  });
});
