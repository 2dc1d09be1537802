import { spawnSync } from 'node:child_process';
import { createPublicKey, createPrivateKey, X509Certificate } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, describe, expect, it } from 'vitest';
import { computeTest } from '../testing.ts';
import { certificateFingerprint, sshFingerprint } from './key.ts';

const test = await computeTest({ east: { 'east-1': 'nova' } });
const { call, cascade, db, sims } = test;
afterAll(() => test.close());

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ a@b';

describe('fingerprints', () => {
  it('are those of ssh-keygen', () => {
    expect(sshFingerprint(KEY)).toMatch(/^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
    for (const wrong of ['', 'ssh-rsa', 'ssh-rsa AAAA', KEY.replace('ed25519 ', 'dss '), `${KEY}\n${KEY}`, 'x y z']) {
      expect(() => sshFingerprint(wrong), wrong).toThrow('failed to generate fingerprint');
    }
    expect(() => certificateFingerprint('x')).toThrow('failed to generate X509 fingerprint');
  });
});

describe('keypairs', () => {
  it('are imported, with the status and attributes of the microversion', async () => {
    const keypair = { name: 'mine', public_key: KEY };
    const made = await call('alice', 'POST', '/os-keypairs', { keypair });
    expect(made.status).toBe(201);
    expect(made.body.keypair).toEqual({ ...keypair, type: 'ssh', user_id: 'alice', fingerprint: sshFingerprint(KEY) });
    const again = await call('alice', 'POST', '/os-keypairs', { keypair });
    expect([again.status, again.body.conflictingRequest.message]).toEqual([409, "Key pair 'mine' already exists."]);
    const old = await call('alice', 'POST', '/os-keypairs', { keypair: { ...keypair, name: 'old' } }, 1);
    expect(old.status).toBe(200);
    expect(old.body.keypair).not.toHaveProperty('type');
    const shown = await call('alice', 'GET', '/os-keypairs/mine');
    expect(shown.body.keypair).toMatchObject({ id: expect.any(Number), deleted: false, updated_at: null });
    expect(shown.body.keypair.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
  });

  it('are generated below 2.92, and the private half is given once', async () => {
    const { status, body } = await call('alice', 'POST', '/os-keypairs', { keypair: { name: 'made' } }, 91);
    expect(status).toBe(201);
    const { private_key, public_key } = body.keypair;
    const blob = createPublicKey(createPrivateKey(private_key)).export({ format: 'jwk' });
    expect(Buffer.from(public_key.split(' ')[1], 'base64').toString('hex')).toContain(
      Buffer.from(blob.n ?? '', 'base64url').toString('hex'),
    );
    const { rows } = await sql<{ all: string }>`select row_to_json(k)::text as all from keypairs k`.execute(db.query);
    expect(rows.some((row) => row.all.includes('PRIVATE KEY'))).toBe(false);
    expect((await call('alice', 'POST', '/os-keypairs', { keypair: { name: 'n' } })).status).toBe(400);
    const x509 = await call('alice', 'POST', '/os-keypairs', { keypair: { name: 'n', type: 'x509' } });
    expect([x509.status, x509.body.badRequest.message]).toEqual([
      400,
      expect.stringContaining("'public_key' is a required property"),
    ]);
  });

  it('are certificates for clients where that is asked for, with the key beside them in PKCS#12', async () => {
    const asked = { keypair: { name: 'windows', type: 'x509', user_id: 'bob' } };
    const { status, body } = await call('admin', 'POST', '/os-keypairs', asked, 91);
    expect(status).toBe(201);
    const { private_key, public_key, fingerprint, type, user_id } = body.keypair;
    expect([type, user_id, fingerprint]).toEqual(['x509', 'bob', certificateFingerprint(public_key)]);
    const certificate = new X509Certificate(public_key);
    expect(certificate.subject).toBe('CN=bob');
    expect(certificate.issuer).toBe('CN=bob');
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.subjectAltName).toContain('bob@localhost');
    const days = (Date.parse(certificate.validTo) - Date.parse(certificate.validFrom)) / 86_400_000;
    expect(days).toBe(3650);
    // What OpenSSL reads, every client does.
    const opened = spawnSync('openssl', ['pkcs12', '-passin', 'pass:', '-nodes'], {
      input: Buffer.from(private_key, 'base64'),
    });
    if (opened.error === undefined) {
      const text = opened.stdout.toString();
      const key = createPrivateKey(
        text.slice(text.indexOf('-----BEGIN PRIVATE KEY'), text.indexOf('-----END PRIVATE KEY') + 25),
      );
      expect(certificate.checkPrivateKey(key)).toBe(true);
      expect(text).toContain(public_key.split('\n')[1]);
    }
    expect((await call('bob', 'GET', '/os-keypairs/windows')).body.keypair.public_key).toBe(public_key);
    const { rows } = await sql<{ all: string }>`select row_to_json(k)::text as all from keypairs k`.execute(db.query);
    expect(rows.some((row) => row.all.includes(private_key.slice(100, 200)))).toBe(false);
    expect((await call('admin', 'DELETE', '/os-keypairs/windows?user_id=bob')).status).toBe(204);
  });

  it('belong to users: others see none of them, admins from 2.10 do', async () => {
    expect((await call('bob', 'GET', '/os-keypairs')).body).toEqual({ keypairs: [] });
    const missing = await call('bob', 'GET', '/os-keypairs/mine');
    expect(missing.body.itemNotFound.message).toBe('Keypair mine not found for user bob');
    expect((await call('bob', 'GET', '/os-keypairs?user_id=alice')).status).toBe(403);
    expect((await call('bob', 'DELETE', '/os-keypairs/mine?user_id=alice')).status).toBe(403);
    expect((await call('admin', 'GET', '/os-keypairs/mine?user_id=alice')).status).toBe(200);
    expect((await call('admin', 'GET', '/os-keypairs/mine?user_id=alice', undefined, 9)).status).toBe(404);
    const theft = { keypair: { name: 'x', public_key: KEY, user_id: 'alice' } };
    expect((await call('bob', 'POST', '/os-keypairs', theft)).status).toBe(403);
    expect((await call('admin', 'POST', '/os-keypairs', theft)).body.keypair.user_id).toBe('alice');
  });

  it('are listed by name, in pages from 2.35', async () => {
    const names = (body: { keypairs: { keypair: { name: string } }[] }) => body.keypairs.map((one) => one.keypair.name);
    const first = await call('alice', 'GET', '/os-keypairs?limit=2');
    expect(names(first.body)).toEqual(['made', 'mine']);
    const next = new URL(first.body.keypairs_links[0].href);
    expect(names((await call('alice', 'GET', `/os-keypairs${next.search}`)).body)).toEqual(['old', 'x']);
    expect(names((await call('alice', 'GET', '/os-keypairs?limit=2', undefined, 34)).body)).toHaveLength(4);
    expect((await call('alice', 'GET', '/os-keypairs?marker=none')).body.badRequest.message).toBe(
      'Marker none could not be found.',
    );
  });

  it('have names of few characters and are limited in number', async () => {
    const named = (name: string, minor: number) =>
      call('alice', 'POST', '/os-keypairs', { keypair: { name, public_key: KEY } }, minor);
    expect((await named('a@b.c', 91)).body.badRequest.message).toContain('Only expected characters: [_- 0123');
    expect((await named('a@b.c', 92)).status).toBe(201);
    expect((await named('tab\t', 92)).status).toBe(400);
    await sql`insert into quotas (project_id, service, resource, hard_limit) values ('p1', 'compute', 'key_pairs', 5)`.execute(
      db.query,
    );
    const over = await named('more', 92);
    expect([over.status, over.body.forbidden.message]).toEqual([403, 'Quota exceeded, too many key pairs.']);
  });

  it('are imported into children under their id, and go with them', async () => {
    const { rows } = await sql<{ id: string }>`select id from keypairs where name = 'x'`.execute(db.query);
    const id = rows[0]?.id as string;
    await sql`update keypairs set project_id = '' where id = ${id}`.execute(db.query);
    expect((await cascade.context('east').ensure('keypair', id)).child_id).toBe(id);
    const there = () => [...(sims.east?.state.keypairs.values() ?? [])].map((key) => key.name);
    expect(there()).toEqual([id]);
    expect((await call('alice', 'DELETE', '/os-keypairs/x')).status).toBe(204);
    expect((await call('alice', 'DELETE', '/os-keypairs/x')).status).toBe(404);
    expect((await call('alice', 'DELETE', '/os-keypairs/old', undefined, 1)).status).toBe(202);
    await expect(cascade.context('east').ensure('keypair', id)).rejects.toThrow('gone');
  });
});
