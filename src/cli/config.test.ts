import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfig } from './config.ts';

const folder = mkdtempSync(join(tmpdir(), 'headwater-config-'));
function read(text: string) {
  const path = join(folder, 'headwater.yaml');
  writeFileSync(path, text);
  return readConfig(path);
}

const ONE = 'children: { a: { cloud: a, zones: { a: nova } } }\n';

describe('the configuration file', () => {
  it('needs no more than the children, and has a sane default for the rest', () => {
    const config = read('children:\n  east: { cloud: child1, zones: { east: nova } }\n');
    expect(config).toMatchObject({
      listen: { host: '127.0.0.1', port: 8080 },
      public_url: 'http://127.0.0.1:8080',
      database: { url: undefined },
      children: [{ name: 'east', cloud: 'child1', zones: { east: 'nova' }, tenancy: 'mirrored' }],
      default_zone: undefined,
    });
    expect(read(`${ONE}default_zone: a`)).toMatchObject({ default_zone: 'a' });
  });

  it.each([
    ['children: { east: { zones: { east: nova } } }', '`children.east` lacks `cloud`', 'clouds.yaml'],
    ['children: { east: { cloud: a, zones: {} } }', '`children.east.zones`', 'zones: { east: nova }'],
    ['children: { east: { cloud: a, zones: { e: n }, tenency: shared } }', '`tenency`', 'spelling'],
    ['children: { East: { cloud: a, zones: { e: n } } }', 'East', 'lower-case'],
    ['listen: here\nchildren: { east: { cloud: a, zones: { e: n } } }', '`listen`', '127.0.0.1:8080'],
    ['listen: a:99999\nchildren: { east: { cloud: a, zones: { e: n } } }', 'no port 99999', '127.0.0.1:8080'],
    [`${ONE}physical_networks: { wan: { children: { west: p } } }`, 'no child west', '`children`'],
    [`${ONE}physical_networks: { wan: { children: { a: p }, vlans: 9 } }`, '`physical_networks.wan.vlans`', '100-149'],
    [`${ONE}physical_networks: { wan: { children: { a: p }, vlans: 9-5000 } }`, '`vlans`', '1 to 4094'],
    [
      `${ONE}physical_networks: { wan: { children: { a: p }, vlans: 1-9, transit_vlans: 9-10 } }`,
      'overlap',
      'VLANs of its own',
    ],
    [`${ONE}default_zone: north`, '`default_zone`: no child serves north', 'default_zone: east'],
    [`${ONE}identity: { lockout_failure_attempts: many }`, '`identity.lockout_failure_attempts`', '6 }'],
    [`${ONE}identity: { password_regex: "(" }`, '`identity.password_regex`', 'regular expression'],
    ['', 'the file lacks `children`', 'east'],
    ['children: [', 'not YAML', ''],
  ])('says of %j which key is wrong and how to mend it', (text, key, mend) => {
    expect(() => read(text)).toThrow(key);
    if (mend !== '') expect(() => read(text)).toThrow(mend);
  });

  it('repeats no password of a URL that cannot be one', () => {
    for (const wrong of [
      'database: { url: "postgress://u:very-secret@h/d" }',
      'database: { url: "u:very-secret@h/d" }',
      'database: "postgres://u:very-secret@h/d"',
      'identity: { url: "https://u:very-secret@h/v3", cloud: a }',
    ]) {
      expect(() => read(ONE + wrong)).toThrow('this is none');
      expect(() => read(ONE + wrong)).not.toThrow('very-secret');
    }
  });

  it('reads what joins the children', () => {
    const { topology } = read(
      `${ONE}physical_networks: { wan: { children: { a: physnet1 }, vlans: 100-149, transit_vlans: 150-199 } }`,
    );
    expect(topology).toEqual({
      physical_networks: [
        {
          name: 'wan',
          children: { a: 'physnet1' },
          vlans: { first: 100, last: 149 },
          transit_vlans: { first: 150, last: 199 },
          flat: false,
          mtu: 1500,
        },
      ],
      transit_cidr: '100.64.0.0/10',
      tenant_network_type: 'local',
    });
  });

  it('says so where there is no file', () => {
    expect(() => readConfig(join(folder, 'nothing.yaml'))).toThrow('--config');
  });
});
