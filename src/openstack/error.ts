/** What went wrong with a call to a cloud, and what of it a tenant may read. */

/** Why a call got no usable answer. `down`: connection refused, timed out, 502-504, or the breaker is open. */
export type CloudFailure = 'down' | 'refused' | 'unauthorized' | 'protocol';

/**
 * How far a failed call came. `not-tried`: never left this process (breaker open, queue full, service not offered);
 * `not-sent`: no connection, so the cloud saw nothing of it; `time-out` and `no-answer`: sent, and no whole answer
 * came; `answer`: the cloud answered.
 */
export type CloudErrorStage = 'not-tried' | 'not-sent' | 'time-out' | 'no-answer' | 'answer';

export interface CloudErrorDetails {
  readonly failure: CloudFailure;
  readonly stage: CloudErrorStage;
  readonly tenantMessage: string;
  readonly status?: number;
  readonly transient?: boolean;
  readonly uncertain?: boolean;
  readonly retryAfter_ms?: number | undefined;
  readonly requestId?: string | undefined;
  readonly cause?: unknown;
}

/**
 * A call's failure. `message` is for operators (may name the endpoint, never a secret); `tenantMessage` is what a
 * tenant may read: the cloud's own fault text, stripped of addresses, or a plain sentence. Ids in that text are the
 * cloud's own: whoever shows it to a tenant translates or withholds them.
 */
export class CloudError extends Error {
  readonly failure: CloudFailure;
  readonly stage: CloudErrorStage;
  /** HTTP status, 0 where there was none. */
  readonly status: number;
  readonly tenantMessage: string;
  /** True where sending the very same call later may succeed (down, 429, 503; a 409 of a busy resource is not). */
  readonly transient: boolean;
  /** True where the cloud may have carried the call out all the same (it was sent, no answer came). */
  readonly uncertain: boolean;
  readonly retryAfter_ms: number | undefined;
  /** The cloud's own request id, for looking the call up in its logs. */
  readonly requestId: string | undefined;

  constructor(message: string, details: CloudErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'CloudError';
    this.failure = details.failure;
    this.stage = details.stage;
    this.status = details.status ?? 0;
    this.tenantMessage = details.tenantMessage;
    this.transient = details.transient ?? details.failure === 'down';
    this.uncertain = details.uncertain ?? false;
    this.retryAfter_ms = details.retryAfter_ms;
    this.requestId = details.requestId;
  }
}

/** The plain sentences a tenant reads where the cloud gave no words of its own, or none fit to show. */
export const plainSentence = {
  down: 'The availability zone does not answer at the moment.',
  busy: 'The availability zone is too busy at the moment.',
  internal: 'The availability zone could not carry out the request.',
  protocol: 'The availability zone gave an answer that could not be understood.',
  unauthorized: 'The availability zone did not accept the request.',
  notOffered: 'The availability zone does not offer this service.',
} as const;

/** The longest fault text kept, in characters: a fault is a sentence, and this one ends up on an object's row. */
const messageLength_max = 1_000;

/**
 * The sentence in a service's fault body, whichever service's form it is in; undefined where there is none.
 * Takes the raw body text. Knows Nova's and Cinder's `{kind: {message}}`, Neutron's `{NeutronError: {message}}`,
 * Keystone's `{error: {message}}`, Glance's HTML page and `{message}`, Octavia's `{faultstring}`, Placement's
 * `{errors: [{detail}]}` and plain text.
 */
export function faultMessage(text: string): string | undefined {
  const trimmed = text.trim();
  if (trimmed === '') return undefined;
  if (trimmed.startsWith('{')) {
    const parsed = parseJson(trimmed);
    return parsed === undefined ? undefined : clean(messageIn(parsed, 0));
  }
  if (trimmed.startsWith('<')) return clean(htmlText(trimmed));
  // WebOb's plain form is the status line, an empty line, and the sentence.
  const paragraphs = trimmed.split(/\n\s*\n/);
  return clean(paragraphs.length > 1 ? paragraphs.slice(1).join(' ') : trimmed);
}

/** True where the body is Neutron's own fault: its 503 means "pool exhausted", an answer and not an outage. */
export function isNeutronFault(text: string): boolean {
  return /^\s*\{\s*"NeutronError"/.test(text);
}

/**
 * Removes from a fault text what would tell a tenant where the cloud is: URLs, addresses with a port, and the hosts
 * given. An address without a port stays, since it is as a rule the tenant's own ("10.0.0.5 is already allocated").
 */
export function withoutAddresses(text: string, hosts: Iterable<string> = []): string {
  let stripped = text
    .replace(/\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>)\]},]+/gi, withheld)
    .replace(/\[[0-9a-f:.]+\]:\d{1,5}\b/gi, withheld)
    .replace(/\b\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}\b/g, withheld)
    .replace(/\bhost='[^']*',\s*port=\d+/gi, withheld);
  for (const host of hosts) {
    if (host === '') continue;
    const quoted = host.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    stripped = stripped.replace(new RegExp(`(?<![\\w.-])${quoted}(?::\\d{1,5})?(?![\\w-]|\\.\\w)`, 'gi'), withheld);
  }
  return stripped;
}

const withheld = '(address withheld)';

/**
 * What a tenant may read of an answer: the fault text without addresses for a 4xx, a plain sentence for a 5xx (whose
 * text speaks of the cloud's insides) and where there is no text. `hosts` are the cloud's endpoint host names.
 */
export function tenantMessageOf(status: number, text: string, hosts: Iterable<string> = []): string {
  if (status === 401) return plainSentence.unauthorized;
  if (status >= 500 && !(status === 503 && isNeutronFault(text)) && status !== 501) {
    return status === 500 ? plainSentence.internal : plainSentence.down;
  }
  const message = faultMessage(text);
  if (message !== undefined) return withoutAddresses(message, hosts);
  return status === 429 || status === 413 ? plainSentence.busy : plainSentence.internal;
}

/** The Retry-After of an answer in ms (seconds or a date held against the answer's own Date), or undefined. */
export function retryAfterOf(headers: Readonly<Record<string, string>>): number | undefined {
  const value = headers['retry-after'];
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1_000;
  // Both ends of the span come from the cloud's clock: its clock and ours are never compared.
  const span_ms = Date.parse(value) - Date.parse(headers['date'] ?? '');
  return Number.isFinite(span_ms) ? Math.max(0, span_ms) : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function messageIn(value: unknown, depth: number): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null || depth > 3) return undefined;
  const fault = value as Record<string, unknown>;
  for (const key of ['message', 'faultstring', 'detail', 'NeutronError', 'error']) {
    const found = fault[key];
    if (typeof found === 'string' && found.trim() !== '') return found;
    if (typeof found === 'object' && found !== null) {
      const inner = messageIn(found, depth + 1);
      if (inner !== undefined) return inner;
    }
  }
  for (const inner of Object.values(fault)) {
    if (typeof inner !== 'object' || inner === null) continue;
    const found = messageIn(Array.isArray(inner) ? inner[0] : inner, depth + 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

function htmlText(html: string): string {
  return html
    .replace(/<(head|script|style|h1)\b[\s\S]*?<\/\1>/gi, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"')
    .replace(/&#0?39;/g, "'")
    .replace(/&amp;/g, '&');
}

function clean(text: string | undefined): string | undefined {
  const collapsed = text?.replace(/\s+/g, ' ').trim();
  return collapsed === undefined || collapsed === '' ? undefined : collapsed.slice(0, messageLength_max);
}
