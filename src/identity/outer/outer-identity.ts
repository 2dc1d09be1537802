/**
 * An existing Keystone in place of the built-in one: tokens are its own, and it is asked what they mean. What it said is
 * believed for `cache_s`, never beyond the token's end: so long may a revoked token, or a role taken away, still hold.
 */
import type { Logger } from 'pino';
import type { Db } from '../../db/database.ts';
import { Fault } from '../../http/fault.ts';
import type { Identity } from '../../http/identity.ts';
import { type CloudApi, CloudError } from '../../openstack/contract.ts';
import type { ProjectDeletedListener } from '../core.ts';
import { type CallerIdentity, projectLookup } from '../identity.ts';
import { createTokenCache } from '../token-cache.ts';
import { createOuterProjects } from './projects.ts';
import { identityOfOuter, type OuterToken } from './token.ts';

export interface OuterIdentityOptions {
  readonly db: Db;
  /** The account at Keystone that validates tokens. */
  readonly api: CloudApi;
  readonly log: Logger;
  /** For how long an answer is believed, in seconds; 0: never. */
  readonly cache_s: number;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
}

const ENTRIES_MAX = 10_000;
const FORGET_EVERY_MS = 10 * 60_000;
/** What no token looks like need not be asked about. */
const TOKEN = /^[\x21-\x7e]{1,8192}$/;

/** Makes it; nothing is asked before the first token comes. */
export function createOuterIdentity(options: OuterIdentityOptions): CallerIdentity {
  const { db, api, log, cache_s, now = Date.now } = options;
  const cache = createTokenCache<Identity>({ entries_max: ENTRIES_MAX, ttl_ms: cache_s * 1000, now });
  const projects = createOuterProjects(db, api, projectLookup);
  const listeners: ProjectDeletedListener[] = [];

  async function validate(token: string): Promise<Identity | undefined> {
    const { status, body } = await api
      .call<{ token?: OuterToken }>({
        service: 'identity',
        method: 'GET',
        path: '/auth/tokens',
        query: { nocatalog: 'true' },
        // Keystone shows tokens with access rules only to who says that they keep to them.
        headers: { 'x-subject-token': token, 'openstack-identity-access-rules': '1.0' },
        accept: [400, 404],
      })
      .catch((error: unknown) => {
        if (!(error instanceof CloudError)) throw error;
        log.error({ err: error }, 'Keystone does not tell what a token means');
        throw new Fault(503, 'The identity service cannot be reached now. Try again later.');
      });
    const identity = status === 200 ? identityOfOuter(body.token) : undefined;
    if (identity?.project !== undefined) await projects.remember(identity.project);
    return identity;
  }

  const forgetting = setInterval(() => {
    projects.forgetDeleted(listeners).then(
      (gone) => gone > 0 && log.info({ gone }, 'projects that Keystone has no more were forgotten'),
      (err: unknown) => log.warn({ err }, 'Keystone does not tell which projects there are'),
    );
  }, FORGET_EVERY_MS);
  forgetting.unref();

  return {
    service: undefined,
    async authenticate(token) {
      if (!TOKEN.test(token)) return undefined;
      const identity = await cache.get(token, () => validate(token));
      return identity !== undefined && identity.expires_at_ms > now() ? identity : undefined;
    },
    async bootstrap() {
      return false;
    },
    onProjectDeleted: (listener) => void listeners.push(listener),
    // Keystone tells nobody; what was a user's own (keypairs) stays until an administrator deletes it.
    onUserDeleted: () => undefined,
    projects,
    async close() {
      clearInterval(forgetting);
      await api.close();
    },
  };
}
