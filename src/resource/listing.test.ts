import { describe, expect, it } from 'vitest';
import { Type } from 'typebox';
import { identity } from '../http/conventions.ts';
import type { RequestContext } from '../http/service.ts';
import { listBody, parseListing, queryText } from './listing.ts';
import { field, resource } from './resource.ts';

const thing = resource({ name: 'thing', table: 'things', fields: { id: field(Type.String(), { show: 'always' }) } });
const context = { baseUrl: 'http://parent/identity/v3', version: 0 } as RequestContext;

describe('a list of Keystone’s', () => {
  const convention = { ...identity, paging: { ...identity.paging, maximum: 2 } };
  const bodyOf = (query: Record<string, string>, ids: readonly string[]) =>
    listBody(thing, convention, context, parseListing(thing, convention, context, query), query, '/things', ids, ids);

  it('says that it was cut where nobody asked for that, and how to go on', () => {
    const next = 'http://parent/identity/v3/things?marker=b';
    expect(bodyOf({}, ['a', 'b'])).toMatchObject({ truncated: true, links: { next, previous: null } });
    expect(bodyOf({}, ['a'])).not.toHaveProperty('truncated');
    const asked = bodyOf({ limit: '1' }, ['a']);
    expect(asked).not.toHaveProperty('truncated');
    expect(asked.links).toMatchObject({ self: 'http://parent/identity/v3/things?limit=1' });
  });

  it.each([
    [{}, ''],
    [{ effective: '', 'user.id': 'a' }, '?effective&user.id=a'],
    [{ at: 'lt:2026-11-28T00:00:00Z', mail: 'a@b,c/d' }, '?at=lt:2026-11-28T00:00:00Z&mail=a@b,c/d'],
    [{ name: ['a b', 'c&d=e'] }, '?name=a%20b&name=c%26d%3De'],
  ])('repeats a query as it came: %j', (query, text) => {
    expect(queryText(query)).toBe(text);
  });
});
