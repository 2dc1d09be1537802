/** OAuth 2.0 client credentials: a token for whoever shows an application credential as an OAuth client does. */
import type { Readable } from 'node:stream';
import { Fault } from '../http/fault.ts';
import { type Operation, operation, Reply } from '../http/service.ts';
import type { Core } from './core.ts';
import { proveUser, readRequest } from './login.ts';
import { isEnough } from './receipts.ts';
import { users } from './resources.ts';

const FORM_MAX_BYTES = 16_384;
const UNKNOWN = 'An unknown error occurred and failed to get an OAuth2.0 access token.';

/** A refusal as OAuth words it: `{"error": "invalid_client", "error_description": "..."}`. */
class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly kind: 'invalid_client' | 'invalid_request' | 'unsupported_grant_type' | 'other_error',
    description: string,
  ) {
    super(description);
  }
}

export function oauth2Operations(core: Core): Operation[] {
  return [
    operation({
      method: 'POST',
      path: '/OS-OAUTH2/token',
      policy: 'none',
      stream: true,
      status: 200,
      summary: 'Issue a token for an application credential, as OAuth 2.0 clients ask for it',
      handle: async ({ headers, stream, context }) => {
        try {
          const { id, secret } = clientOf(headers.authorization);
          checkGrant(new URLSearchParams(await textOf(stream)).get('grant_type'));
          return await accessToken(core, id, secret);
        } catch (error) {
          const { status, kind, message } = refusalOf(error);
          const challenge: Record<string, string> =
            status === 401 ? { 'www-authenticate': `Keystone uri="${context.baseUrl}"` } : {};
          return new Reply(status, { error: kind, error_description: message }, challenge);
        }
      },
    }),
  ];
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (!(error instanceof Fault)) throw error;
  if (error.status === 401) return new Refusal(401, 'invalid_client', error.message);
  if (error.status === 400) return new Refusal(400, 'invalid_request', error.message);
  return new Refusal(error.status, 'other_error', UNKNOWN);
}

/** @throws Refusal 401 where no client says who it is */
function clientOf(header: string | undefined): { id: string; secret: string } {
  const [scheme = '', encoded = ''] = (header ?? '').split(' ');
  if (scheme === '') throw new Refusal(401, 'invalid_client', 'OAuth2.0 client authorization is required.');
  if (scheme.toLowerCase() !== 'basic') {
    const named = scheme.slice(0, 64).toLowerCase();
    throw new Refusal(401, 'invalid_client', `OAuth2.0 client authorization type ${named} is not supported.`);
  }
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const [id, secret] = [text.split(':')[0] ?? '', text.slice(text.indexOf(':') + 1)];
  if (id === '' || secret === '' || !text.includes(':')) {
    throw new Refusal(401, 'invalid_client', 'OAuth2.0 client authorization is invalid.');
  }
  return { id, secret };
}

function checkGrant(kind: string | null): void {
  if (kind === null) throw new Refusal(400, 'invalid_request', 'The parameter grant_type is required.');
  if (kind !== 'client_credentials') {
    const words = `The parameter grant_type ${kind.slice(0, 64)} is not supported.`;
    throw new Refusal(400, 'unsupported_grant_type', words);
  }
}

async function accessToken(core: Core, id: string, secret: string): Promise<unknown> {
  const request = {
    identity: { methods: ['application_credential'], application_credential: { id, secret } },
  };
  await readRequest(core, request);
  const login = await proveUser(core, request);
  const user = await users.find(core.db.query, login.user_id);
  if (user === undefined || login.target === undefined || !isEnough(user, login.methods)) {
    throw new Refusal(401, 'invalid_client', 'The request you have made requires authentication.');
  }
  const { text, token } = await core.tokens.issue({ ...login, ...login.target });
  const { expires_at_s, issued_at_s } = token.payload;
  return { access_token: text, token_type: 'Bearer', expires_in: expires_at_s - issued_at_s };
}

/** A small form, whatever it came as. @throws Refusal 400 for one that is too large */
async function textOf(stream: Readable | string | undefined | null): Promise<string> {
  if (stream === undefined || stream === null || typeof stream === 'string') return stream ?? '';
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > FORM_MAX_BYTES) throw new Refusal(413, 'other_error', 'The form is too large.');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
