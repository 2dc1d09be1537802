/** What a token says, packed into few bytes. It holds ids only: names, roles and rights are looked up when it is used. */
import { randomBytes } from 'node:crypto';

export type Scope =
  | { readonly kind: 'unscoped' }
  | { readonly kind: 'project'; readonly id: string }
  | { readonly kind: 'domain'; readonly id: string }
  | { readonly kind: 'system' };

/** In the order of their bits in a token: new ones go to the end. */
export const METHODS = ['password', 'token', 'application_credential', 'ec2credential', 'totp', 'oauth1'] as const;
export type Method = (typeof METHODS)[number];

/** Those by which a user may log in. */
export const AUTH_METHODS = [
  'token',
  'password',
  'application_credential',
  'totp',
  'oauth1',
] as const satisfies readonly Method[];

/** What a token draws its rights from, where that is not what its user holds. */
export interface Delegation {
  readonly kind: (typeof DELEGATIONS)[number];
  readonly id: string;
}

export interface TokenPayload {
  readonly user_id: string;
  readonly scope: Scope;
  readonly methods: readonly Method[];
  readonly delegation?: Delegation;
  /** Unix time in whole seconds. */
  readonly issued_at_s: number;
  readonly expires_at_s: number;
  /** Of the user, when the token was issued. */
  readonly generation: number;
  /** Its own, and for a rescoped token that of the first of the chain. */
  readonly audit_ids: readonly string[];
}

/** What a receipt says: who gave which proofs, of those that are asked for together. */
export interface Receipt {
  readonly user_id: string;
  /** Of the user, when the proofs were given. */
  readonly generation: number;
  readonly methods: readonly Method[];
  /** Unix time in whole seconds. */
  readonly expires_at_s: number;
}

const FORMAT = 1;
/** With a delegation: its kind and id stand after the scope. */
const FORMAT_DELEGATED = 2;
/** Never read as a token, though signed with the same keys. */
const FORMAT_RECEIPT = 3;
/** In the order of their numbers in a token: new ones go to the end. */
const DELEGATIONS = ['application_credential', 'trust', 'oauth1'] as const;
const SCOPES = ['unscoped', 'project', 'domain', 'system'] as const;
const HEX_ID = /^[0-9a-f]{32}$/;
const AUDIT_BYTES = 16;

/** A new audit id: 16 random bytes in base64url. */
export const newAuditId = (): string => randomBytes(AUDIT_BYTES).toString('base64url');

/** Packs a payload; ids of 32 hexadecimal digits take 17 bytes, others their UTF-8 and one. */
export function packPayload(payload: TokenPayload): Buffer {
  const { scope, delegation } = payload;
  const head = Buffer.alloc(15);
  head[0] = delegation === undefined ? FORMAT : FORMAT_DELEGATED;
  head[1] = packMethods(payload.methods);
  head[2] = SCOPES.indexOf(scope.kind);
  head.writeUInt32BE(payload.issued_at_s, 3);
  head.writeUInt32BE(payload.expires_at_s, 7);
  head.writeUInt32BE(payload.generation, 11);
  return Buffer.concat([
    head,
    packId(payload.user_id),
    'id' in scope ? packId(scope.id) : Buffer.alloc(0),
    delegation === undefined
      ? Buffer.alloc(0)
      : Buffer.concat([Buffer.from([DELEGATIONS.indexOf(delegation.kind)]), packId(delegation.id)]),
    ...payload.audit_ids.map((id) => Buffer.from(id, 'base64url')),
  ]);
}

/** Unpacks what `packPayload` packed; undefined for anything else. */
export function unpackPayload(bytes: Buffer): TokenPayload | undefined {
  const kind = SCOPES[bytes[2] ?? -1];
  const isDelegated = bytes[0] === FORMAT_DELEGATED;
  if (bytes.length < 15 || !(isDelegated || bytes[0] === FORMAT) || kind === undefined) return undefined;
  const reader = { bytes, at: 15 };
  const user_id = unpackId(reader);
  const scope = kind === 'project' || kind === 'domain' ? { kind, id: unpackId(reader) ?? '' } : { kind };
  const delegation = isDelegated ? unpackDelegation(reader) : undefined;
  if (isDelegated && delegation === undefined) return undefined;
  const rest = bytes.subarray(reader.at);
  if (user_id === undefined || ('id' in scope && scope.id === '') || rest.length % AUDIT_BYTES !== 0) return undefined;
  const audit_ids: string[] = [];
  for (let at = 0; at < rest.length; at += AUDIT_BYTES) {
    audit_ids.push(rest.subarray(at, at + AUDIT_BYTES).toString('base64url'));
  }
  return {
    user_id,
    scope,
    methods: unpackMethods(bytes[1]),
    ...(delegation === undefined ? {} : { delegation }),
    issued_at_s: bytes.readUInt32BE(3),
    expires_at_s: bytes.readUInt32BE(7),
    generation: bytes.readUInt32BE(11),
    audit_ids,
  };
}

/** Packs a receipt. */
export function packReceipt({ methods, expires_at_s, generation, user_id }: Receipt): Buffer {
  const head = Buffer.alloc(10);
  head[0] = FORMAT_RECEIPT;
  head[1] = packMethods(methods);
  head.writeUInt32BE(expires_at_s, 2);
  head.writeUInt32BE(generation, 6);
  return Buffer.concat([head, packId(user_id)]);
}

/** Unpacks what `packReceipt` packed; undefined for anything else. */
export function unpackReceipt(bytes: Buffer): Receipt | undefined {
  if (bytes.length < 10 || bytes[0] !== FORMAT_RECEIPT) return undefined;
  const user_id = unpackId({ bytes, at: 10 });
  if (user_id === undefined) return undefined;
  return {
    user_id,
    methods: unpackMethods(bytes[1]),
    expires_at_s: bytes.readUInt32BE(2),
    generation: bytes.readUInt32BE(6),
  };
}

const packMethods = (methods: readonly Method[]): number =>
  methods.reduce((bits, method) => bits | (1 << METHODS.indexOf(method)), 0);

const unpackMethods = (bits = 0): Method[] => METHODS.filter((_, bit) => (bits & (1 << bit)) !== 0);

function unpackDelegation(reader: { readonly bytes: Buffer; at: number }): Delegation | undefined {
  const kind = DELEGATIONS[reader.bytes[reader.at] ?? -1];
  reader.at += 1;
  const id = unpackId(reader);
  return kind === undefined || id === undefined ? undefined : { kind, id };
}

/** 0 announces 16 bytes of a hexadecimal id, any other byte the length of an id in UTF-8. */
function packId(id: string): Buffer {
  if (HEX_ID.test(id)) return Buffer.concat([Buffer.from([0]), Buffer.from(id, 'hex')]);
  const text = Buffer.from(id, 'utf8');
  if (text.length === 0 || text.length > 255) throw new RangeError('an id has 1 to 255 bytes');
  return Buffer.concat([Buffer.from([text.length]), text]);
}

function unpackId(reader: { readonly bytes: Buffer; at: number }): string | undefined {
  const length = reader.bytes[reader.at];
  if (length === undefined) return undefined;
  const end = reader.at + 1 + (length === 0 ? 16 : length);
  if (end > reader.bytes.length) return undefined;
  const id = reader.bytes.subarray(reader.at + 1, end).toString(length === 0 ? 'hex' : 'utf8');
  reader.at = end;
  return id;
}
