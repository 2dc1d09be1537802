/** Fernet tokens (github.com/fernet/spec): AES-128-CBC under HMAC-SHA256, as Keystone writes them. */
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

export interface FernetKey {
  readonly signing: Buffer;
  readonly encryption: Buffer;
}

const VERSION = 0x80;
const HEADER_BYTES = 9;
const IV_BYTES = 16;
const HMAC_BYTES = 32;
const TOKEN_CHARACTERS = /^[A-Za-z0-9_-]{98,4096}={0,2}$/;

/** A new key in its written form: 32 random bytes in base64url. */
export function newFernetKey(): string {
  return `${randomBytes(32).toString('base64url')}=`;
}

/** Reads a written key; throws where it is not 32 bytes. */
export function parseFernetKey(text: string): FernetKey {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length !== 32) throw new Error('a Fernet key has 32 bytes');
  return { signing: bytes.subarray(0, 16), encryption: bytes.subarray(16) };
}

/**
 * Encrypts and signs.
 * @param time_s Unix time written into the token, in seconds
 * @returns base64url without padding, as Keystone gives it
 */
export function encryptFernet(key: FernetKey, message: Uint8Array, time_s: number, iv = randomBytes(IV_BYTES)): string {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = VERSION;
  header.writeBigUInt64BE(BigInt(time_s), 1);
  const cipher = createCipheriv('aes-128-cbc', key.encryption, iv);
  const signed = Buffer.concat([header, iv, cipher.update(message), cipher.final()]);
  return Buffer.concat([signed, createHmac('sha256', key.signing).update(signed).digest()]).toString('base64url');
}

/**
 * Verifies with any of the keys and decrypts.
 * @returns the message and the time in it (Unix, seconds), or undefined for what none of the keys signed
 */
export function decryptFernet(
  keys: readonly FernetKey[],
  token: string,
): { message: Buffer; time_s: number } | undefined {
  if (!TOKEN_CHARACTERS.test(token)) return undefined;
  const bytes = Buffer.from(token, 'base64url');
  const end = bytes.length - HMAC_BYTES;
  const cipherBytes = end - HEADER_BYTES - IV_BYTES;
  if (bytes[0] !== VERSION || cipherBytes < 16 || cipherBytes % 16 !== 0) return undefined;
  const signed = bytes.subarray(0, end);
  const key = keys.find(({ signing }) =>
    timingSafeEqual(createHmac('sha256', signing).update(signed).digest(), bytes.subarray(end)),
  );
  if (key === undefined) return undefined;
  const iv = bytes.subarray(HEADER_BYTES, HEADER_BYTES + IV_BYTES);
  const decipher = createDecipheriv('aes-128-cbc', key.encryption, iv);
  try {
    const message = Buffer.concat([decipher.update(signed.subarray(HEADER_BYTES + IV_BYTES)), decipher.final()]);
    return { message, time_s: Number(bytes.readBigUInt64BE(1)) };
  } catch {
    return undefined;
  }
}
