/**
 * Microversions: how a client asks for one, and what is answered. A microversion is handled as its minor number,
 * since the major is the same for all of a service's (`2.90` of compute is 90).
 * Follows the API-SIG's microversion specification and Nova's `wsgi.Request.set_api_version_request`.
 */
import { badRequest, Fault } from './fault.ts';

export interface MicroversionRange {
  readonly major: number;
  readonly minimum: number;
  readonly maximum: number;
  /** The service's type in `OpenStack-API-Version: <type> 2.90`. */
  readonly type: string;
  /** A header of its own from before the common one (`X-OpenStack-Nova-API-Version`). */
  readonly legacyHeader?: string;
}

const FORM = /^([1-9]\d*)\.([1-9]\d*|0)$/;

/**
 * Finds the microversion a request asks for.
 * @param headers the request's headers, names in lower case
 * @returns the minor number; the minimum where the client asked for none
 * @throws Fault 400 for a malformed version, 406 for one outside the range
 */
export function negotiate(range: MicroversionRange, headers: Readonly<Record<string, unknown>>): number {
  const asked = askedVersion(range, headers);
  if (asked === undefined) return range.minimum;
  if (asked === 'latest') return range.maximum;
  const match = FORM.exec(asked);
  if (!match) {
    throw badRequest(`API Version String ${asked} is of invalid format. Must be of format MajorNum.MinorNum.`);
  }
  const minor = Number(match[2]);
  if (Number(match[1]) !== range.major || minor < range.minimum || minor > range.maximum) {
    throw new Fault(
      406,
      `Version ${asked} is not supported by the API. Minimum is ${format(range, range.minimum)} and maximum is ${format(range, range.maximum)}.`,
      { key: 'computeFault' },
    );
  }
  return minor;
}

/** The headers that tell a client which microversion it got. */
export function versionHeaders(range: MicroversionRange, minor: number): Record<string, string> {
  const version = format(range, minor);
  const headers: Record<string, string> = { 'openstack-api-version': `${range.type} ${version}` };
  const vary = ['OpenStack-API-Version'];
  if (range.legacyHeader !== undefined) {
    headers[range.legacyHeader.toLowerCase()] = version;
    vary.push(range.legacyHeader);
  }
  headers.vary = vary.join(', ');
  return headers;
}

/** `90` as `2.90`. */
export function format(range: MicroversionRange, minor: number): string {
  return `${range.major}.${minor}`;
}

function askedVersion(range: MicroversionRange, headers: Readonly<Record<string, unknown>>): string | undefined {
  const common = headers['openstack-api-version'];
  if (typeof common === 'string') {
    for (const part of common.split(',')) {
      const words = part.trim().split(/\s+/);
      if (words.length === 2 && words[0]?.toLowerCase() === range.type) return words[1];
    }
  }
  const legacy = range.legacyHeader === undefined ? undefined : headers[range.legacyHeader.toLowerCase()];
  return typeof legacy === 'string' ? legacy.trim() : undefined;
}
