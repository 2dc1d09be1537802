import { expect, it } from 'vitest';
import { admits, matches } from './access-rules.ts';
import { conventions } from './conventions.ts';
import type { Convention } from './service.ts';

it.each([
  ['/v2.1/servers', '/v2.1/servers', true],
  ['/v2.1/servers', '/v2.1/servers/', false],
  ['/v2.1/servers', '/v201/servers', false],
  ['/v2.1/servers/*/ips', '/v2.1/servers/a/ips', true],
  ['/v2.1/servers/*/ips', '/v2.1/servers/a/b/ips', false],
  ['/v2.1/servers/*/ips', '/v2.1/servers//ips', false],
  ['/v2.1/servers/{id}/ips', '/v2.1/servers/a/ips', true],
  ['/v2.1/s*s/*', '/v2.1/servers/a', true],
  ['/v2.1/**', '/v2.1/servers/a/ips', true],
  ['/v2.1/**', '/v2.1/', true],
  ['/v2.1/**/ips', '/v2.1/servers/a/ips', true],
  ['/v2.1/**/ips', '/v2.1/servers/a/ip', false],
  ['**', '/v2.1/servers', true],
  ['/(a+)+', '/aaaa', false],
])('the pattern %s takes %s: %s', (pattern, path, taken) => {
  expect(matches(pattern, path)).toBe(taken);
});

it('takes no longer for patterns that are made to take long', () => {
  const began_ms = Date.now();
  expect(matches(`/${'**a'.repeat(70)}b`, `/${'a'.repeat(4000)}`)).toBe(false);
  expect(Date.now() - began_ms).toBeLessThan(2000);
});

it('are for one service, one method, and a path with the mount or without', () => {
  const rule = (service: string, path: string) => [{ id: '1', service, path, method: 'GET' }];
  const compute = conventions.compute as Convention;
  const servers = rule('compute', '/v2.1/servers');
  expect(admits(servers, compute, 'GET', '/compute/v2.1/servers')).toBe(true);
  expect(admits(rule('compute', '/compute/v2.1/servers'), compute, 'GET', '/compute/v2.1/servers')).toBe(true);
  expect(admits(servers, compute, 'POST', '/compute/v2.1/servers')).toBe(false);
  expect(admits(servers, conventions.volume as Convention, 'GET', '/volume/v2.1/servers')).toBe(false);
  expect(admits(rule('block-storage', '/v3/**'), conventions.volume as Convention, 'GET', '/volume/v3/types')).toBe(
    true,
  );
  expect(admits([], conventions.identity as Convention, 'GET', '/identity/v3/auth/tokens')).toBe(true);
  expect(admits([], conventions.identity as Convention, 'GET', '/identity/v3/users')).toBe(false);
});
