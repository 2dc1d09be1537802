import { sql } from 'kysely';
import { Type } from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { network } from '../http/conventions.ts';
import { conflict, notFound } from '../http/fault.ts';
import { identities, type TestApi, testApi } from '../testing/api.ts';
import { testDatabase } from '../testing/database.ts';
import { crudOperations, ownProjectOrAdmin } from './crud.ts';
import { computed, field, nullable, resource, type Row, Timestamp } from './resource.ts';
import { createStore } from './store.ts';

const widget = resource({
  name: 'widget',
  table: 'widgets',
  fields: {
    id: field(Type.String(), { filter: true, show: 'always' }),
    project_id: field(Type.String(), { create: 'optional', filter: true, sort: true, settableBy: 'role:admin' }),
    name: field(Type.String({ maxLength: 16 }), {
      create: 'required',
      update: true,
      filter: true,
      sort: true,
      show: 'always',
    }),
    size: field(Type.Integer({ minimum: 0, maximum: 100 }), {
      create: 'optional',
      default: 1,
      filter: true,
      sort: true,
    }),
    shiny: field(Type.Boolean(), {
      create: 'optional',
      update: true,
      default: false,
      filter: true,
      settableBy: 'role:admin',
    }),
    note: field(nullable(Type.String()), { create: 'optional', update: true, default: null }),
    secret: field(Type.String(), { create: 'optional', visibleTo: 'role:admin' }),
    created_at: field(Timestamp, { sort: true }),
    shout: computed<{ name: string }>((row) => row.name.toUpperCase()),
  },
});
type Widget = Row<typeof widget>;

const db = await testDatabase();
let api: TestApi;

const rule = (name: string, check: string) => ({ name, check });
const READ = 'role:reader or role:admin';
const WRITE = 'role:member or role:admin';

beforeAll(async () => {
  await sql`create table widgets (
    id text primary key, project_id text not null default '', created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(), revision bigint not null default 1,
    body jsonb not null default '{}', name text not null, size integer not null, shiny boolean not null)`.execute(
    db.query,
  );
  const store = createStore<typeof widget, Widget>(widget);
  const operations = crudOperations<Widget>({
    db,
    convention: network,
    store,
    path: '/widgets',
    bulk: true,
    policies: {
      list: rule('get_widget', READ),
      show: rule('get_widget', READ),
      create: rule('create_widget', WRITE),
      update: rule('update_widget', WRITE),
      remove: rule('delete_widget', WRITE),
    },
    visible: ownProjectOrAdmin,
    missing: (id) => notFound(`Widget ${id} could not be found.`, 'WidgetNotFound'),
    creating: async (given, context) => {
      if (given.name === 'taken') throw conflict('taken', 'WidgetExists');
      return { ...given, project_id: given.project_id ?? context.identity.project?.id } as Widget;
    },
  });
  api = testApi([{ convention: network, operations, rules: widget.fieldRules }], identities);
});
afterAll(() => api.close());

const url = '/network/v2.0/widgets';
const make = async (who: string, widgets: object) => api.call(who, 'POST', url, widgets);

describe('a resource served from its description', () => {
  it('is made, shown, changed and deleted', async () => {
    const made = await make('alice', { widget: { name: 'one', size: 3, note: 'n' } });
    expect(made.status).toBe(201);
    const { id } = made.body.widget;
    expect(made.body.widget).toMatchObject({
      name: 'one',
      size: 3,
      shiny: false,
      note: 'n',
      shout: 'ONE',
      tenant_id: 'p1',
    });
    expect(made.body.widget.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(made.body.widget).not.toHaveProperty('secret');
    const changed = await api.call('alice', 'PUT', `${url}/${id}`, { widget: { note: null, name: 'uno' } });
    expect(changed.body.widget).toMatchObject({ name: 'uno', note: null, size: 3 });
    expect((await api.call('alice', 'GET', `${url}/${id}?fields=name`)).body).toEqual({ widget: { name: 'uno' } });
    for (const name of ['project_id', 'tenant_id']) {
      const { widget } = (await api.call('alice', 'GET', `${url}/${id}?fields=${name}`)).body;
      expect(widget).toEqual({ [name]: 'p1' });
    }
    expect((await api.call('alice', 'DELETE', `${url}/${id}`)).status).toBe(204);
    const gone = await api.call('alice', 'GET', `${url}/${id}`);
    expect(gone.status).toBe(404);
    expect(gone.body).toEqual({
      NeutronError: { type: 'WidgetNotFound', message: `Widget ${id} could not be found.`, detail: '' },
    });
  });

  it('is hidden from other projects and closed to the wrong role', async () => {
    const { id } = (await make('alice', { widget: { name: 'mine' } })).body.widget;
    for (const method of ['GET', 'DELETE']) expect((await api.call('bob', method, `${url}/${id}`)).status).toBe(404);
    expect((await api.call('bob', 'PUT', `${url}/${id}`, { widget: { name: 'his' } })).status).toBe(404);
    expect((await api.call('bob', 'GET', url)).body.widgets).toEqual([]);
    expect((await make('rita', { widget: { name: 'no' } })).status).toBe(403);
    expect((await api.call('rita', 'GET', `${url}/${id}`)).status).toBe(200);
    expect((await api.call('', 'GET', url)).status).toBe(401);
    expect((await make('alice', { widget: { name: 'no', shiny: true } })).status).toBe(403);
    expect((await make('alice', { widget: { name: 'no', tenant_id: 'p2' } })).status).toBe(403);
    expect(
      (await make('admin', { widget: { name: 'yes', shiny: true, tenant_id: 'p2' } })).body.widget.project_id,
    ).toBe('p2');
    expect((await api.call('admin', 'GET', `${url}/${id}`)).status).toBe(200);
    await api.call('alice', 'DELETE', `${url}/${id}`);
  });

  it('refuses what does not fit, in the words of the service', async () => {
    const bad = async (body: unknown) => {
      const answer = await api.call('alice', 'POST', url, body);
      expect(answer.status).toBe(400);
      return answer.body.NeutronError.message as string;
    };
    expect(await bad({ widget: { name: 'x', color: 1 } })).toBe("Unrecognized attribute(s) 'color'");
    expect(await bad({ widget: { size: 1 } })).toContain("Required attribute 'name' not specified");
    expect(await bad({ widget: { name: 'x', size: 101 } })).toContain('Invalid input for size');
    expect(await bad('{"widget":')).toContain('not valid JSON');
    expect(await bad(undefined)).toContain('not valid JSON');
    expect(await bad({ widget: { name: 'x', note: 'a\0b' } })).toContain('cannot be stored');
    expect(await bad(`{"widget": ${'['.repeat(5000)}${']'.repeat(5000)}}`)).toContain('nested');
    expect((await api.call('alice', 'PATCH', url)).status).toBe(405);
    expect((await api.call('alice', 'GET', '/network/v2.0/nothing')).status).toBe(404);
    expect((await api.call('alice', 'GET', `${url}?color=red`)).status).toBe(400);
    expect((await api.call('alice', 'GET', `${url}?size=red`)).status).toBe(400);
    expect((await api.call('alice', 'GET', `${url}?limit=-1`)).status).toBe(400);
    expect((await api.call('alice', 'GET', `${url}?marker=nope`)).status).toBe(404);
    expect((await api.call('alice', 'GET', `${url}?sort_key=note`)).status).toBe(400);
    const text = await api.call('alice', 'POST', url, 'x=1', { 'content-type': 'text/plain' });
    expect(text.status).toBe(400);
    const long = `{"widget": {"name": "${'x'.repeat(1024 * 1024)}"}}`;
    expect((await api.call('alice', 'POST', url, long, { 'content-type': 'text/plain' })).status).toBe(413);
  });

  it('is made in bulk, all or none', async () => {
    const some = await make('bob', { widgets: [{ name: 'a' }, { name: 'b' }] });
    expect(some.body.widgets.map((one: Widget) => one.name)).toEqual(['a', 'b']);
    const none = await make('bob', { widgets: [{ name: 'c' }, { name: 'taken' }] });
    expect(none.status).toBe(409);
    expect((await api.call('bob', 'GET', `${url}?name=c`)).body.widgets).toEqual([]);
    expect((await api.call('bob', 'GET', `${url}?name=a&name=b&fields=name`)).body.widgets).toHaveLength(2);
  });

  it('is paged by keyset in both directions without a hole or a double', async () => {
    const bodies = Array.from({ length: 23 }, (_, at) => ({ name: `w${at % 5}`, size: at % 7, tenant_id: 'pages' }));
    expect((await make('admin', { widgets: bodies })).status).toBe(201);
    for (const sort of [
      '',
      '&sort_key=size&sort_dir=asc',
      '&sort_key=size&sort_dir=desc',
      '&sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc',
    ]) {
      const all = (await api.call('admin', 'GET', `${url}?tenant_id=pages${sort}`)).body.widgets.map(
        (one: Widget) => one.id,
      );
      expect(all).toHaveLength(23);
      const walked: string[] = [];
      let next: string | undefined = `${url}?tenant_id=pages&limit=5${sort}`;
      while (next !== undefined) {
        const page: Awaited<ReturnType<TestApi['call']>> = await api.call('admin', 'GET', next);
        walked.push(...page.body.widgets.map((one: Widget) => one.id));
        const link: string | undefined = page.body.widgets_links?.find(
          (one: { rel: string }) => one.rel === 'next',
        )?.href;
        next = link?.replace('http://parent', '');
      }
      expect(walked).toEqual(all);
      const back = await api.call(
        'admin',
        'GET',
        `${url}?tenant_id=pages&limit=5&page_reverse=True&marker=${all[10]}${sort}`,
      );
      expect(back.body.widgets.map((one: Widget) => one.id)).toEqual(all.slice(5, 10));
    }
  });
});
