import { types, type ClientConfig, type CustomTypesConfig } from 'pg';

const { builtins } = types;

/** How long one statement may run before the server ends it. */
const STATEMENT_TIMEOUT_MS = 30_000;

/** What is needed to reach a database. */
export interface ConnectionOptions {
  /** A `postgresql://` URL; for a Unix socket `postgresql://user@localhost/name?host=/folder`. */
  url: string;
  application_name?: string;
}

/** `2026-01-02 03:04:05.1+00` as `2026-01-02T03:04:05.100000Z`: microseconds are kept, as a JavaScript Date would not. */
function parseTimestamp(text: string): string {
  const match = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(?:\+00)?$/.exec(text);
  if (match === null) {
    return text;
  }
  return `${match[1]}T${match[2]}.${(match[3] ?? '').padEnd(6, '0')}Z`;
}

function parseInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(`the integer ${text} from the database is too large to be kept exactly`);
  }
  return value;
}

const asText = (text: string): string => text;

const parseTextArray = types.getTypeParser(1009 as typeof builtins.TEXT) as (text: string) => unknown;

function arrayOf(parse: (text: string) => unknown): (text: string) => unknown {
  const each = (item: unknown): unknown => {
    if (Array.isArray(item)) {
      return item.map(each);
    }
    return typeof item === 'string' ? parse(item) : item;
  };
  return (text) => each(parseTextArray(text));
}

const PARSERS = new Map<number, (text: string) => unknown>([
  [builtins.TIMESTAMPTZ, parseTimestamp],
  [builtins.TIMESTAMP, parseTimestamp],
  [builtins.DATE, asText],
  [builtins.INT8, parseInteger],
  [builtins.NUMERIC, Number],
  [builtins.INET, asText],
  [builtins.CIDR, asText],
  [builtins.MACADDR, asText],
  [builtins.INTERVAL, asText],
  [1185, arrayOf(parseTimestamp)],
  [1115, arrayOf(parseTimestamp)],
  [1182, arrayOf(asText)],
  [1016, arrayOf(parseInteger)],
  [1231, arrayOf(Number)],
  [1041, arrayOf(asText)],
  [651, arrayOf(asText)],
  [1040, arrayOf(asText)],
]);

function getTypeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  return (format !== 'binary' && PARSERS.get(oid)) || (types.getTypeParser(oid, format as 'text') as typeof asText);
}

/** The settings of every session; an operator's own `options` in the URL come after ours would, so they are joined. */
function sessionOptions(url: string): string {
  const own = URL.canParse(url) ? new URL(url).searchParams.get('options') : null;
  return ['-c timezone=UTC', '-c datestyle=ISO', ...(own === null ? [] : [own])].join(' ');
}

function withoutOptions(url: string): string {
  if (!URL.canParse(url)) {
    return url;
  }
  const parsed = new URL(url);
  if (!parsed.searchParams.has('options')) {
    return url;
  }
  parsed.searchParams.delete('options');
  return parsed.href;
}

/**
 * The configuration of one connection: UTC, ISO dates, our reading of types, and time limits on statements (30 s), on
 * waiting for a lock (10 s) and on transactions left open (60 s), so that no fault of ours can hold rows for ever.
 */
export function clientConfig(options: ConnectionOptions): ClientConfig {
  return {
    connectionString: withoutOptions(options.url),
    application_name: options.application_name ?? 'headwater',
    options: sessionOptions(options.url),
    types: { getTypeParser: getTypeParser as unknown as CustomTypesConfig['getTypeParser'] },
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: 10_000,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: 10_000,
    idle_in_transaction_session_timeout: 60_000,
    // The server cannot end a statement for us when the network between has gone: then this does.
    query_timeout: STATEMENT_TIMEOUT_MS + 5_000,
  };
}

/** The SQLSTATE of an error of the server, or the code of a network error. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** The message of an error, for a log: aggregate errors (as of several addresses refused) have an empty one. */
export function errorText(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(errorText).join('; ');
  }
  return error instanceof Error ? error.message : String(error);
}
