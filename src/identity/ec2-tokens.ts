/** Tokens for who signed a request to an EC2 or S3 service: the service asks, with its own token. */
import { sql } from 'kysely';
import { type Static, Type } from 'typebox';
import { badRequest, unauthorized } from '../http/fault.ts';
import { type Operation, operation, Reply } from '../http/service.ts';
import { tokenBody } from './auth.ts';
import type { Core } from './core.ts';
import { type Ec2Blob, findEc2 } from './credentials.ts';
import { forbiddenUntold } from './delegation.ts';
import { isEc2Signed, isFresh, isS3Signed, type SignedRequest } from './ec2-signature.ts';
import type { Delegation } from './payload.ts';
import { adminOrService } from './rules.ts';

const Text = Type.String({ maxLength: 16_384 });
const Values = Type.Record(Type.String({ maxLength: 1024 }), Type.Unknown(), { maxProperties: 256 });
const Signed = Type.Object({
  access: Type.Optional(Text),
  signature: Type.Optional(Text),
  token: Type.Optional(Text),
  host: Type.Optional(Text),
  verb: Type.Optional(Text),
  path: Type.Optional(Text),
  params: Type.Optional(Values),
  headers: Type.Optional(Values),
  body_hash: Type.Optional(Text),
});
/** Three names for the same, which Keystone takes. */
const Body = Type.Object({
  credentials: Type.Optional(Signed),
  credential: Type.Optional(Signed),
  ec2Credentials: Type.Optional(Signed),
});
type SignedBody = Static<typeof Signed>;

/**
 * A token that a service was given for a signed request of EC2's is for other services: Keystone itself takes it for
 * nothing, since it says what its key may, and not what its user may.
 */
export function refuseEc2Tokens(one: Operation): Operation {
  if (one.policy === 'none') return one;
  return {
    ...one,
    handle: async (call) => {
      if (call.context.identity.byEc2Key !== true) return one.handle(call);
      throw forbiddenUntold('EC2 credential tokens cannot be used for authorization.');
    },
  };
}

export function ec2TokenOperations(core: Core): Operation[] {
  return [
    operation<Static<typeof Body>>({
      method: 'POST',
      path: '/ec2tokens',
      policy: adminOrService('ec2tokens_validate'),
      status: 200,
      summary: 'Issue a token for who signed an EC2 request',
      body: Body,
      handle: async ({ body, query }) => {
        const { text, token } = await issue(core, signedOf(body), (secret, signed) =>
          isEc2Signed(secret, signed as SignedRequest),
        );
        return new Reply(200, await tokenBody(core, token, query), { 'x-subject-token': text });
      },
    }),
    operation<Static<typeof Body>>({
      method: 'POST',
      path: '/s3tokens',
      policy: adminOrService('s3tokens_validate'),
      status: 200,
      summary: 'Describe who signed an S3 request',
      body: Body,
      handle: async ({ body, query }) => {
        const { token } = await issue(core, signedOf(body), (secret, signed) =>
          isS3Signed(secret, signed.token ?? '', signed.signature ?? ''),
        );
        return tokenBody(core, token, query);
      },
    }),
  ];
}

function signedOf(body: Static<typeof Body>): SignedBody {
  const signed = body.credentials ?? body.credential ?? body.ec2Credentials;
  if (signed === undefined) throw badRequest('request must include a request body');
  return signed;
}

/** @throws Fault 401 for what is not signed as it should be, 404 for an access key that there is not */
async function issue(core: Core, signed: SignedBody, isSigned: (secret: string, signed: SignedBody) => boolean) {
  if (signed.access === undefined) throw unauthorized('EC2 Signature not supplied');
  const credential = await findEc2(core, signed.access);
  const { secret } = credential.keys;
  if (secret === undefined || !isSigned(secret, signed) || !isFresh(signed as SignedRequest, core.now())) {
    throw unauthorized();
  }
  const { rows } = await sql<{ generation: number }>`
    select token_generation as generation from identity_users where id = ${credential.user_id}`.execute(core.db.query);
  const delegation = delegationOf(credential.keys);
  return core.tokens.issue({
    user_id: credential.user_id,
    scope: { kind: 'project', id: credential.project_id ?? '' },
    methods: ['ec2credential'],
    generation: rows[0]?.generation ?? 0,
    ...(delegation === undefined ? {} : { delegation }),
  });
}

/** What a key is bound to that was made for less than its user's whole rights. */
function delegationOf({ trust_id, app_cred_id }: Ec2Blob): Delegation | undefined {
  if (typeof trust_id === 'string') return { kind: 'trust', id: trust_id };
  return typeof app_cred_id === 'string' ? { kind: 'application_credential', id: app_cred_id } : undefined;
}
