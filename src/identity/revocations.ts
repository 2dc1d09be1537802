/**
 * OS-REVOKE: since when which tokens are void, for services that ask for such a list. The parent itself looks up what a
 * token means when it is used.
 */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { badRequest } from '../http/fault.ts';
import { type Operation, operation } from '../http/service.ts';
import { collection, type Core, first } from './core.ts';
import { isMoment, momentOf } from './moment.ts';
import { adminOrService } from './rules.ts';

type Of = 'user_id' | 'project_id' | 'trust_id' | 'consumer_id' | 'access_token_id';

/** Longer than any token holds, by Keystone's half hour for clocks that differ. */
const GRACE_S = 1800;
const EVENTS_MAX = 10_000;

/** Notes that the tokens there are now of users, in projects or by what was handed on are void, in the transaction given. */
export async function noteRevoked(core: Core, tx: Queryable, of: Of, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const now = sql`to_timestamp(${core.now() / 1000})`;
  await sql`insert into identity_revocation_events (${sql.ref(of)}, revoked_at)
    select id, ${now} from unnest(${[...ids]}::text[]) as id`.execute(tx);
  await sql`delete from identity_revocation_events where ctid in (
    select ctid from identity_revocation_events
    where revoked_at < ${now} - make_interval(secs => ${core.tokens.validity_s + GRACE_S})
    limit 100 for update skip locked)`.execute(tx);
}

/** Makes all tokens that users have now void, in the transaction given. */
export async function endTokensOf(core: Core, tx: Queryable, userIds: readonly string[]): Promise<void> {
  // In order, so that two at once do not wait for each other.
  await sql`select 1 from identity_users where id = any(${[...userIds]}) order by id for no key update`.execute(tx);
  await sql`update identity_users set token_generation = token_generation + 1
    where id = any(${[...userIds]})`.execute(tx);
  await noteRevoked(core, tx, 'user_id', userIds);
  for (const id of userIds) await core.changes.announce(tx, `user ${id}`);
}

interface Event {
  readonly audit_id: string | null;
  readonly user_id: string | null;
  readonly project_id: string | null;
  readonly trust_id: string | null;
  readonly consumer_id: string | null;
  readonly access_token_id: string | null;
  readonly revoked_at: string;
}

export function revocationOperations(core: Core): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/OS-REVOKE/events',
      policy: adminOrService('list_revoke_events'),
      status: 200,
      summary: 'List since when which tokens are void',
      handle: async ({ context, query }) => {
        const since = first(query, 'since') ?? '';
        if (since !== '' && !isMoment(since)) throw badRequest(`invalidate date format ${since}`);
        const after = since === '' ? sql`true` : sql`revoked_at > ${momentOf(since)}::timestamptz`;
        const { rows } = await sql<Event>`
          select audit_id, null as user_id, null as project_id, null as trust_id, null as consumer_id,
            null as access_token_id, revoked_at from identity_revocations where ${after}
          union all
          select null, user_id, project_id, trust_id, consumer_id, access_token_id, revoked_at
            from identity_revocation_events where ${after}
          order by revoked_at limit ${EVENTS_MAX}`.execute(core.db.query);
        // Keystone's link leaves out what was asked for.
        return collection(context, 'events', '/OS-REVOKE/events', rows.map(shown));
      },
    }),
  ];
}

function shown({ trust_id, consumer_id, access_token_id, revoked_at, ...of }: Event): Record<string, string> {
  const ids = {
    ...of,
    'OS-TRUST:trust_id': trust_id,
    'OS-OAUTH1:consumer_id': consumer_id,
    'OS-OAUTH1:access_token_id': access_token_id,
  };
  // Tokens know whole seconds: one issued within the second in which it was revoked is meant too.
  const moment = `${new Date(revoked_at).toISOString().slice(0, 19)}.000000Z`;
  const named = Object.entries(ids).flatMap(([name, id]) => (id === null ? [] : [[name, id] as const]));
  return { ...Object.fromEntries(named), issued_before: moment, revoked_at: moment };
}
