/** Keypairs over HTTP. They belong to users: a foreign user's are an admin's affair, from microversion 2.10 on. */
import { type TSchema, Type } from 'typebox';
import { compute } from '../../http/conventions.ts';
import { badRequest } from '../../http/fault.ts';
import { type Call, type Operation, operation, type PolicyRule, Reply } from '../../http/service.ts';
import type { ComputeDependencies } from '../dependencies.ts';
import { ANY_TEXT, firstOf, PAGING_PARAMETERS, queryParameters } from '../links.ts';
import { PRINTABLE_NAME } from '../parameters.ts';
import { generateCertificate } from './certificate.ts';
import { certificateFingerprint, generateSshKey, sshFingerprint } from './key.ts';
import {
  createKeypair,
  deleteKeypair,
  findKeypair,
  type Keypair,
  keypairNotFound,
  type KeypairType,
  listKeypairs,
} from './keypair.ts';

const OWNER = 'rule:admin or user_id:%(user_id)s';
const rule = (name: string): PolicyRule => ({ name: `os_compute_api:os-keypairs:${name}`, check: OWNER });
const policies = { index: rule('index'), show: rule('show'), create: rule('create'), remove: rule('delete') };

const TYPES_SINCE = 2;
const USERS_SINCE = 10;
const PAGES_SINCE = 35;
const IMPORT_ONLY_SINCE = 92;
const PUBLIC_KEY_LENGTH_MAX = 65_535;

interface NewKeypair {
  readonly name: string;
  readonly public_key?: string;
  readonly type?: KeypairType;
  readonly user_id?: string;
}

const bodies = new Map<string, TSchema>();

function createBody(version: number): TSchema {
  const key = [TYPES_SINCE, USERS_SINCE, IMPORT_ONLY_SINCE].map((since) => version >= since).join();
  let schema = bodies.get(key);
  if (schema === undefined) {
    const publicKey = Type.String({ maxLength: PUBLIC_KEY_LENGTH_MAX });
    const keypair = Type.Object(
      {
        name: PRINTABLE_NAME,
        public_key: version >= IMPORT_ONLY_SINCE ? publicKey : Type.Optional(publicKey),
        ...(version >= TYPES_SINCE
          ? { type: Type.Optional(Type.Unsafe({ type: 'string', enum: ['ssh', 'x509'] })) }
          : {}),
        ...(version >= USERS_SINCE ? { user_id: Type.Optional(Type.String({ maxLength: 255 })) } : {}),
      },
      { additionalProperties: false },
    );
    schema = Type.Object({ keypair }, { additionalProperties: false });
    bodies.set(key, schema);
  }
  return schema;
}

const ITEM_QUERY = queryParameters({ user_id: ANY_TEXT });
const LIST_QUERY = queryParameters({ user_id: ANY_TEXT, ...PAGING_PARAMETERS });
const LOOSE_QUERY = queryParameters({});

/** Whose keypairs a call is about, by its query. */
function userOf({ context, query }: Call): string {
  const asked = context.version >= USERS_SINCE ? firstOf(query.user_id) : undefined;
  return asked === undefined || asked === '' ? context.identity.user.id : asked;
}

function userOfBody({ context, body }: Call): string {
  const { keypair } = (body ?? {}) as { keypair?: { user_id?: unknown } | null };
  const asked = context.version >= USERS_SINCE ? keypair?.user_id : undefined;
  return typeof asked === 'string' && asked !== '' ? asked : context.identity.user.id;
}

const targetOfQuery = async (call: Call) => ({ user_id: userOf(call) });
const targetOfBody = async (call: Call) => ({ user_id: userOfBody(call) });

function summary(row: Keypair, version: number) {
  const { name, public_key, fingerprint, type } = row;
  return { name, public_key, fingerprint, ...(version >= TYPES_SINCE ? { type } : {}) };
}

const micros = (iso: string): string => iso.slice(0, 26).replace(/Z$/, '');

/** Everything below `/os-keypairs`. */
export function keypairOperations({ db, cascade }: ComputeDependencies): Operation[] {
  return [
    operation({
      method: 'GET',
      path: '/os-keypairs',
      policy: policies.index,
      target: targetOfQuery,
      query: (version) =>
        (version >= PAGES_SINCE ? LIST_QUERY : version >= USERS_SINCE ? ITEM_QUERY : LOOSE_QUERY)(version),
      status: 200,
      summary: "List a user's keypairs",
      handle: async (call) => {
        const { context, query } = call;
        const pages = context.version >= PAGES_SINCE;
        const { maximum } = compute.paging;
        const limit = pages ? Math.min(Number(firstOf(query.limit) ?? maximum), maximum) : maximum;
        const marker = pages ? firstOf(query.marker) || undefined : undefined;
        const rows = await listKeypairs(db.query, userOf(call), limit, marker);
        const keypairs = rows.map((row) => ({ keypair: summary(row, context.version) }));
        if (!pages || rows.length === 0 || rows.length < limit) return { keypairs };
        const next = new URLSearchParams();
        for (const name of ['limit', 'user_id']) {
          const value = firstOf(query[name]);
          if (value !== undefined) next.set(name, value);
        }
        next.set('marker', rows.at(-1)?.name ?? '');
        const href = `${context.baseUrl}/os-keypairs?${next.toString()}`;
        return { keypairs, keypairs_links: [{ rel: 'next', href }] };
      },
    }),
    operation({
      method: 'GET',
      path: '/os-keypairs/:keypair_name',
      policy: policies.show,
      target: targetOfQuery,
      query: (version) => (version >= USERS_SINCE ? ITEM_QUERY : LOOSE_QUERY)(version),
      status: 200,
      summary: 'Show a keypair',
      handle: async (call) => {
        const name = call.params.keypair_name as string;
        const row = await findKeypair(db.query, userOf(call), name);
        if (row === undefined) throw keypairNotFound(userOf(call), name);
        return {
          keypair: {
            ...summary(row, call.context.version),
            user_id: row.user_id,
            id: row.number,
            created_at: micros(row.created_at),
            updated_at: null,
            deleted: false,
            deleted_at: null,
          },
        };
      },
    }),
    operation<{ keypair: NewKeypair }>({
      method: 'POST',
      path: '/os-keypairs',
      policy: policies.create,
      target: targetOfBody,
      body: createBody,
      status: 201,
      summary: 'Import or create a keypair',
      handle: async (call) => {
        const { version, identity } = call.context;
        const { name, public_key, type = 'ssh' } = call.body.keypair;
        checkName(name, version);
        const generated = public_key === undefined ? await generateKey(type, userOfBody(call)) : undefined;
        const key = generated?.public_key ?? (public_key as string);
        const fingerprint = type === 'ssh' ? sshFingerprint(key) : certificateFingerprint(key);
        const row = await db.transaction((tx) =>
          createKeypair(tx, {
            project_id: identity.project?.id ?? '',
            user_id: userOfBody(call),
            name: name.trim(),
            public_key: key,
            fingerprint,
            type,
          }),
        );
        const private_key = generated === undefined ? {} : { private_key: generated.private_key };
        const keypair = { ...summary(row, version), user_id: row.user_id, ...private_key };
        return new Reply(version >= TYPES_SINCE ? 201 : 200, { keypair });
      },
    }),
    operation({
      method: 'DELETE',
      path: '/os-keypairs/:keypair_name',
      policy: policies.remove,
      target: targetOfQuery,
      query: (version) => (version >= USERS_SINCE ? ITEM_QUERY : LOOSE_QUERY)(version),
      status: 204,
      summary: 'Delete a keypair',
      handle: async (call) => {
        const { requestId, version } = call.context;
        const name = call.params.keypair_name as string;
        await db.transaction((tx) => deleteKeypair(tx, cascade, userOf(call), name, requestId));
        cascade.poke();
        return new Reply(version >= TYPES_SINCE ? 204 : 202);
      },
    }),
  ];
}

const LETTERS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

function checkName(name: string, version: number): void {
  const special = version >= IMPORT_ONLY_SINCE ? '@._- ' : '_- ';
  if ([...name].every((character) => special.includes(character) || LETTERS.includes(character))) return;
  throw badRequest(
    `An invalid 'name' value was provided. The name must be: Only expected characters: [${special}${LETTERS}]`,
  );
}

const generateKey = (type: KeypairType, userId: string) =>
  type === 'ssh' ? generateSshKey() : generateCertificate(userId);
