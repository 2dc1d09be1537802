import { expect, it } from 'vitest';
import { createHash, createHmac } from 'node:crypto';
import { isEc2Signed, isFresh, isS3Signed, type SignedRequest } from './ec2-signature.ts';

/** Signatures that python-keystoneclient made of the same requests. */
const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const body_hash = createHash('sha256').update('Action=ListUsers&Version=2010-05-08').digest('hex');
const scope = 'AKIDEXAMPLE/20110909/us-east-1/iam/aws4_request';

const version2: SignedRequest = {
  host: '127.0.0.1:8773',
  verb: 'GET',
  path: '/v1/',
  params: {
    SignatureVersion: '2',
    SignatureMethod: 'HmacSHA256',
    AWSAccessKeyId: 'foo',
    Action: "a b~(*)!'",
    Timestamp: '2026-01-01T00:00:00',
  },
  signature: 'ShVHwh+zYJiW5DT/OLAwQlNuSQLqX6SpLAUvxpNm1Ug=',
};
const byHeader: SignedRequest = {
  host: 'iam.amazonaws.com',
  verb: 'POST',
  path: '/',
  params: { Action: 'ListUsers', Version: '2010-05-08' },
  headers: {
    'Content-type': 'application/x-www-form-urlencoded; charset=utf-8',
    'X-Amz-Date': '20110909T233600Z',
    Host: 'iam.amazonaws.com',
    Authorization: `AWS4-HMAC-SHA256 Credential=${scope}, SignedHeaders=content-type;host;x-amz-date, Signature=x`,
  },
  body_hash,
  signature: 'ced6826de92d2bdeed8f846f0bf508e8559e98e4b0199114b84c54174deb456c',
};
const byQuery: SignedRequest = {
  host: 'iam.amazonaws.com',
  verb: 'GET',
  path: '/',
  params: {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': scope,
    'X-Amz-Date': '20110909T233600Z',
    'X-Amz-SignedHeaders': 'host',
    Action: 'ListUsers',
  },
  headers: { Host: 'iam.amazonaws.com' },
  body_hash,
  signature: '2d533db296e832f280dd0ea7d5e4c84368132f07fec7320fb57585e390aef8e1',
};

it.each([
  ['version 2', 'e7a7a2240136494986991a6598d9fb9f', version2],
  ['version 4 by a header', SECRET, byHeader],
  ['version 4 by the query', SECRET, byQuery],
])('takes %s, of this secret and this request alone', (_, secret, request) => {
  expect(isEc2Signed(secret, request)).toBe(true);
  expect(isEc2Signed(`${secret}x`, request)).toBe(false);
  expect(isEc2Signed(secret, { ...request, path: '/other' })).toBe(false);
  expect(isEc2Signed(secret, { ...request, verb: 'DELETE' })).toBe(false);
  const { signature: _none, ...unsigned } = request;
  expect(isEc2Signed(secret, unsigned)).toBe(false);
});

it('takes no older version, no other day, and nothing for a signature', () => {
  expect(isEc2Signed(SECRET, { ...version2, params: { ...version2.params, SignatureVersion: '1' } })).toBe(false);
  expect(isEc2Signed(SECRET, { ...byHeader, headers: { ...byHeader.headers, 'X-Amz-Date': '20110910T000000Z' } })).toBe(
    false,
  );
  expect(isEc2Signed(SECRET, { signature: 'x' })).toBe(false);
});

it('takes what S3 signs, old and new', () => {
  const old = 'GET\n\n\nSat, 28 Nov 2026 00:00:00 GMT\n/bucket';
  const first = createHmac('sha1', SECRET).update(old).digest('base64');
  expect(isS3Signed(SECRET, Buffer.from(old).toString('base64url'), first)).toBe(true);
  expect(isS3Signed('other', Buffer.from(old).toString('base64url'), first)).toBe(false);
  const text = (service: string) => `AWS4-HMAC-SHA256\n20261128T000000Z\n20261128/r/${service}/aws4_request\nhash`;
  const signed = (service: string): string => {
    const parts = ['20261128', 'r', service, 'aws4_request'];
    const key = parts.reduce<Buffer>(
      (k, part) => createHmac('sha256', k).update(part).digest(),
      Buffer.from(`AWS4${SECRET}`),
    );
    return createHmac('sha256', key).update(text(service)).digest('hex');
  };
  const check = (service: string): boolean =>
    isS3Signed(SECRET, Buffer.from(text(service)).toString('base64url'), signed(service));
  expect([check('s3'), check('ec2')]).toEqual([true, false]);
});

it('holds a signature for a quarter of an hour', () => {
  const at = Date.parse('2011-09-09T23:36:00Z');
  expect([isFresh(byHeader, at), isFresh(byHeader, at + 899_000), isFresh(byQuery, at + 901_000)]).toEqual([
    true,
    true,
    false,
  ]);
  expect(isFresh(version2, Date.parse('2026-01-01T00:14:59Z'))).toBe(true);
  expect(isFresh({ params: { Timestamp: 'soon' } }, at)).toBe(false);
  expect(isFresh({}, at)).toBe(true);
});
