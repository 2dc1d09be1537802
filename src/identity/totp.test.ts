import { expect, it } from 'vitest';
import { isPasscode } from './totp.ts';

/** The secret and the passcodes of RFC 6238, appendix B, cut to six digits. */
const SECRET = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';

it.each([
  [59, '287082'],
  [1_111_111_109, '081804'],
  [1_234_567_890, '005924'],
  [20_000_000_000, '353130'],
])('at %i the passcode is %s', (now_s, passcode) => {
  expect(isPasscode(SECRET, passcode, now_s)).toBe(true);
  expect(isPasscode(SECRET, passcode, now_s + 30)).toBe(true);
  expect(isPasscode(SECRET, passcode, now_s + 60)).toBe(false);
  expect(isPasscode(SECRET, passcode, now_s - 30)).toBe(false);
});

it('is none for what is no secret or no passcode', () => {
  expect(isPasscode('no base32!', '287082', 59)).toBe(false);
  expect(isPasscode('', '287082', 59)).toBe(false);
  expect(isPasscode(SECRET, '', 59)).toBe(false);
  expect(isPasscode(`${SECRET}======`, '287082', 59)).toBe(true);
});
