import { describe, expect, it } from 'vitest';
import { endpointAt, findEndpoint } from './endpoints.ts';
import type { CloudService } from './contract.ts';
import type { CloudEntry } from './clouds-yaml.ts';
import { compareMicroversions, lowerMicroversion, maximumIn } from './microversion.ts';
import { nextQuery, templateOf } from './request.ts';

describe('endpointAt', () => {
  it.each<[CloudService, string, string]>([
    ['compute', 'http://c:8774/v2.1', '/v2.1'],
    ['compute', 'http://c:8774/v2.1/p1/', '/v2.1/p1'],
    ['compute', 'http://c/compute', '/compute/v2.1'],
    ['compute', 'http://c/compute/v2/p1', '/compute/v2.1/p1'],
    ['volume', 'http://c:8776/v3/p1', '/v3/p1'],
    ['volume', 'http://c/volume/v3', '/volume/v3/p1'],
    ['volume', 'http://c:8776', '/v3/p1'],
    ['volume', 'http://c:8776/v3/%(project_id)s', '/v3/p1'],
    ['network', 'http://c:9696', '/v2.0'],
    ['network', 'http://c:9696/v2.0/', '/v2.0'],
    ['image', 'http://c:9292/', '/v2'],
    ['image', 'http://c/image/v2', '/image/v2'],
    ['identity', 'http://c/identity', '/identity/v3'],
    ['identity', 'http://c:5000/v2.0', '/v3'],
    ['load-balancer', 'http://c:9876', '/v2'],
    ['load-balancer', 'http://c:9876/v2.0', '/v2.0'],
  ])('%s at %s is %s', (service, url, root) => {
    expect(endpointAt(service, url, 'p1')?.root).toBe(root);
  });
});

describe('findEndpoint', () => {
  const entry: CloudEntry = { name: 'x', auth_type: 'password', auth: { auth_url: 'http://k:5000/v3' } };
  const at = (kind: string, region: string, url: string) => ({ interface: kind, region_id: region, url });
  const catalog = [
    { type: 'volume', endpoints: [at('public', 'one', 'http://old/v1/p')] },
    { type: 'volumev3', endpoints: [at('public', 'one', 'http://one/v3/p'), at('internal', 'two', 'http://two/v3/p')] },
  ];

  it('goes by official type, region and interface; an override comes first', () => {
    expect(findEndpoint('volume', catalog, entry, 'p')?.hostname).toBe('one');
    const two = { ...entry, region_name: 'two' };
    expect(findEndpoint('volume', catalog, two, 'p')).toBeUndefined();
    expect(findEndpoint('volume', catalog, { ...two, interface: 'internal' }, 'p')?.hostname).toBe('two');
    const overridden = { ...entry, endpoint_overrides: { volume: 'http://three' } };
    expect(findEndpoint('volume', catalog, overridden, 'p')?.hostname).toBe('three');
    expect(findEndpoint('identity', catalog, entry, 'p')?.hostname).toBe('k');
    expect(findEndpoint('image', catalog, entry, 'p')).toBeUndefined();
  });
});

describe('microversions', () => {
  it('are ordered by number, and read from both forms of version root', () => {
    expect(compareMicroversions('2.9', '2.10')).toBeLessThan(0);
    expect(lowerMicroversion('2.93', '2.79')).toBe('2.79');
    expect(maximumIn('compute', { version: { id: 'v2.1', version: '2.93' } })).toBe('2.93');
    expect(maximumIn('compute', { version: { id: 'v2.0', version: '' } })).toBeUndefined();
    expect(
      maximumIn('volume', {
        versions: [
          { id: 'v2.0', version: '' },
          { id: 'v3.0', version: '3.70' },
        ],
      }),
    ).toBe('3.70');
    expect(maximumIn('volume', 'nonsense')).toBeUndefined();
  });
});

describe('templates and next links', () => {
  it('replace ids and nothing else', () => {
    const uuid = '8c8f7c1e-3a35-4b0c-9f4e-0d6d4c2b7a10';
    expect(templateOf(`/servers/${uuid}/action`)).toBe('/servers/*/action');
    expect(templateOf(`/projects/${uuid.replaceAll('-', '')}/users/1`)).toBe('/projects/*/users/*');
    expect(templateOf(`/os-keypairs/hw-${uuid}`)).toBe('/os-keypairs/*');
    expect(templateOf('/security-groups/default')).toBe('/security-groups/default');
  });

  it('are the query of Keystone links too, and none on the last page', () => {
    expect(nextQuery({ users: [], links: { next: 'http://k/v3/users?marker=a' } }, 'users')).toBe('?marker=a');
    expect(nextQuery({ users: [], links: { next: null } }, 'users')).toBeUndefined();
    expect(nextQuery({ servers: [] }, 'servers')).toBeUndefined();
  });
});
