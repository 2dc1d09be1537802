/** Tokens: issued from a proven user and a scope, recognised from their text alone, revoked by their audit id. */
import { sql } from 'kysely';
import type { Db, Queryable } from '../db/database.ts';
import { Fault, unauthorized } from '../http/fault.ts';
import type { Identity } from '../http/identity.ts';
import type { Changes } from './changes.ts';
import { findClaimed } from './delegation.ts';
import { decryptFernet, encryptFernet } from './fernet.ts';
import type { TokenKeys } from './keys.ts';
import {
  type Delegation,
  type Method,
  newAuditId,
  packPayload,
  type Scope,
  type TokenPayload,
  unpackPayload,
} from './payload.ts';
import { identityOf, type Subject } from './subject.ts';
import { createTokenCache } from './token-cache.ts';

/** A valid token, and all that holds of it now. */
export interface Token {
  readonly payload: TokenPayload;
  readonly subject: Subject;
  readonly identity: Identity;
}

export interface IssueRequest {
  readonly user_id: string;
  readonly scope: Scope;
  readonly methods: readonly Method[];
  /** Of the user when the password was checked: one changed meanwhile gives no token any more. */
  readonly generation: number;
  /** Where its rights are to come from that; the scope is then what it is for. */
  readonly delegation?: Delegation;
  /** The token that this one is made from: it ends no later, and its first audit id is carried on. */
  readonly parent?: TokenPayload;
}

export interface Tokens {
  /** How long a token holds. */
  readonly validity_s: number;
  /**
   * Issues a token.
   * @throws Fault 401 where the user or the scope is none of theirs, 403 for a trust that is another's or gives nothing
   */
  issue(request: IssueRequest): Promise<{ readonly text: string; readonly token: Token }>;
  /** What a token means, or undefined where it means nothing any more. */
  find(text: string): Promise<Token | undefined>;
  /** The same, where it may have ended by itself within the last two days. */
  findExpired(text: string): Promise<Token | undefined>;
  /** Whether a text is a token that was issued here, whatever it means now. */
  isOurs(text: string): Promise<boolean>;
  /** Makes a token invalid, in the transaction given. */
  revoke(tx: Queryable, token: Token): Promise<void>;
}

export interface TokenOptions {
  readonly db: Db;
  readonly keys: TokenKeys;
  readonly changes: Changes;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  readonly validity_s: number;
}

/** Keystone's `allow_expired_window`. */
const EXPIRED_S = 2 * 24 * 60 * 60;
const CACHE = { entries_max: 10_000, ttl_ms: 10_000 };

export function createTokens({ db, keys, changes, now, validity_s }: TokenOptions): Tokens {
  const cache = createTokenCache<Token>({ ...CACHE, now });
  changes.onChange((change) => {
    const [kind, id] = change.split(' ');
    if (kind === 'user') cache.drop(({ subject }) => subject.actors.includes(id ?? ''));
    else if (kind === 'delegation') cache.drop(({ payload }) => payload.delegation?.id === id);
    else if (kind === 'project') cache.drop(({ payload }) => 'id' in payload.scope && payload.scope.id === id);
    else if (kind === 'token') cache.drop(({ payload }) => payload.audit_ids[0] === id);
    else if (kind === 'keys') keys.forget();
    if (kind === 'all' || kind === 'keys') cache.drop(() => true);
  });

  const tokenOf = (payload: TokenPayload, subject: Subject): Token => ({
    payload,
    subject,
    identity: identityOf(subject, payload.scope, payload.expires_at_s, payload.audit_ids, payload.methods),
  });

  async function look(text: string, grace_s = 0): Promise<Token | undefined> {
    const opened = decryptFernet(await keys.all(), text);
    const payload = opened === undefined ? undefined : unpackPayload(opened.message);
    const auditId = payload?.audit_ids[0];
    if (payload === undefined || auditId === undefined || (payload.expires_at_s + grace_s) * 1000 <= now())
      return undefined;
    await changes.start();
    const subject = await findClaimed(db.query, payload, auditId, now()).catch((error: unknown) => {
      if (error instanceof Fault) return undefined;
      throw error;
    });
    return subject === undefined || subject.generation !== payload.generation ? undefined : tokenOf(payload, subject);
  }

  return {
    validity_s,
    async issue({ user_id, scope, methods, generation, delegation, parent }) {
      const auditId = newAuditId();
      const claim = { user_id, scope, ...(delegation === undefined ? {} : { delegation }) };
      const subject = await findClaimed(db.query, claim, auditId, now());
      if (subject?.proof_generation !== generation) throw unauthorized();
      const issued_at_s = Math.floor(now() / 1000);
      const ends_at_s = parent?.expires_at_s ?? issued_at_s + validity_s;
      const origin = parent?.audit_ids.at(-1);
      const payload: TokenPayload = {
        ...claim,
        methods,
        issued_at_s,
        expires_at_s: Math.min(ends_at_s, subject.ends_at_s ?? ends_at_s),
        generation: subject.generation,
        audit_ids: origin === undefined ? [auditId] : [auditId, origin],
      };
      const text = encryptFernet(await keys.primary(), packPayload(payload), issued_at_s);
      return { text, token: tokenOf(payload, subject) };
    },
    async find(text) {
      const token = await cache.get(text, () => look(text));
      return token !== undefined && token.identity.expires_at_ms > now() ? token : undefined;
    },
    findExpired: (text) => look(text, EXPIRED_S),
    async isOurs(text) {
      const opened = decryptFernet(await keys.all(), text);
      return opened !== undefined && unpackPayload(opened.message) !== undefined;
    },
    async revoke(tx, { payload }) {
      const auditId = payload.audit_ids[0] as string;
      await sql`insert into identity_revocations (audit_id, expires_at, revoked_at)
        values (${auditId}, to_timestamp(${payload.expires_at_s}), to_timestamp(${now() / 1000}))
        on conflict do nothing`.execute(tx);
      // What nobody may ask about any more need not be remembered; a day more is for clocks that differ.
      await sql`delete from identity_revocations where audit_id in (
        select audit_id from identity_revocations where expires_at < clock_timestamp() - interval '3 days'
        limit 100 for update skip locked)`.execute(tx);
      await changes.announce(tx, `token ${auditId}`);
    },
  };
}
