/** Requests that hold for one revision, and lists of what changed: the same for every object of Neutron's. */
import { describe, expect, it } from 'vitest';
import { networkTest } from './testing.ts';

const { call, make } = await networkTest();
const fault = (answer: Awaited<ReturnType<typeof call>>) => [answer.status, answer.body?.NeutronError?.type];

interface Sample {
  readonly path: string;
  readonly key: string;
  readonly values: () => Promise<Record<string, unknown>>;
  /** What Neutron shows of a new one. */
  readonly first: number;
}
const none = async () => ({});
const network = async () => ({ network_id: (await make('alice', 'network', {})).id });
const SAMPLES: readonly Sample[] = [
  { path: 'networks', key: 'network', values: none, first: 1 },
  {
    path: 'subnets',
    key: 'subnet',
    values: async () => ({ ...(await network()), cidr: '10.1.0.0/24', ip_version: 4 }),
    first: 0,
  },
  { path: 'ports', key: 'port', values: network, first: 1 },
  { path: 'routers', key: 'router', values: none, first: 0 },
  { path: 'security-groups', key: 'security_group', values: async () => ({ name: 'g' }), first: 1 },
  {
    path: 'subnetpools',
    key: 'subnetpool',
    values: async () => ({ name: 'p', prefixes: ['10.0.0.0/16'] }),
    first: 0,
  },
];

describe.each(SAMPLES)('a revision of $path', ({ path, key, values, first }) => {
  const created = async () => {
    const answer = await call('alice', 'POST', `/${path}`, { [key]: await values() });
    expect(answer.status).toBe(201);
    return answer.body[key];
  };
  const update = (id: string, ifMatch: string, name = 'other') =>
    call('alice', 'PUT', `/${path}/${id}`, { [key]: { name } }, { 'if-match': ifMatch });

  it('is what a change or a deletion may be held to', async () => {
    const { id, revision_number } = await created();
    expect(revision_number).toBe(first);
    const changed = await update(id, `revision_number=${first}`);
    expect(changed.status).toBe(200);
    expect(changed.body[key].revision_number).toBe(first + 1);
    const stale = await update(id, `revision_number=${first}`);
    expect(stale.body.NeutronError).toEqual({
      type: 'RevisionNumberConstraintFailed',
      message: `Constrained to ${first}, but current revision is ${first + 1}`,
      detail: '',
    });
    expect(stale.status).toBe(412);
    expect((await update(id, `"revision_number=${first}"`)).status).toBe(412);
    for (const odd of ['revision_number=abc', 'revision_number=1,revision_number=2']) {
      expect(fault(await update(id, odd))).toEqual([400, 'BadRequest']);
    }
    // Of any other form Neutron takes no notice.
    for (const other of ['*', '5', 'etag=1']) expect((await update(id, other)).status).toBe(200);
    const headers = { 'if-match': `revision_number=${first}` };
    expect((await call('alice', 'DELETE', `/${path}/${id}`, undefined, headers)).status).toBe(412);
    const { revision_number: now } = (await call('alice', 'GET', `/${path}/${id}`)).body[key];
    const right = { 'if-match': `revision_number=${now}` };
    expect((await call('alice', 'DELETE', `/${path}/${id}`, undefined, right)).status).toBe(204);
  });

  it('lets one of two changes through that were made of the same', async () => {
    const { id } = await created();
    const both = await Promise.all(['a', 'b'].map((name) => update(id, `revision_number=${first}`, name)));
    expect(both.map(({ status }) => status).sort()).toEqual([200, 412]);
  });

  it('counts tags, is filtered by, and goes with the time of the change', async () => {
    const { id, created_at } = await created();
    expect((await call('alice', 'PUT', `/${path}/${id}/tags/blue`)).status).toBe(201);
    const tagged = (await call('alice', 'GET', `/${path}/${id}`)).body[key];
    expect(tagged.revision_number).toBe(first + 1);
    // A tag that is there already changes nothing.
    expect((await call('alice', 'PUT', `/${path}/${id}/tags/blue`)).status).toBe(201);
    const stale = { 'if-match': `revision_number=${first}` };
    expect((await call('alice', 'DELETE', `/${path}/${id}/tags`, undefined, stale)).status).toBe(412);
    const listed = async (query: string): Promise<string[]> => {
      const answer = await call('alice', 'GET', `/${path}?fields=id&id=${id}&${query}`);
      expect(answer.status).toBe(200);
      return answer.body[path.replaceAll('-', '_')].map((one: { id: string }) => one.id);
    };
    expect(await listed(`revision_number=${first + 1}`)).toEqual([id]);
    expect(await listed(`revision_number=${first}`)).toEqual([]);
    for (const since of [created_at, created_at.slice(0, 19), '2020-01-01', '2020-01-01T00:00:00%2B02:00']) {
      expect(await listed(`changed_since=${since}`)).toEqual([id]);
    }
    expect(await listed('changed_since=2126-01-01T00:00:00Z')).toEqual([]);
    expect(fault(await call('alice', 'GET', `/${path}?changed_since=zz`))).toEqual([400, 'InvalidInput']);
    for (const query of ['tags=blue', 'tags-any=blue,red', 'not-tags=red', 'not-tags-any=red,green', 'tags=']) {
      expect(await listed(query)).toEqual([id]);
    }
    for (const query of ['tags=blue,red', 'not-tags=blue', 'not-tags-any=blue'])
      expect(await listed(query)).toEqual([]);
  });
});

describe('a network', () => {
  it('is another revision with each subnet', async () => {
    const { id, revision_number } = await make('alice', 'network', {});
    const { id: subnet } = await make('alice', 'subnet', { network_id: id, cidr: '10.1.0.0/24', ip_version: 4 });
    const revision = async () => (await call('alice', 'GET', `/networks/${id}`)).body.network.revision_number;
    expect(await revision()).toBe(revision_number + 1);
    await call('alice', 'DELETE', `/subnets/${subnet}`);
    expect(await revision()).toBe(revision_number + 2);
  });
});

describe('lists', () => {
  const names = (answer: Awaited<ReturnType<typeof call>>) =>
    answer.body.networks.map(({ name }: { name: string }) => name);
  const link = (answer: Awaited<ReturnType<typeof call>>, rel: string): string | undefined => {
    const links = (answer.body.networks_links ?? []) as { rel: string; href: string }[];
    const found = links.find((one) => one.rel === rel);
    return found === undefined ? undefined : new URL(found.href).search;
  };

  it('are walked there and back', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) await make('bob', 'network', { name, description: 'walk' });
    const first = await call('bob', 'GET', '/networks?description=walk&sort_key=name&sort_dir=asc&limit=2');
    expect(names(first)).toEqual(['a', 'b']);
    const second = await call('bob', 'GET', `/networks${link(first, 'next')}`);
    expect(names(second)).toEqual(['c', 'd']);
    const third = await call('bob', 'GET', `/networks${link(second, 'next')}`);
    expect(names(third)).toEqual(['e']);
    expect(link(third, 'next')).toBeUndefined();
    const back = await call('bob', 'GET', `/networks${link(third, 'previous')}`);
    expect(names(back)).toEqual(['c', 'd']);
    const start = await call('bob', 'GET', `/networks${link(back, 'previous')}`);
    expect(names(start)).toEqual(['a', 'b']);
    const before = await call('bob', 'GET', `/networks${link(start, 'previous')}`);
    expect(names(before)).toEqual([]);
    // Neutron begins at the end where no marker is given.
    const reversed = '/networks?description=walk&sort_key=name&sort_dir=asc&limit=2&page_reverse=True';
    expect(names(await call('bob', 'GET', reversed))).toEqual(['d', 'e']);
  });

  it('are refused in Neutron’s words', async () => {
    const message = async (query: string) => {
      const answer = await call('bob', 'GET', `/networks?${query}`);
      return [answer.status, answer.body.NeutronError?.message];
    };
    expect(await message('sort_key=name')).toEqual([400, 'The number of sort_keys and sort_dirs must be same']);
    expect(await message('sort_key=subnets&sort_dir=asc')).toEqual([
      400,
      "['subnets'] is invalid attribute for sort_keys",
    ]);
    expect(await message('sort_key=name&sort_dir=x')).toEqual([
      400,
      "['x'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'",
    ]);
    expect(await message('limit=-1')).toEqual([
      400,
      "Bad limit request: Limit must be an integer 0 or greater and not '-1'.",
    ]);
    expect(await message('limit=1&marker=zz')).toEqual([404, 'Network zz could not be found.']);
    expect(await message('admin_state_up=abc')).toEqual([
      400,
      "Invalid input for operation: 'abc' cannot be converted to boolean.",
    ]);
    expect(await message('mtu=abc')).toEqual([400, "Invalid input for operation: 'abc' is not an integer."]);
    expect(await message('foo=1')).toEqual([400, "['foo'] is invalid attribute for filtering"]);
    expect(await message('name=&limit=1&fields=foo')).toEqual([200, undefined]);
  });
});
