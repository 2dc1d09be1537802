/** What an operator asks of passwords: Keystone's rules, none of which holds unless it is configured. */
import { sql } from 'kysely';
import type { Queryable } from '../db/database.ts';
import { badRequest, unauthorized } from '../http/fault.ts';
import type { Core } from './core.ts';
import type { UserRow } from './resources.ts';

export interface PasswordRules {
  /** After so many wrong passwords and passcodes in a row the account is locked. */
  readonly lockout_failure_attempts?: number | undefined;
  /** For how long; 1800. */
  readonly lockout_duration_s?: number | undefined;
  readonly password_expires_days?: number | undefined;
  /** A user's own new password is none of so many last ones. */
  readonly unique_last_password_count?: number | undefined;
  /** How long a password that a user chose must be kept. */
  readonly minimum_password_age_days?: number | undefined;
  readonly password_regex?: string | undefined;
  readonly password_regex_description?: string | undefined;
  /** A password that an administrator gave has expired already. */
  readonly change_password_upon_first_use?: boolean | undefined;
  /** An account whose password was not used for so many days is disabled. */
  readonly disable_user_account_days_inactive?: number | undefined;
}

const LOCKOUT_S = 1800;
const DAY_MS = 24 * 60 * 60_000;

/**
 * Whether a password is the user's; takes as long where there is no such user. Counts wrong ones where that may lock the
 * account.
 * @returns the user; `isExpired` where the password is right and good for nothing but to be changed
 * @throws Fault 401 for a wrong password, a disabled or a locked account
 */
export async function provePassword(
  core: Core,
  user: UserRow | undefined,
  password: string,
): Promise<{ readonly user: UserRow; readonly isExpired: boolean }> {
  const now_ms = core.now();
  const isRight = await core.passwords.verify(user?.password, password);
  if (user === undefined || isLocked(core.passwordRules, user, now_ms)) throw unauthorized();
  if (!isRight) {
    await countFailure(core, user, now_ms);
    throw unauthorized();
  }
  if (!user.enabled) throw unauthorized();
  if (core.passwordRules.disable_user_account_days_inactive !== undefined) {
    await refuseInactive(core, user.id);
    await sql`update identity_users set last_active_at = ${today(core)} where id = ${user.id}
      and last_active_at is distinct from ${today(core)}`.execute(core.db.query);
  }
  const expires_ms = user.password_expires_at === null ? undefined : Date.parse(user.password_expires_at);
  const isExempt = user.options.ignore_password_expiry === true;
  return { user, isExpired: expires_ms !== undefined && expires_ms <= now_ms && !isExempt };
}

/** Keystone counts in whole days. */
export const today = ({ now }: Pick<Core, 'now'>) => sql<string>`${new Date(now()).toISOString().slice(0, 10)}::date`;

/**
 * Disables an account that nobody used for as long as the rules allow, as Keystone does when it next looks at it.
 * @throws Fault 401 where that is so
 */
export async function refuseInactive(core: Core, userId: string): Promise<void> {
  const { disable_user_account_days_inactive: days } = core.passwordRules;
  if (days === undefined) return;
  const { numAffectedRows } = await sql`update identity_users set enabled = false, updated_at = clock_timestamp()
    where id = ${userId} and enabled and coalesce(body->'options'->>'ignore_user_inactivity', '') <> 'true'
      and ${today(core)} - coalesce(last_active_at, (created_at at time zone 'UTC')::date) >= ${days}`.execute(
    core.db.query,
  );
  if (numAffectedRows === 0n) return;
  core.changes.apply(`user ${userId}`);
  throw unauthorized();
}

/** Whether too many wrong proofs of late stand against any proof of the user's. */
export function isLocked(rules: PasswordRules, user: UserRow, now_ms: number): boolean {
  const { lockout_failure_attempts, lockout_duration_s = LOCKOUT_S } = rules;
  if (lockout_failure_attempts === undefined || user.options.ignore_lockout_failure_attempts === true) return false;
  if (user.failed_auth_count < lockout_failure_attempts || user.failed_auth_at === null) return false;
  return now_ms < Date.parse(user.failed_auth_at) + lockout_duration_s * 1000;
}

/** Counts a wrong password or passcode, where that may lock the account. After a lock has ended the count begins anew. */
export async function countFailure(core: Core, user: UserRow, now_ms: number): Promise<void> {
  const { lockout_failure_attempts, lockout_duration_s = LOCKOUT_S } = core.passwordRules;
  if (lockout_failure_attempts === undefined) return;
  const now = sql`to_timestamp(${now_ms / 1000})`;
  await sql`update identity_users set failed_auth_at = ${now}, failed_auth_count = 1 + case
      when failed_auth_count >= ${lockout_failure_attempts}
        and failed_auth_at <= ${now} - make_interval(secs => ${lockout_duration_s}) then 0
      else failed_auth_count end
    where id = ${user.id}`.execute(core.db.query);
}

/**
 * Who has proven all that is asked of them begins anew. A right password alone is not enough: whoever has it could else
 * try passcodes without end.
 */
export async function forgetFailures({ db }: Core, user: UserRow): Promise<void> {
  if (user.failed_auth_count === 0) return;
  await sql`update identity_users set failed_auth_count = 0, failed_auth_at = null where id = ${user.id}`.execute(
    db.query,
  );
}

/** @throws Fault 400 for a password that is not of the form asked for */
export function checkStrength({ password_regex, password_regex_description }: PasswordRules, password: string): void {
  if (password_regex === undefined || new RegExp(`^(?:${password_regex})`, 'u').test(password)) return;
  throw badRequest(`The password does not match the requirements: ${password_regex_description ?? password_regex}.`);
}

/** Its columns of a user who got a new password. @param isOwn whether the user chose it */
export function ofNewPassword(
  { passwordRules, now }: Core,
  options: UserRow['options'],
  isOwn: boolean,
): Pick<UserRow, 'password_set_at' | 'password_expires_at' | 'password_is_own' | 'failed_auth_count'> {
  const { password_expires_days: days, change_password_upon_first_use } = passwordRules;
  const set_ms = now();
  const isFirst = !isOwn && change_password_upon_first_use === true;
  const expires_ms =
    isFirst && options.ignore_change_password_upon_first_use !== true
      ? set_ms
      : days === undefined || options.ignore_password_expiry === true
        ? undefined
        : set_ms + days * DAY_MS;
  return {
    password_set_at: new Date(set_ms).toISOString(),
    password_expires_at: expires_ms === undefined ? null : new Date(expires_ms).toISOString(),
    password_is_own: isOwn,
    failed_auth_count: 0,
  };
}

/** Keeps a password's hash for as long as the rules say that it may not come again. */
export async function rememberPassword(
  tx: Queryable,
  { unique_last_password_count: count = 0 }: PasswordRules,
  userId: string,
  hash: string,
): Promise<void> {
  if (count > 0) {
    await sql`insert into identity_old_passwords (user_id, password) values (${userId}, ${hash})
      on conflict do nothing`.execute(tx);
  }
  await sql`delete from identity_old_passwords where user_id = ${userId} and password not in (
    select password from identity_old_passwords where user_id = ${userId} order by set_at desc limit ${count})`.execute(
    tx,
  );
}

/**
 * May a user give themselves this password?
 * @throws Fault 400 where they may not: not any, not yet, not this one
 */
export async function checkOwnChange(core: Core, user: UserRow, password: string): Promise<void> {
  const { minimum_password_age_days: days = 0, unique_last_password_count: count = 0 } = core.passwordRules;
  if (user.options.lock_password === true) {
    throw badRequest(
      'You cannot change your password at this time due to password policy disallowing password changes. Please contact your administrator to reset your password.',
    );
  }
  if (user.password_is_own && user.password_set_at !== null) {
    const left_ms = Date.parse(user.password_set_at) + days * DAY_MS - core.now();
    if (left_ms > 0) {
      throw badRequest(
        `You cannot change your password at this time due to the minimum password age. Once you change your password, it must be used for ${days} day(s) before it can be changed. Please try again in ${Math.floor(left_ms / DAY_MS)} day(s) or contact your administrator to reset your password.`,
      );
    }
  }
  checkStrength(core.passwordRules, password);
  if (count === 0) return;
  const { rows } = await sql<{ password: string }>`select password from identity_old_passwords
    where user_id = ${user.id} order by set_at desc limit ${count}`.execute(core.db.query);
  for (const old of new Set([user.password, ...rows.map((row) => row.password)])) {
    if (old !== null && (await core.passwords.verify(old, password))) {
      throw badRequest(
        `The new password cannot be identical to a previous password. The total number which includes the new password must be unique is ${count}.`,
      );
    }
  }
}
