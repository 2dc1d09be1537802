/** What the operations of this folder hand their calls on to, and what they share. */
import { badRequest, Fault, notFound } from '../../http/fault.ts';
import type { InnerCall } from '../../http/inner-call.ts';
import type { Call, Query, RequestContext } from '../../http/service.ts';
import type { QuotaBook } from '../../resource/quota.ts';
import type { Db } from '../../db/database.ts';
import { firstOf, NON_NEGATIVE } from '../links.ts';

export interface Forwarding {
  readonly network: InnerCall;
  readonly volume: InnerCall;
  readonly image: InnerCall;
  readonly db: Db;
  readonly quotas: QuotaBook;
}

/** Since 2.36 Nova answers 404 to what other services do. */
export const PROXIES_UNTIL = 35;

const PAGE_MAX = 1000;

/** The parameters of lists that are cut by `limit` and `offset`. */
export const LIMITED_PARAMETERS: Readonly<Record<string, object>> = { limit: NON_NEGATIVE, offset: NON_NEGATIVE };

/** How much of a list is asked for. @throws Fault 400 for what is no number */
export function window(query: Query): { readonly offset: number; readonly limit: number } {
  const number = (name: string, fallback: number): number => {
    const text = firstOf(query[name]);
    if (text === undefined) return fallback;
    if (!/^\d+$/.test(text)) throw badRequest(`${name} param must be an integer`);
    return Number(text);
  };
  return { offset: number('offset', 0), limit: Math.min(number('limit', PAGE_MAX) || PAGE_MAX, PAGE_MAX) };
}

export const projectOf = ({ identity }: RequestContext): string => identity.project?.id ?? '';

/** A path's parameter, fit to stand in another path. */
export const pathOf = (call: Call, name: string): string => encodeURIComponent(call.params[name] ?? '');

const UUID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;
export const isUuid = (text: unknown): text is string => typeof text === 'string' && UUID.test(text);

/** Says a refusal in Nova's way. @param reword by the status that the other service gave; others stay as they are */
export async function reworded<T>(
  answer: Promise<T>,
  reword: Readonly<Record<number, (fault: Fault) => Fault>>,
): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const words = error instanceof Fault ? reword[error.status] : undefined;
    throw words === undefined ? error : words(error as Fault);
  }
}

/** A 404 in these words. */
export const missingAs = (words: string) => ({ 404: () => notFound(words) });
