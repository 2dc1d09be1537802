/** Moments as Keystone's clients write them: in UTC where no zone is named. */
import { badRequest, type Fault } from '../http/fault.ts';

/** `2026-11-22T13:18:56.000000Z`: tokens know whole seconds. */
export const stamp = (unix_s: number): string => new Date(unix_s * 1000).toISOString().replace(/\.\d+Z$/, '.000000Z');

const MOMENT = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?$/;

const refusal = (words: string): Fault =>
  badRequest(
    `${words} The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.`,
  );

/** Whether a text is a moment. */
export function isMoment(given: string): boolean {
  const text = /(Z|[+-]\d\d:?\d\d)$/.test(given) ? given : `${given}Z`;
  return MOMENT.test(given) && !Number.isNaN(Date.parse(text.replace(' ', 'T')));
}

/**
 * Reads a moment.
 * @returns in a form that PostgreSQL reads, with its microseconds
 * @throws Fault 400 for what is none
 */
export function momentOf(given: string): string {
  const text = /(Z|[+-]\d\d:?\d\d)$/.test(given) ? given : `${given}Z`;
  if (!isMoment(given)) throw refusal('Timestamp not in expected format.');
  return text.replace(' ', 'T');
}

/**
 * Reads an `expires_at`.
 * @param now_ms Unix time
 * @returns as `momentOf`; null where none was given
 * @throws Fault 400 for what is no moment, or one that has passed
 */
export function expiryOf(given: string | null | undefined, now_ms: number): string | null {
  if (given === undefined || given === null) return null;
  const moment = momentOf(given);
  if (Date.parse(moment) <= now_ms) throw refusal("The 'expires_at' must not be before now.");
  return moment;
}
