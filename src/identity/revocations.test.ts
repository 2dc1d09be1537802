import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testDatabase } from '../testing/database.ts';
import { ADMIN_PROJECT, inDefault, message, password, testIdentity } from '../testing/identity.ts';

const db = await testDatabase();
const clock = { offset_ms: 0 };
const api = testIdentity(db, () => Date.now() + clock.offset_ms);
const { identity, call, tokenFor } = api;
const PATH = '/OS-REVOKE/events';

let admin = '';
let count = 0;
const ids = { project: '', role: '' };

const make = async (kind: string, name: string, attributes: object): Promise<string> => {
  const { status, body } = await call(admin, 'POST', `/${kind}`, { [name]: attributes });
  expect(status).toBe(201);
  return body[name].id;
};
const user = (): Promise<string> => make('users', 'user', { name: `user${count++}`, password: 'Right1' });
const done = async (...request: Parameters<typeof call>): Promise<void> => {
  expect((await call(...request)).status).toBeLessThan(300);
};
/** What the events say that name this id, but for the moments. */
async function eventsOf(id: string): Promise<object[]> {
  const { status, body } = await call(admin, 'GET', PATH);
  expect(status).toBe(200);
  return body.events.flatMap(({ issued_before: _before, revoked_at: _at, ...of }: Record<string, string>) =>
    Object.values(of).includes(id) ? [of] : [],
  );
}

beforeAll(async () => {
  await identity.bootstrap({ adminPassword: 'secret' });
  admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
  ids.project = await make('projects', 'project', { name: 'demo' });
  ids.role = (await call(admin, 'GET', '/roles?name=member')).body.roles[0].id;
});

beforeEach(() => {
  clock.offset_ms = 0;
});

afterAll(() => api.close());

describe('an event tells', () => {
  it('of a token that was revoked', async () => {
    const id = await user();
    const token = await tokenFor(password({ id, password: 'Right1' }));
    const { body } = await call(token, 'GET', '/auth/tokens', undefined, { 'x-subject-token': token });
    await done(token, 'DELETE', '/auth/tokens', undefined, { 'x-subject-token': token });
    const [audit_id] = body.token.audit_ids;
    expect(await eventsOf(audit_id)).toEqual([{ audit_id }]);
    const { events, links } = (await call(admin, 'GET', PATH)).body;
    expect(links).toEqual({ next: null, self: `http://parent/identity/v3${PATH}`, previous: null });
    const event = events.find((one: { audit_id?: string }) => one.audit_id === audit_id);
    expect(event.revoked_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000000Z$/);
    expect(event.issued_before).toBe(event.revoked_at);
  });

  it('of a user whose password was changed, who was disabled or deleted', async () => {
    const user_id = await user();
    await done(admin, 'PATCH', `/users/${user_id}`, { user: { description: 'nothing else' } });
    expect(await eventsOf(user_id)).toEqual([]);
    await done(admin, 'PATCH', `/users/${user_id}`, { user: { password: 'Other1' } });
    const own = { user: { original_password: 'Other1', password: 'Third1' } };
    await done('', 'POST', `/users/${user_id}/password`, own);
    await done(admin, 'PATCH', `/users/${user_id}`, { user: { enabled: false } });
    await done(admin, 'DELETE', `/users/${user_id}`);
    expect(await eventsOf(user_id)).toEqual(Array.from({ length: 4 }, () => ({ user_id })));
  });

  it('of a project, a trust and a domain that are gone', async () => {
    const domain = await make('domains', 'domain', { name: 'short-lived' });
    const [project_id, within, user_id] = [
      await make('projects', 'project', { name: 'short-lived' }),
      await make('projects', 'project', { name: 'within', domain_id: domain }),
      await make('users', 'user', { name: 'within', domain_id: domain }),
    ];
    const trustor = await user();
    await done(admin, 'PUT', `/projects/${project_id}/users/${trustor}/roles/${ids.role}`);
    const token = await tokenFor(password({ id: trustor, password: 'Right1' }, { project: { id: project_id } }));
    const trust = {
      trustor_user_id: trustor,
      trustee_user_id: await user(),
      project_id,
      impersonation: true,
      roles: [{ id: ids.role }],
    };
    const { id: trust_id } = (await call(token, 'POST', '/OS-TRUST/trusts', { trust })).body.trust;
    await done(admin, 'DELETE', `/projects/${project_id}`);
    await done(admin, 'PATCH', `/domains/${domain}`, { domain: { enabled: false } });
    await done(admin, 'DELETE', `/domains/${domain}`);
    expect(await eventsOf(project_id)).toEqual([{ project_id }]);
    expect(await eventsOf(trust_id)).toEqual([{ 'OS-TRUST:trust_id': trust_id }]);
    expect(await eventsOf(within)).toEqual([{ project_id: within }]);
    expect(await eventsOf(user_id)).toEqual([{ user_id }]);
  });
});

describe('a user who leaves a group, or whose group is gone,', () => {
  it('has no token any more, where the group held a role', async () => {
    const user_id = await user();
    const groups = [];
    for (const name of ['left', 'deleted', 'roleless']) groups.push(await make('groups', 'group', { name }));
    const [left, deleted, roleless] = groups;
    for (const group of groups) await done(admin, 'PUT', `/groups/${group}/users/${user_id}`);
    await done(admin, 'PUT', `/projects/${ids.project}/groups/${deleted}/roles/${ids.role}`);
    const scope = { project: { id: ids.project } };
    const fresh = () => tokenFor(password({ id: user_id, password: 'Right1' }, scope));
    const works = async (token: string): Promise<boolean> =>
      (await call(token, 'GET', `/users/${user_id}`)).status === 200;
    const first = await fresh();
    await done(admin, 'DELETE', `/groups/${roleless}`);
    expect([await works(first), await eventsOf(user_id)]).toEqual([true, []]);
    await done(admin, 'DELETE', `/groups/${left}/users/${user_id}`);
    expect([await works(first), await eventsOf(user_id)]).toEqual([false, [{ user_id }]]);
    const second = await fresh();
    await done(admin, 'DELETE', `/groups/${deleted}`);
    expect([await works(second), await eventsOf(user_id)]).toEqual([false, [{ user_id }, { user_id }]]);
  });
});

describe('the list', () => {
  it('begins after the moment asked for', async () => {
    const [early, late] = [await user(), await user()];
    await done(admin, 'DELETE', `/users/${early}`);
    clock.offset_ms = 60_000;
    await done(admin, 'DELETE', `/users/${late}`);
    const since = new Date(Date.now() + 30_000).toISOString();
    const { events } = (await call(admin, 'GET', `${PATH}?since=${since}`)).body;
    expect(events.map((event: { user_id?: string }) => event.user_id)).toEqual([late]);
    const wrong = await call(admin, 'GET', `${PATH}?since=yesterday`);
    expect([wrong.status, message(wrong)]).toEqual([400, 'invalidate date format yesterday']);
  });

  it('forgets what no token can be meant by any more', async () => {
    const [early, late] = [await user(), await user()];
    await done(admin, 'DELETE', `/users/${early}`);
    clock.offset_ms = 25 * 3_600_000;
    admin = await tokenFor(password(inDefault('admin', 'secret'), ADMIN_PROJECT));
    await done(admin, 'DELETE', `/users/${late}`);
    expect([await eventsOf(early), await eventsOf(late)]).toEqual([[], [{ user_id: late }]]);
  });

  it('is for administrators and services', async () => {
    const id = await user();
    await done(admin, 'PUT', `/projects/${ids.project}/users/${id}/roles/${ids.role}`);
    const token = await tokenFor(password({ id, password: 'Right1' }, { project: { id: ids.project } }));
    expect((await call(token, 'GET', PATH)).status).toBe(403);
    const [service] = (await call(admin, 'GET', '/roles?name=service')).body.roles;
    await done(admin, 'PUT', `/projects/${ids.project}/users/${id}/roles/${service.id}`);
    const again = await tokenFor(password({ id, password: 'Right1' }, { project: { id: ids.project } }));
    expect((await call(again, 'GET', PATH)).status).toBe(200);
  });
});
