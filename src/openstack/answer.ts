/** Reading a cloud's answer: is it one, what does it say, and which error is it otherwise. */
import type { CloudCall } from './contract.ts';
import {
  CloudError,
  faultMessage,
  isNeutronFault,
  plainSentence,
  retryAfterOf,
  tenantMessageOf,
  withoutAddresses,
} from './error.ts';
import { isSafe } from './wire.ts';
import type { WireAnswer } from './wire.ts';

/** True where the status is what the caller takes for an answer. 300 is how services list their versions. */
export function isAccepted(call: CloudCall, status: number): boolean {
  return status < 301 || status === 304 || call.accept?.includes(status) === true;
}

/** The JSON body of an accepted answer; undefined where it has none. Throws CloudError `protocol` for another kind. */
export function bodyOf(name: string, call: CloudCall, answer: WireAnswer): unknown {
  const { status, headers, text } = answer;
  if (text === '' || call.method === 'HEAD') return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    // Accepted, done, and faults in HTML: the status says all there is to say.
    if (status === 202 || status === 204 || status >= 400) return undefined;
    const type = headers['content-type'] ?? 'no content type';
    throw new CloudError(`${called(name, call)} answered ${status} with ${type} where JSON was expected`, {
      failure: 'protocol',
      stage: 'answer',
      status,
      tenantMessage: plainSentence.protocol,
      uncertain: !isSafe(call.method),
      requestId: headers['x-openstack-request-id'],
      cause: error instanceof SyntaxError ? undefined : error,
    });
  }
}

/** The error that an answer which is not accepted stands for. `hosts` are kept out of what a tenant reads. */
export function errorOf(name: string, call: CloudCall, answer: WireAnswer, hosts: readonly string[]): CloudError {
  const { status, headers, text } = answer;
  const requestId = headers['x-openstack-request-id'];
  if (status < 400) {
    return new CloudError(`${called(name, call)} was redirected (${status}): give the final address in the catalog`, {
      failure: 'protocol',
      stage: 'answer',
      status,
      tenantMessage: plainSentence.protocol,
      requestId,
    });
  }
  const retryAfter_ms = retryAfterOf(headers);
  const down = isDown(status, text);
  return new CloudError(`${called(name, call)} answered ${status}: ${faultMessage(text) ?? 'no reason given'}`, {
    failure: down ? 'down' : status === 401 ? 'unauthorized' : 'refused',
    stage: 'answer',
    status,
    tenantMessage: tenantMessageOf(status, text, hosts),
    // 413 with Retry-After is how rate limits were told before 429.
    transient: down || status === 429 || status === 503 || (status === 413 && retryAfter_ms !== undefined),
    // A gateway in front gave up on a service that may be at work all the same.
    uncertain: (status === 502 || status === 504) && !isSafe(call.method),
    retryAfter_ms,
    requestId,
  });
}

/** The error of a token that Keystone would not issue: the call it was for has not been sent. */
export function authErrorOf(name: string, authUrl: string, answer: WireAnswer, hosts: readonly string[]): CloudError {
  const { status, headers, text } = answer;
  const down = isDown(status, text);
  const denied = status === 401 || status === 403;
  const reason = withoutAddresses(faultMessage(text) ?? 'no reason given', hosts);
  const hint = status === 404 || status < 400 ? '; is auth_url right?' : '';
  return new CloudError(`${name}: ${authUrl} issued no token (${status}: ${reason})${hint}`, {
    failure: down ? 'down' : denied ? 'unauthorized' : status === 429 ? 'refused' : 'protocol',
    stage: 'not-sent',
    status,
    tenantMessage: down ? plainSentence.down : status === 429 ? plainSentence.busy : plainSentence.unauthorized,
    transient: down || status === 429,
    retryAfter_ms: retryAfterOf(headers),
    requestId: headers['x-openstack-request-id'],
  });
}

function isDown(status: number, text: string): boolean {
  return status === 502 || status === 504 || (status === 503 && !isNeutronFault(text));
}

function called(name: string, call: CloudCall): string {
  return `${name}: ${call.method} ${call.service} ${call.path}`;
}

/** An error of a token or a version root, as one of the call that needed it: that call has not been sent. */
export function beforeTheCall(error: CloudError): CloudError {
  return new CloudError(error.message, {
    failure: error.failure,
    stage: error.stage === 'no-answer' ? 'not-sent' : error.stage,
    status: error.status,
    tenantMessage: error.tenantMessage,
    transient: error.transient,
    uncertain: false,
    retryAfter_ms: error.retryAfter_ms,
    requestId: error.requestId,
    cause: error.cause,
  });
}

/** The error of a call that was held back here; `retryAfter_ms` where the wait is known. */
export function notTried(message: string, retryAfter_ms?: number): CloudError {
  const tenantMessage = plainSentence.down;
  return new CloudError(message, { failure: 'down', stage: 'not-tried', tenantMessage, retryAfter_ms });
}

/** The error of an answer whose form is not the one agreed. */
export function unreadable(message: string, status = 0): CloudError {
  return new CloudError(message, {
    failure: 'protocol',
    stage: 'answer',
    status,
    tenantMessage: plainSentence.protocol,
  });
}
