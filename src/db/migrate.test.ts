import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { migrate } from './migrate.ts';

const db = await testDatabase();
const folder = await mkdtemp(join(tmpdir(), 'headwater-migrations-'));
const file = (name: string, text: string) => writeFile(join(folder, name), text);
const run = () => migrate({ url: db.url, folder });

afterAll(() => rm(folder, { recursive: true, force: true }));

beforeEach(async () => {
  await sql`drop table if exists one, two, schema_migrations`.execute(db.query);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  await file('0001_one.sql', 'CREATE TABLE one (id int); CREATE INDEX one_id ON one (id);');
  await file('0003_two.sql', 'CREATE TABLE two (id int);');
});

it('applies each migration once, in order, also from several processes at once', async () => {
  const results = await Promise.all([run(), run(), run()]);
  expect(results.flat()).toEqual(['0001_one.sql', '0003_two.sql']);
  const rows = await db.query.selectFrom('schema_migrations').select(['number', 'name']).orderBy('number').execute();
  expect(rows).toEqual([
    { number: 1, name: '0001_one.sql' },
    { number: 3, name: '0003_two.sql' },
  ]);
});

it('refuses an applied migration that was altered, whatever its line ends', async () => {
  await file('0003_two.sql', 'CREATE TABLE two (\n  id int);');
  await run();
  await file('0003_two.sql', 'CREATE TABLE two (\r\n  id int);');
  await expect(run()).resolves.toEqual([]);
  await file('0003_two.sql', 'CREATE TABLE two (id bigint);');
  await expect(run()).rejects.toThrow('0003_two.sql was altered');
});

it('refuses a database that is newer than the program', async () => {
  await run();
  await rm(join(folder, '0003_two.sql'));
  await expect(run()).rejects.toThrow(/newer than this program.*0003_two\.sql/);
});

it('undoes the migration that fails and keeps those before it', async () => {
  await file('0003_two.sql', 'CREATE TABLE two (id int); SELECT nonsense;');
  await expect(run()).rejects.toThrow(/0003_two\.sql failed: .*nonsense/);
  const { rows } =
    await sql`select to_regclass('one') is not null as one, to_regclass('two') is not null as two`.execute(db.query);
  expect(rows).toEqual([{ one: true, two: false }]);
  await file('0003_two.sql', 'CREATE TABLE two (id int);');
  await expect(run()).resolves.toEqual(['0003_two.sql']);
});

it('refuses names it cannot order', async () => {
  await file('3_x.sql', '');
  await expect(run()).rejects.toThrow('3_x.sql is not named like');
  await rm(join(folder, '3_x.sql'));
  await file('0003_x.sql', '');
  await expect(run()).rejects.toThrow('0003_two.sql and 0003_x.sql have the same number');
  await rm(join(folder, '0003_x.sql'));
  await run();
  await file('0002_late.sql', '');
  await expect(run()).rejects.toThrow('0002_late.sql is numbered below 3');
});
