/** What an outer Keystone says of a token, as the services see who calls. */
import type { AccessRule, Delegation, Identity, NamedInDomain } from '../../http/identity.ts';

/** The `token` of Keystone's answer to `GET /v3/auth/tokens`, as far as it is read. */
export interface OuterToken {
  readonly user?: Partial<NamedInDomain>;
  readonly project?: Partial<NamedInDomain>;
  readonly domain?: { readonly id?: string; readonly name?: string };
  readonly system?: { readonly all?: boolean };
  readonly roles?: readonly { readonly name?: string }[];
  readonly expires_at?: string;
  readonly audit_ids?: readonly string[];
  readonly methods?: readonly string[];
  readonly application_credential?: {
    readonly id?: string;
    readonly name?: string;
    readonly restricted?: boolean;
    readonly access_rules?: readonly AccessRule[];
  };
  readonly 'OS-TRUST:trust'?: {
    readonly id?: string;
    readonly impersonation?: boolean;
    readonly trustor_user?: { readonly id?: string };
    readonly trustee_user?: { readonly id?: string };
  };
}

/**
 * The caller that a token speaks for.
 * @returns undefined where the answer lacks what no token lacks: such a caller is nobody
 */
export function identityOfOuter(token: OuterToken | undefined): Identity | undefined {
  const user = named(token?.user);
  const expires_at_ms = Date.parse(token?.expires_at ?? '');
  if (token === undefined || user === undefined || Number.isNaN(expires_at_ms)) return undefined;
  const project = named(token.project);
  if (token.project !== undefined && project === undefined) return undefined;
  const system = token.system?.all === true;
  const roles = (token.roles ?? []).flatMap(({ name }) => name ?? []);
  const { id, name } = token.domain ?? {};
  return {
    user,
    project,
    domain: id === undefined ? undefined : { id, name: name ?? id },
    system,
    roles,
    // A domain's administrator is one within Keystone alone.
    isAdmin: roles.includes('admin') && (project !== undefined || system),
    expires_at_ms,
    auditIds: token.audit_ids ?? [],
    delegation: delegationOf(token),
  };
}

function named(given: Partial<NamedInDomain> | undefined): NamedInDomain | undefined {
  if (typeof given?.id !== 'string' || given.id === '') return undefined;
  const domain = { id: given.domain?.id ?? 'default', name: given.domain?.name ?? 'Default' };
  return { id: given.id, name: given.name ?? given.id, domain };
}

function delegationOf(token: OuterToken): Delegation | undefined {
  const credential = token.application_credential;
  if (credential !== undefined) {
    return {
      kind: 'application_credential',
      id: credential.id ?? '',
      name: credential.name ?? '',
      unrestricted: credential.restricted === false,
      access_rules: credential.access_rules,
    };
  }
  const trust = token['OS-TRUST:trust'];
  if (trust !== undefined) {
    return {
      kind: 'trust',
      id: trust.id ?? '',
      impersonation: trust.impersonation === true,
      trustor_user_id: trust.trustor_user?.id ?? '',
      trustee_user_id: trust.trustee_user?.id ?? '',
    };
  }
  return token.methods?.includes('ec2credential') === true ? { kind: 'ec2credential' } : undefined;
}
