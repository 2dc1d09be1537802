/**
 * Receipts: what a user holds who proved themselves by one factor where several are asked for. Shown again with the
 * missing proofs, it stands for those that were given before; by itself it opens nothing.
 */
import { unauthorized } from '../http/fault.ts';
import { Reply } from '../http/service.ts';
import type { Core } from './core.ts';
import { decryptFernet, encryptFernet } from './fernet.ts';
import { stamp } from './moment.ts';
import { AUTH_METHODS, type Method, packReceipt, type Receipt, unpackReceipt } from './payload.ts';
import { domains, type UserRow } from './resources.ts';

export const RECEIPT_HEADER = 'openstack-auth-receipt';
const VALIDITY_S = 300;

/** The rules that a user's options make; a method that nobody can use is not asked for: it would shut the user out. */
const rulesOf = ({ options }: Pick<UserRow, 'options'>): string[][] =>
  (options.multi_factor_auth_rules ?? []).map((rule) =>
    rule.filter((method) => (AUTH_METHODS as readonly string[]).includes(method)),
  );

/** Whether these proofs are all that is asked of a user. */
export function isEnough(user: Pick<UserRow, 'options'>, methods: readonly Method[]): boolean {
  const rules = rulesOf(user);
  if (user.options.multi_factor_auth_enabled === false || rules.length === 0) return true;
  const given: ReadonlySet<string> = new Set(methods);
  return rules.some((rule) => rule.every((method) => given.has(method)));
}

/** Keystone's 401 for proofs that were good and are not enough: with a receipt for them, and what else could be given. */
export async function receiptFor(core: Core, user: UserRow, methods: readonly Method[]): Promise<Reply> {
  const issued_at_s = Math.floor(core.now() / 1000);
  const expires_at_s = issued_at_s + VALIDITY_S;
  const receipt: Receipt = { user_id: user.id, generation: user.token_generation, methods, expires_at_s };
  const text = encryptFernet(await core.keys.primary(), packReceipt(receipt), issued_at_s);
  const domain_id = user.domain_id ?? '';
  const domain = { id: domain_id, name: (await domains.find(core.db.query, domain_id))?.name ?? '' };
  const given: ReadonlySet<string> = new Set(methods);
  const body = {
    receipt: {
      methods,
      user: { id: user.id, name: user.name, domain },
      expires_at: stamp(expires_at_s),
      issued_at: stamp(issued_at_s),
    },
    // What the given proofs are no part of is no way on from here.
    required_auth_methods: rulesOf(user).filter((rule) => rule.some((method) => given.has(method))),
  };
  return new Reply(401, body, { [RECEIPT_HEADER]: text });
}

/**
 * The proofs that a receipt stands for.
 * @param user who has proven themselves now; another's receipt proves nothing, nor does one from before a new password
 * @throws Fault 401 for a receipt that is none, or none any more
 */
export async function methodsOfReceipt(core: Core, text: string, user: UserRow): Promise<readonly Method[]> {
  const opened = decryptFernet(await core.keys.all(), text);
  const receipt = opened === undefined ? undefined : unpackReceipt(opened.message);
  const holds =
    receipt?.user_id === user.id &&
    receipt.generation === user.token_generation &&
    receipt.expires_at_s * 1000 > core.now();
  if (!holds) throw unauthorized(`Could not find auth receipt: ${text.slice(0, 512)}.`);
  return receipt.methods;
}
