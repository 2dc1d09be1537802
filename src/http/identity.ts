/** Who a request comes from, as its token says. Made by the identity service, read by everybody else. */

export interface NamedInDomain {
  readonly id: string;
  readonly name: string;
  readonly domain: { readonly id: string; readonly name: string };
}

export interface Identity {
  readonly user: NamedInDomain;
  /** The project the token is scoped to; undefined for domain, system and unscoped tokens. */
  readonly project: NamedInDomain | undefined;
  readonly domain: { readonly id: string; readonly name: string } | undefined;
  readonly system: boolean;
  /** Role names with all that they imply (admin > manager > member > reader). */
  readonly roles: readonly string[];
  readonly isAdmin: boolean;
  /** Unix time in milliseconds. */
  readonly expires_at_ms: number;
  readonly auditIds: readonly string[];
}

/**
 * Tells who a token belongs to.
 * @returns undefined where the token is unknown, expired or revoked. Never throws for bad tokens.
 */
export type Authenticate = (token: string) => Promise<Identity | undefined>;
