import { describe, expect, it } from 'vitest';
import { faultMessage, retryAfterOf, tenantMessageOf, withoutAddresses } from './error.ts';

describe('faultMessage', () => {
  it.each([
    ['{"itemNotFound": {"code": 404, "message": "Instance x could not be found."}}', 'Instance x could not be found.'],
    ['{"NeutronError": {"type": "T", "message": "Port in use.", "detail": "more"}}', 'Port in use.'],
    ['{"NeutronError": "Quota exceeded"}', 'Quota exceeded'],
    ['{"error":{"code":404,"message":"Could not find user: x.","title":"Not Found"}}', 'Could not find user: x.'],
    ['{"message": "Bad image", "code": "400 Bad Request", "title": "Bad Request"}', 'Bad image'],
    ['{"faultcode": "Client", "faultstring": "Invalid input", "debuginfo": null}', 'Invalid input'],
    ['{"errors": [{"status": 400, "title": "Bad", "detail": "Wrong inventory"}]}', 'Wrong inventory'],
    [
      '<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n  No image &quot;x&quot;<br /><br />\n </body>\n</html>',
      'No image "x"',
    ],
    ['403 Forbidden\n\nYou may not do this.\n\n   ', 'You may not do this.'],
    ['', undefined],
    ['{"broken', undefined],
    ['{}', undefined],
  ])('%s', (text, message) => {
    expect(faultMessage(text)).toBe(message);
  });
});

describe('what a tenant reads', () => {
  it.each([
    ['See http://10.1.1.1:8774/v2.1/servers for it.', 'See (address withheld) for it.'],
    ['Cannot reach 10.1.1.1:5672 now', 'Cannot reach (address withheld) now'],
    ['Cannot reach [fd00::1]:5672 now', 'Cannot reach (address withheld) now'],
    ['nova.east.example:8774 and NOVA.EAST.EXAMPLE failed', '(address withheld) and (address withheld) failed'],
    ["HTTPConnectionPool(host='glance.internal', port=9292): down", 'HTTPConnectionPool((address withheld)): down'],
    ['IP address 10.0.0.5 already allocated in subnet x', 'IP address 10.0.0.5 already allocated in subnet x'],
    ['mynova.east.example.com stays', 'mynova.east.example.com stays'],
  ])('%s', (text, stripped) => {
    expect(withoutAddresses(text, ['nova.east.example'])).toBe(stripped);
  });

  it('is the fault of a 4xx and nothing of the insides of a 5xx', () => {
    const body = '{"computeFault": {"code": 500, "message": "<class \'DBError\'> at sql.internal"}}';
    expect(tenantMessageOf(400, '{"badRequest": {"message": "Invalid name."}}')).toBe('Invalid name.');
    expect(tenantMessageOf(500, body)).not.toContain('DBError');
    expect(tenantMessageOf(503, body)).not.toContain('DBError');
    expect(tenantMessageOf(409, '')).not.toBe('');
  });
});

describe('retryAfterOf', () => {
  it('takes seconds, and a date held against the answer own date', () => {
    expect(retryAfterOf({ 'retry-after': '3' })).toBe(3_000);
    const date = 'Sun, 22 Nov 2020 13:04:49 GMT';
    expect(retryAfterOf({ 'retry-after': 'Sun, 22 Nov 2020 13:04:59 GMT', date })).toBe(10_000);
    expect(retryAfterOf({ 'retry-after': 'soon' })).toBeUndefined();
    expect(retryAfterOf({})).toBeUndefined();
  });
});
