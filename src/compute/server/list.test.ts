import { sql } from 'kysely';
import { afterAll, describe, expect, it } from 'vitest';
import { serverTest } from './testing.ts';

const test = await serverTest({ proxies: false });
afterAll(() => test.close());

const get = (query: string, who = 'alice', minor = 93) => test.call(who, 'GET', `/servers${query}`, undefined, minor);
const names = async (query: string, who = 'alice', minor = 93): Promise<string[]> => {
  const { body, status, text } = await get(query, who, minor);
  expect(status, `${query}: ${text}`).toBe(200);
  return body.servers.map(({ name }: { name: string }) => name);
};
const refused = async (query: string, who = 'alice', minor = 93) => {
  const { status, body } = await get(query, who, minor);
  return [status, (Object.values(body)[0] as { message?: string }).message];
};

await test.boot('east', { name: 'first', key_name: undefined });
await test.boot('west', { name: 'second', description: 'the second', networks: [{ uuid: test.network }] });
await test.boot('west', { name: 'third', hostname: 'drei' });

describe('a list of servers', () => {
  it('takes the last of what is given more than once, and texts as patterns', async () => {
    expect(await names('?name=first&name=second')).toEqual(['second']);
    expect(await names('?name=ir')).toEqual(['third', 'first']);
    expect(await names('?name=^[fs]')).toEqual(['second', 'first']);
    // To Nova this is no "or".
    expect(await names('?name=first|second')).toEqual([]);
    expect(await names('?availability_zone=we')).toEqual(['third', 'second']);
    expect(await names('?hostname=DREI')).toEqual(['third']);
    expect(await names('?power_state=0&vm_state=building')).toEqual(['third', 'second', 'first']);
    expect(await names('?ip=10.1.0.')).toEqual(['second']);
    expect(await names('?ip=0.1.0')).toEqual(['second']);
    expect(await names('?ip=10.1.1.')).toEqual([]);
    expect(await names('?created_at=20\\d\\d-')).toHaveLength(3);
  });

  it('is filtered by administrators by what others are not', async () => {
    expect(await names('?host=west')).toHaveLength(3);
    expect(await names('?all_tenants=1&host=west', 'admin')).toEqual(['third', 'second']);
    expect(await names('?all_tenants=true&description=second', 'admin')).toEqual(['second']);
    expect(await names('?availability_zone=west', 'alice', 82)).toHaveLength(3);
    expect(await names('?all_tenants=1&project_id=p9', 'admin')).toEqual([]);
    expect(await names('?all_tenants=1&project_id=p1', 'admin')).toHaveLength(3);
    expect(await names('?metadata=x')).toHaveLength(3);
    expect(await refused('?metadata=x', 'admin')).toEqual([400, 'Invalid filter field: metadata.']);
    expect(await refused('?_sa_instance=x', 'admin')).toEqual([400, 'Invalid filter field: _sa_instance.']);
  });

  it('refuses what Nova refuses, in its words', async () => {
    const query = (name: string, value: string, why: string) => [
      400,
      `Invalid input for query parameters ${name}. Value: ${value}. ${why}`,
    ];
    expect(await refused('?nonsense=1')).toEqual([400, "'nonsense' does not match any of the regexes: '^_'"]);
    expect(await names('?nonsense=1', 'alice', 74)).toHaveLength(3);
    expect(await refused('?name=[')).toEqual(query('name', '[', "'[' is not a 'regex'"));
    expect(await refused('?limit=-1')).toEqual(query('limit', '-1', "'-1' does not match '^[0-9]*$'"));
    expect(await refused('?changes-since=soon')).toEqual(query('changes-since', 'soon', "'soon' is not a 'date-time'"));
    expect(await refused('?changes-since=2022-01-02&changes-before=2022-01-01')).toEqual([
      400,
      'The value of changes-since must be less than or equal to changes-before.',
    ]);
    const booleans = "acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'";
    for (const name of ['locked', 'all_tenants']) {
      expect(await refused(`?${name}=maybe`)).toEqual([400, `Unrecognized value 'maybe', ${booleans}`]);
    }
    expect(await refused('?marker=nowhere')).toEqual([400, 'marker [nowhere] not found']);
    expect(await refused('?status=nonsense')).toEqual([400, 'Invalid status value']);
    expect(await names('?status=nonsense', 'alice', 37)).toEqual([]);
    expect((await refused('?status=deleted'))[0]).toBe(403);
  });

  it('is sorted by whatever Nova sorts by, page after page', async () => {
    const change = (name: string, set: ReturnType<typeof sql>) =>
      sql`update servers set ${set} where name = ${name}`.execute(test.db.query);
    await change('first', sql`launched_at = now(), terminated_at = now(), task_state = 'spawning'`);
    await change('second', sql`launched_at = now() - interval '1 day', vm_state = 'shelved_offloaded'`);
    await change(
      'third',
      sql`body = body || '{"percent": 9, "launch_index": 1, "root_device_name": "/dev/vda",
      "access_ip_v4": "10.0.0.1", "access_ip_v6": "::1", "locked_by": "owner", "config_drive": "True",
      "disk_config": "AUTO"}'::jsonb`,
    );
    const orders: [string, string, string?][] = [
      ['launched_at', 'third second first'],
      ['display_description', 'first third second'],
      ['host', 'second first third', 'admin'],
      ['node', 'second first third', 'admin'],
    ];
    for (const [key, order, who = 'alice'] of orders) {
      const all = who === 'admin' ? '&all_tenants=1' : '';
      const sorted = `?sort_key=${key}&sort_key=display_name&sort_dir=asc${all}`;
      expect(await names(sorted, who), key).toEqual(order.split(' '));
      expect(await names(`?sort_key=${key}&sort_key=display_name&sort_dir=desc${all}`, who), key).toEqual(
        order.split(' ').reverse(),
      );
      const page = async (marker: string) =>
        (await get(`${sorted}&limit=1${marker === '' ? '' : `&marker=${marker}`}`, who)).body.servers[0];
      const paged: string[] = [];
      let last = '';
      for (let one = await page(''); one !== undefined; one = await page(last)) {
        paged.push(one.name);
        last = one.id;
      }
      expect(paged, key).toEqual(order.split(' '));
    }
    for (const [key, top] of [
      ...['terminated_at', 'task_state'].map((one) => [one, 'first'] as const),
      ...`progress launch_index root_device_name access_ip_v4 access_ip_v6 locked_by config_drive auto_disk_config`
        .split(' ')
        .map((one) => [one, 'third'] as const),
    ]) {
      expect((await names(`?sort_key=${key}&sort_dir=desc`))[0], key).toBe(top);
      // Both ways, each below the other's end.
      const mixed = `?sort_key=${key}&sort_key=uuid&sort_dir=desc&sort_dir=asc`;
      const first = (await get(`${mixed}&limit=1`)).body.servers[0].id;
      expect(await names(`${mixed}&marker=${first}`), key).toHaveLength(2);
    }
    for (const key of ['kernel_id', 'ramdisk_id']) expect(await names(`?sort_key=${key}`)).toHaveLength(3);
    expect((await refused('?sort_key=memory_mb'))[0]).toBe(400);
    await change('first', sql`task_state = 'scheduling', terminated_at = null`);
    await change('second', sql`vm_state = 'building'`);
  });

  it('is sorted by several keys, and by the time of making in either direction', async () => {
    expect(await names('')).toEqual(['third', 'second', 'first']);
    expect(await names('?sort_dir=asc')).toEqual(['first', 'second', 'third']);
    expect(await names('?sort_key=availability_zone&sort_key=display_name&sort_dir=desc&sort_dir=asc')).toEqual([
      'second',
      'third',
      'first',
    ]);
    // What Nova passes over takes its direction along.
    const mixed = '?sort_key=vcpus&sort_key=display_name&sort_dir=desc&sort_dir=asc';
    expect(await names(mixed, 'alice', 74)).toEqual(['first', 'second', 'third']);
    expect((await refused(mixed))[0]).toBe(400);
    const invalid = 'Invalid input received:';
    expect(await refused('?sort_dir=up')).toEqual([400, `${invalid} Unknown sort direction, must be 'desc' or 'asc'`]);
    expect(await refused('?sort_key=uuid&sort_dir=asc&sort_dir=asc')).toEqual([
      400,
      `${invalid} Sort direction size exceeds sort key size`,
    ]);
    expect(await refused('?sort_key=host')).toEqual([403, 'Only administrators can sort servers by host']);
    expect(await names('?sort_key=host&all_tenants=1', 'admin')).toHaveLength(3);
    expect((await refused('?sort_key=locked', 'alice', 75))[0]).toBe(200);
  });
});
