/** Who a request comes from, as its token says. Made by the identity service, read by everybody else. */

export interface NamedInDomain {
  readonly id: string;
  readonly name: string;
  readonly domain: { readonly id: string; readonly name: string };
}

/** A request that a token may make whose application credential allows only some. */
export interface AccessRule {
  readonly id: string;
  /** Type of the service as in the catalog. */
  readonly service: string;
  /** `{name}` and `*` stand for one part of a path, `**` for any text. */
  readonly path: string;
  readonly method: string;
}

/** What a token draws its rights from, where that is not what its user holds. */
export type Delegation =
  | {
      readonly kind: 'application_credential';
      readonly id: string;
      readonly name: string;
      /** Whether it may make and delete its like. */
      readonly unrestricted: boolean;
      /** Undefined where it may do all that its roles let it. */
      readonly access_rules: readonly AccessRule[] | undefined;
    }
  | {
      readonly kind: 'trust';
      readonly id: string;
      readonly impersonation: boolean;
      readonly trustor_user_id: string;
      readonly trustee_user_id: string;
    }
  /** An access token that a user let an OAuth 1 consumer have. */
  | { readonly kind: 'oauth1'; readonly id: string; readonly consumer_id: string }
  /** By an EC2 key. */
  | { readonly kind: 'ec2credential' };

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
  readonly delegation?: Delegation | undefined;
  /** By an EC2 key, whatever else that is bound to. */
  readonly byEc2Key?: boolean;
}

/**
 * Tells who a token belongs to.
 * @returns undefined where the token is unknown, expired or revoked. Never throws for bad tokens.
 */
export type Authenticate = (token: string) => Promise<Identity | undefined>;
