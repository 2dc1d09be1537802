import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decryptFernet, encryptFernet, newFernetKey, parseFernetKey } from './fernet.ts';
import { METHODS, packPayload, type TokenPayload, unpackPayload } from './payload.ts';

/** The example of the Fernet specification. */
const SPEC = {
  key: 'cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=',
  token: 'gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA',
  time_s: 499_162_800,
  iv: Buffer.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
};

const hexId = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 32, maxLength: 32 });
const id = fc.oneof(
  hexId,
  fc.string({ minLength: 1, maxLength: 60 }).filter((text) => text.trim() !== ''),
);
const auditId = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => Buffer.from(bytes).toString('base64url'));
const plain: fc.Arbitrary<TokenPayload> = fc.record({
  user_id: id,
  scope: fc.oneof(
    fc.constant({ kind: 'unscoped' as const }),
    fc.constant({ kind: 'system' as const }),
    id.map((id) => ({ kind: 'project' as const, id })),
    id.map((id) => ({ kind: 'domain' as const, id })),
  ),
  methods: fc.subarray([...METHODS], { minLength: 1 }),
  issued_at_s: fc.nat({ max: 0xffffffff }),
  expires_at_s: fc.nat({ max: 0xffffffff }),
  generation: fc.nat(),
  audit_ids: fc.array(auditId, { minLength: 1, maxLength: 2 }),
});
const payload = fc.oneof(
  plain,
  fc
    .tuple(plain, fc.record({ kind: fc.constantFrom('application_credential' as const, 'trust' as const), id }))
    .map(([one, delegation]): TokenPayload => ({ ...one, delegation })),
);

describe('Fernet', () => {
  it('writes and reads the example of the specification', () => {
    const key = parseFernetKey(SPEC.key);
    expect(encryptFernet(key, Buffer.from('hello'), SPEC.time_s, SPEC.iv)).toBe(SPEC.token);
    expect(decryptFernet([key], SPEC.token)).toEqual({ message: Buffer.from('hello'), time_s: SPEC.time_s });
    expect(decryptFernet([key], `${SPEC.token}==`)?.time_s).toBe(SPEC.time_s);
  });

  it('reads with any of its keys, and with no other', () => {
    const [old, current, stranger] = [1, 2, 3].map(() => parseFernetKey(newFernetKey()));
    if (old === undefined || current === undefined || stranger === undefined) throw new Error('three keys were made');
    const token = encryptFernet(old, Buffer.from('said'), 1);
    expect(decryptFernet([current, old], token)?.message.toString()).toBe('said');
    expect(decryptFernet([current, stranger], token)).toBeUndefined();
  });

  it('refuses whatever was altered', () => {
    const key = parseFernetKey(newFernetKey());
    const token = encryptFernet(key, Buffer.from('a message of more than one block'), 1_800_000_000);
    const bytes = Buffer.from(token, 'base64url');
    fc.assert(
      fc.property(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const altered = Buffer.from(bytes);
        altered[at] = (altered[at] ?? 0) ^ change;
        expect(decryptFernet([key], altered.toString('base64url'))).toBeUndefined();
      }),
      { numRuns: 300 },
    );
    for (const text of ['', 'nope', token.slice(4), token.slice(0, -4), `${token} `, 'g'.repeat(5000)]) {
      expect(decryptFernet([key], text)).toBeUndefined();
    }
  });

  it('says no more of a secret key than that it is none', () => {
    expect(() => parseFernetKey('c2hvcnQ=')).toThrow('a Fernet key has 32 bytes');
  });
});

describe('payloads', () => {
  it('come back as they went in', () => {
    fc.assert(fc.property(payload, (one) => void expect(unpackPayload(packPayload(one))).toEqual(one)));
  });

  it('are refused when cut or foreign, and never throw', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void unpackPayload(Buffer.from(bytes))));
    expect(unpackPayload(Buffer.from('hello'))).toBeUndefined();
    expect(unpackPayload(Buffer.alloc(40, 2))).toBeUndefined();
  });

  it('stay short: a project token is no longer than Keystone’s', () => {
    const key = parseFernetKey(newFernetKey());
    const hex = 'a4d96530017c4c43835200bbeb196502';
    const message = packPayload({
      user_id: hex,
      scope: { kind: 'project', id: hex },
      methods: ['password'],
      issued_at_s: 1_800_000_000,
      expires_at_s: 1_800_086_400,
      generation: 1,
      audit_ids: ['mziPXoHAR_KSfjCGd4rOOg'],
    });
    const token = encryptFernet(key, message, 1_800_000_000);
    expect(token).toMatch(/^gAAAAA/);
    expect(token.length).toBeLessThanOrEqual(183);
  });
});
