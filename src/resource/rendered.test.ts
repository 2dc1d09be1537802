import { sql } from 'kysely';
import { Type } from 'typebox';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compute } from '../http/conventions.ts';
import type { RequestContext } from '../http/service.ts';
import { testDatabase } from '../testing/database.ts';
import { createRenderings } from './rendered.ts';
import { computed, field, resource, type Row } from './resource.ts';
import { createStore } from './store.ts';

let rendered = 0;
let read: string[] = [];
const gadget = resource({
  name: 'gadget',
  table: 'gadgets',
  asks: ['see_colour'],
  fields: {
    id: field(Type.String(), { show: 'always' }),
    name: field(Type.String(), { column: true, show: 'always' }),
    secret: field(Type.String(), { visibleTo: 'role:admin' }),
    colour: computed<{ name: string }>(({ name }, context) => {
      rendered += 1;
      return context.allowed('see_colour') ? `${name} blue` : undefined;
    }),
    nosy: computed((_row, context) => (context.version === 9 ? context.identity.user.id : undefined)),
    rude: computed((_row, context) => (context.version === 8 ? context.allowed('undeclared') : undefined)),
  },
});
type Gadget = Row<typeof gadget>;

const db = await testDatabase();
const plain = createStore<typeof gadget, Gadget>(gadget);
const store: typeof plain = {
  ...plain,
  versioned: (query, ids, conditions) => {
    read.push(...ids);
    return plain.versioned(query, ids, conditions);
  },
};
const page = { conditions: [], sort: [['name', 'asc']] as const, limit: 10 };

function asking(rules: readonly string[], version = 1): RequestContext {
  const context = { version, baseUrl: 'http://parent/compute/v2.1', publicUrl: 'http://parent' };
  return { ...context, allowed: (rule: string) => rules.includes(rule) } as RequestContext;
}
const ADMIN = asking(['get_gadget:secret', 'see_colour']);
const TENANT = asking([]);

const objects = async (renderings: ReturnType<typeof createRenderings>, context: RequestContext): Promise<unknown[]> =>
  ((await renderings.page(db.query, page, context, 'detail'))?.shown ?? []).map(
    ({ open }) => JSON.parse(`${open.toString()}}`) as unknown,
  );

beforeAll(async () => {
  await sql`create table gadgets (
    id text primary key, project_id text not null default '', created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(), revision bigint not null default 1,
    body jsonb not null default '{}', name text not null)`.execute(db.query);
  for (const name of ['a', 'b', 'ç']) await plain.insert(db.query, { id: `id-${name}`, name, secret: 's' });
});
beforeEach(() => {
  rendered = 0;
  read = [];
});

describe('renderings that are kept', () => {
  it('serve as long as the row stays as it is, and no longer', async () => {
    const renderings = createRenderings(store, compute);
    const first = await objects(renderings, TENANT);
    expect(first).toEqual([
      { id: 'id-a', name: 'a' },
      { id: 'id-b', name: 'b' },
      { id: 'id-ç', name: 'ç' },
    ]);
    expect(await objects(renderings, TENANT)).toEqual(first);
    expect([rendered, read.length]).toEqual([3, 3]);
    await plain.update(db.query, 'id-b', { name: 'b2' }, { revise: false });
    expect(await objects(renderings, TENANT)).toContainEqual({ id: 'id-b', name: 'b2' });
    expect(read.slice(3)).toEqual(['id-b']);
    // Twice in one transaction: each is a state of its own.
    await db.transaction(async (tx) => {
      await plain.update(tx, 'id-b', { name: 'b3' });
      await renderings.find(tx, 'id-b', [], TENANT);
      await plain.update(tx, 'id-b', { name: 'b' });
    });
    expect(await objects(renderings, TENANT)).toEqual(first);
  });

  it('show nobody what only others may see', async () => {
    const renderings = createRenderings(store, compute);
    expect((await objects(renderings, ADMIN))[0]).toEqual({ id: 'id-a', name: 'a', secret: 's', colour: 'a blue' });
    expect((await objects(renderings, TENANT))[0]).toEqual({ id: 'id-a', name: 'a' });
    expect((await objects(renderings, asking(['see_colour'])))[0]).toEqual({ id: 'id-a', name: 'a', colour: 'a blue' });
    expect(await renderings.find(db.query, 'id-a', [sql<boolean>`project_id = 'other'`], ADMIN)).toBeUndefined();
  });

  it('cannot depend on the single request', async () => {
    const renderings = createRenderings(store, compute);
    await expect(objects(renderings, asking([], 9))).rejects.toThrow('may not depend on identity');
    await expect(objects(renderings, asking([], 8))).rejects.toThrow('which its resource does not name');
  });

  it('take no more room than they are given', async () => {
    const renderings = createRenderings(store, compute, 60);
    await objects(renderings, TENANT);
    await objects(renderings, TENANT);
    expect(rendered).toBeGreaterThan(3);
    expect(await objects(renderings, TENANT)).toHaveLength(3);
  });

  it('come with values that are read each time', async () => {
    const renderings = createRenderings(store, compute);
    for (const wanted of [1, 2]) {
      const found = await renderings.find(db.query, 'id-a', [], TENANT, { live: sql`${wanted}::int` });
      expect(found?.live.live).toBe(wanted);
    }
    expect(rendered).toBe(1);
  });
});
