/** Hashing of passwords, bounded so that a flood of logins neither takes the machine nor an ever longer queue. */
import { hash, verify } from '@node-rs/argon2';
import { Fault, forbidden } from '../http/fault.ts';

export interface Passwords {
  /** The Argon2id hash of a password. Throws Fault 403 where it is too long, 503 while too many wait. */
  hash(password: string): Promise<string>;
  /**
   * Whether the password is the one of the hash. Without a hash (no such user, no password) it takes as long, and says
   * no: time must not tell who exists.
   */
  verify(hashed: string | null | undefined, password: string): Promise<boolean>;
}

const PASSWORD_MAX_CHARACTERS = 4096;
const WAITING_MAX = 200;

/** @param concurrency how many hashes are made at once; each takes a core and 19 MiB for some 20 to 50 ms */
export function createPasswords(concurrency = 2): Passwords {
  let running = 0;
  const waiting: (() => void)[] = [];
  let decoy: Promise<string> | undefined;

  async function bounded<T>(work: () => Promise<T>): Promise<T> {
    if (running >= concurrency) {
      if (waiting.length >= WAITING_MAX) {
        throw new Fault(503, 'Too many logins are under way. Try again later.', { headers: { 'retry-after': '2' } });
      }
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running += 1;
    }
    try {
      return await work();
    } finally {
      // The place goes to who waits longest, and is free only when nobody does.
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  }

  return {
    async hash(password) {
      if (password.length > PASSWORD_MAX_CHARACTERS) {
        throw forbidden(
          `The password length must be less than or equal to ${PASSWORD_MAX_CHARACTERS}. The server could not comply with the request because the password is invalid.`,
        );
      }
      return bounded(() => hash(password));
    },
    async verify(hashed, password) {
      if (password.length > PASSWORD_MAX_CHARACTERS) return false;
      decoy ??= hash('nobody has this password');
      const against = hashed ?? (await decoy);
      const same = await bounded(() => verify(against, password));
      return same && typeof hashed === 'string';
    },
  };
}
