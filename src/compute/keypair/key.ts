/** Public keys: fingerprints as Nova shows them, and new SSH keys. */
import { createHash, generateKeyPair, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import { badRequest, type Fault } from '../../http/fault.ts';

const generate = promisify(generateKeyPair);
const MODULUS_BITS = 2048;

/** What every Nova reads; certificates of these as well. */
const SSH_TYPES = /^(ssh-rsa|ssh-dss|ssh-ed25519|ecdsa-sha2-nistp(256|384|521))(-cert-v01@openssh\.com)?$/;

const invalid = (reason: string): Fault => badRequest(`Keypair data is invalid: ${reason}`);
const pairs = (hex: string): string => (hex.match(/../g) ?? []).join(':');

/**
 * MD5 of an OpenSSH public key (`type base64 comment`), as pairs joined by colons.
 * @throws Fault 400 where it is no such key
 */
export function sshFingerprint(publicKey: string): string {
  const [type = '', text = ''] = publicKey.trimEnd().split(' ');
  const blob = Buffer.from(text, 'base64');
  const named = blob.length > 4 ? blob.subarray(4, 4 + blob.readUInt32BE(0)).toString('latin1') : '';
  const isKey = SSH_TYPES.test(type) && named === type && blob.length > 4 + type.length + 4;
  if (!isKey || !/^[A-Za-z0-9+/]+={0,2}$/.test(text) || publicKey.trimEnd().includes('\n')) {
    throw invalid('failed to generate fingerprint');
  }
  return pairs(createHash('md5').update(blob).digest('hex'));
}

/**
 * SHA-1 of a PEM certificate, as pairs joined by colons.
 * @throws Fault 400 where it is none
 */
export function certificateFingerprint(pem: string): string {
  try {
    return new X509Certificate(pem).fingerprint.toLowerCase();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.slice(0, 200) : 'not a certificate';
    throw invalid(`failed to generate X509 fingerprint. Error message: ${why}`);
  }
}

export interface GeneratedKey {
  readonly private_key: string;
  readonly public_key: string;
}

/** A new RSA key of 2048 bits as PEM (PKCS#1). */
export async function newRsaKey(): Promise<string> {
  const { privateKey } = await generate('rsa', { modulusLength: MODULUS_BITS });
  return privateKey.export({ type: 'pkcs1', format: 'pem' }).toString();
}

/** A new RSA key of 2048 bits: the private half as PEM, the public one as OpenSSH writes it. */
export async function generateSshKey(): Promise<GeneratedKey> {
  const { privateKey, publicKey } = await generate('rsa', { modulusLength: MODULUS_BITS });
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' });
  const blob = Buffer.concat([part(Buffer.from('ssh-rsa')), part(positive(e)), part(positive(n))]);
  return {
    private_key: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
    public_key: `ssh-rsa ${blob.toString('base64')} Generated-by-Nova`,
  };
}

/** A string of the SSH wire format: its length and itself. */
function part(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** A number of the SSH wire format: a first bit that is set would make it negative. */
function positive(base64url: string): Buffer {
  const bytes = Buffer.from(base64url, 'base64url');
  return (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes;
}
