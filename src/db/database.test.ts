import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { Client } from 'pg';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { json, openDatabase, type Db } from './database.ts';

const db = await testDatabase();
const opened: Db[] = [];

async function another(): Promise<Db> {
  const other = await openDatabase({ url: db.url });
  opened.push(other);
  return other;
}

async function admin<T extends object>(text: string): Promise<T[]> {
  const client = new Client({ connectionString: db.url });
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}

/** Ends the sessions whose latest statement begins so, as a server that is lost would. */
const terminate = (beginning: string) =>
  admin(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '${beginning}%'`,
  );

afterEach(async () => {
  await Promise.all(opened.splice(0).map((other) => other.close()));
});

describe('values', () => {
  it('are read so that nothing is lost', async () => {
    const { rows } = await sql`
      select timestamptz '2026-01-02 03:04:05.123456+02' as micro, timestamptz '2026-01-02 03:04:05Z' as whole,
        array[timestamptz '2026-01-02 03:04:05.1Z', null] as times, date '2026-02-03' as day, int8 '9007199254740991' as big,
        array[1, 2]::int8[] as bigs, 1.5::numeric as fraction, inet '10.0.0.1/24' as address, cidr '2001:db8::/32' as range,
        macaddr 'FA:16:3E:00:00:01' as mac, '{"a": [1, null]}'::jsonb as document, count(*) as number
      from pg_database where false`.execute(db.query);
    expect(rows[0]).toEqual({
      micro: '2026-01-02T01:04:05.123456Z',
      whole: '2026-01-02T03:04:05.000000Z',
      times: ['2026-01-02T03:04:05.100000Z', null],
      day: '2026-02-03',
      big: 9007199254740991,
      bigs: [1, 2],
      fraction: 1.5,
      address: '10.0.0.1/24',
      range: '2001:db8::/32',
      mac: 'fa:16:3e:00:00:01',
      document: { a: [1, null] },
      number: 0,
    });
  });

  it('too large to be exact are refused, and the connection stays usable', async () => {
    await expect(sql`select int8 '9007199254740993' as big`.execute(db.query)).rejects.toThrow(/too large/);
    expect((await sql`select 1 as one`.execute(db.query)).rows).toEqual([{ one: 1 }]);
  });

  it('of json may be arrays', async () => {
    const { rows } = await sql`select ${json([{ a: "it's" }])} as list`.execute(db.query);
    expect(rows).toEqual([{ list: [{ a: "it's" }] }]);
  });
});

describe('sessions', () => {
  it('have limits and prepared statements with stable names', async () => {
    const rows = await db.query.connection().execute(async (query) => {
      await sql`select ${'x'}::text as repeated`.execute(query);
      await sql`select ${'y'}::text as repeated`.execute(query);
      return sql<{ name: string; timeout: string; lock: string; idle: string; zone: string }>`
        select name, current_setting('statement_timeout') as timeout, current_setting('lock_timeout') as lock,
          current_setting('idle_in_transaction_session_timeout') as idle, current_setting('timezone') as zone
        from pg_prepared_statements where statement like '%as repeated'`.execute(query);
    });
    expect(rows.rows).toEqual([
      { name: expect.stringMatching(/^hw_[0-9a-f]{20}$/), timeout: '30s', lock: '10s', idle: '1min', zone: 'UTC' },
    ]);
  });

  it('survive a table that changed under a prepared statement', async () => {
    await sql`create table changing (a int)`.execute(db.query);
    const read = () => sql`select * from changing where ${1}::int = 1`.execute(db.query);
    await read();
    await sql`alter table changing add column b int`.execute(db.query);
    await expect(read()).rejects.toThrow(/cached plan/);
    await expect(read()).resolves.toMatchObject({ rows: [] });
  });

  it('lost with the server fail their queries alone', async () => {
    const other = await another();
    const slow = sql`select pg_sleep(${20}), 'lost' as slow`.execute(other.query);
    const failed = expect(slow).rejects.toThrow();
    await sleep(100);
    await terminate('select pg_sleep(');
    await failed;
    expect((await sql`select 1 as one`.execute(other.query)).rows).toEqual([{ one: 1 }]);
  });

  it('cannot be had where no server is', async () => {
    await expect(openDatabase({ url: 'postgresql://u:secret@127.0.0.1:1/x' })).rejects.toThrow(
      /^cannot use the database: (?!.*secret)/,
    );
  });
});

describe('transactions', () => {
  it('commit what is done and undo what fails', async () => {
    await sql`create table things (id int primary key, n int not null)`.execute(db.query);
    await db.transaction((tx) => sql`insert into things values (1, 1), (2, 1)`.execute(tx));
    await expect(
      db.transaction(async (tx) => {
        await sql`insert into things values (3, 1)`.execute(tx);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    expect((await sql`select id from things order by id`.execute(db.query)).rows).toEqual([{ id: 1 }, { id: 2 }]);
  });

  it('are run again after a deadlock, and no more often than told', async () => {
    let runs = 0;
    const cross = (first: number, second: number) => (options?: { retries: number }) =>
      db.transaction(async (tx) => {
        runs += 1;
        await sql`update things set n = n + 1 where id = ${first}`.execute(tx);
        await sleep(50);
        await sql`update things set n = n + 1 where id = ${second}`.execute(tx);
      }, options);
    await Promise.all([cross(1, 2)(), cross(2, 1)()]);
    expect(runs).toBe(3);
    expect((await sql`select n from things order by id`.execute(db.query)).rows).toEqual([{ n: 3 }, { n: 3 }]);
    const results = await Promise.allSettled([cross(1, 2)({ retries: 0 }), cross(2, 1)({ retries: 0 })]);
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(1);
  });
});

describe('notifications', () => {
  it('arrive when the transaction commits, until one stops listening', async () => {
    const heard: string[] = [];
    const stop = await db.listen('some "channel"', (payload) => heard.push(payload));
    await db.transaction(async (tx) => {
      await db.notify(tx, 'some "channel"', 'one');
      await sleep(50);
      expect(heard).toEqual([]);
    });
    await vi.waitFor(() => expect(heard).toEqual(['one']));
    await stop();
    await db.notify(db.query, 'some "channel"', 'two');
    await sleep(100);
    expect(heard).toEqual(['one']);
    await expect(db.notify(db.query, 'c', 'x'.repeat(8_000))).rejects.toThrow(RangeError);
  });

  it('go on after the connection was lost, and each handler is told of the gap', async () => {
    const other = await another();
    const first: string[] = [];
    const second: string[] = [];
    await other.listen('gap', (payload) => first.push(payload));
    await other.listen('gap2', (payload) => second.push(payload));
    await terminate('LISTEN');
    await vi.waitFor(() => expect([first, second]).toEqual([[''], ['']]), 5_000);
    await db.notify(db.query, 'gap', 'after');
    await vi.waitFor(() => expect(first).toEqual(['', 'after']));
  });
});

describe('locks', () => {
  it('are held by one caller at a time', async () => {
    const other = await another();
    const lock = await db.tryLock('leader');
    expect(lock).toBeDefined();
    expect(await db.tryLock('leader')).toBeUndefined();
    expect(await other.tryLock('leader')).toBeUndefined();
    expect(await other.tryLock('another')).toBeDefined();
    await lock?.release();
    await lock?.release();
    const next = await other.tryLock('leader');
    expect(next?.lost.aborted).toBe(false);
  });

  it('are known to be lost with their connection', async () => {
    const other = await another();
    const lock = await other.tryLock('fragile');
    await terminate('SELECT pg_try_advisory_lock');
    await vi.waitFor(() => expect(lock?.lost.aborted).toBe(true));
    await lock?.release();
    const again = await db.tryLock('fragile');
    expect(again).toBeDefined();
    await again?.release();
    expect(await other.tryLock('fragile')).toBeDefined();
  });

  it('end with the database, after which nothing works', async () => {
    const other = await openDatabase({ url: db.url });
    await other.tryLock('closing');
    await other.listen('closing', () => {});
    await other.close();
    await other.close();
    expect(await db.tryLock('closing')).toBeDefined();
    await expect(other.tryLock('closing')).rejects.toThrow(/closed/);
    await expect(other.listen('closing', () => {})).rejects.toThrow(/closed/);
  });
});
