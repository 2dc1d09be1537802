/** Time-based one-time passcodes (RFC 6238), as authenticator programs show them: six digits, each for thirty seconds. */
import { createHmac, timingSafeEqual } from 'node:crypto';

const PERIOD_S = 30;
const DIGITS = 6;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/**
 * Whether a passcode is the present one or the one before it.
 * @param secret in base32
 * @param now_s Unix time in seconds
 */
export function isPasscode(secret: string, passcode: string, now_s: number): boolean {
  const key = fromBase32(secret);
  if (key === undefined || key.length === 0) return false;
  const step = Math.floor(now_s / PERIOD_S);
  const given = Buffer.from(passcode);
  return [step, Math.max(step - 1, 0)].some((at) => {
    const expected = Buffer.from(passcodeOf(key, at));
    return expected.length === given.length && timingSafeEqual(expected, given);
  });
}

function passcodeOf(key: Buffer, step: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const digest = createHmac('sha1', key).update(counter).digest();
  const offset = (digest.at(-1) ?? 0) & 0xf;
  const number = digest.readUInt32BE(offset) & 0x7fffffff;
  return String(number % 10 ** DIGITS).padStart(DIGITS, '0');
}

function fromBase32(text: string): Buffer | undefined {
  const bytes: number[] = [];
  let bits = 0;
  let value = 0;
  for (const character of text.trim().replace(/=+$/, '')) {
    const at = ALPHABET.indexOf(character);
    if (at < 0) return undefined;
    value = ((value << 5) | at) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >> bits) & 0xff);
    }
  }
  return Buffer.from(bytes);
}
