/**
 * Where Nova, Neutron, Cinder, Glance and Keystone differ in convention: one table. Everything else about a request
 * is the same for all of them and stands in the pipeline.
 */
import { badRequest, Fault, forbidden, notFound } from './fault.ts';
import type { Convention, SchemaProblem } from './service.ts';
import { isSecret, repr } from './validation.ts';

const REASONS: Readonly<Record<number, string>> = {
  300: 'Multiple Choices',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  406: 'Not Acceptable',
  409: 'Conflict',
  410: 'Gone',
  412: 'Precondition Failed',
  413: 'Request Entity Too Large',
  415: 'Unsupported Media Type',
  416: 'Requested Range Not Satisfiable',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
};

/** The usual words for a status: `Not Found`. */
export const reason = (status: number): string => REASONS[status] ?? 'Error';

const NOVA_KEYS: Readonly<Record<number, string>> = {
  400: 'badRequest',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'itemNotFound',
  405: 'badMethod',
  409: 'conflictingRequest',
  413: 'overLimit',
  415: 'badMediaType',
  429: 'overLimit',
  501: 'notImplemented',
  503: 'serviceUnavailable',
};

const seconds = (iso: string): string => `${iso.slice(0, 19)}Z`;

/** Nova's and Cinder's: `{"itemNotFound": {"code": 404, "message": "..."}}`. */
function keyedFault(generic: string) {
  return (fault: Fault): unknown => ({
    [fault.key ?? NOVA_KEYS[fault.status] ?? generic]: { code: fault.status, message: fault.message },
  });
}

const jsonschemaInvalid = (problem: SchemaProblem, part: 'query' | 'body' = 'body'): Fault => {
  if (problem.nameReason !== undefined) {
    return badRequest(`An invalid 'name' value was provided. The name must be: ${problem.nameReason}`);
  }
  if (problem.path === '') return badRequest(problem.message);
  const names = problem.path.split('/').slice(1);
  const what = part === 'body' ? `field/attribute ${names.at(-1)}` : `query parameters ${names[0]}`;
  return badRequest(`Invalid input for ${what}. Value: ${shown(problem)}. ${problem.message}`);
};

export const compute: Convention = {
  name: 'compute',
  catalogType: 'compute',
  catalogName: 'nova',
  root: '/v2.1',
  legacyRoot: '/v2',
  catalogPath: '/v2.1',
  microversions: {
    major: 2,
    minimum: 1,
    maximum: 96,
    type: 'compute',
    legacyHeader: 'X-OpenStack-Nova-API-Version',
  },
  requestIdHeader: 'x-compute-request-id',
  fault: keyedFault('computeFault'),
  malformed: 'Malformed request body',
  invalid: jsonschemaInvalid,
  paging: {
    maximum: 1000,
    sort: 'keys',
    links: 'nova',
    unknownFilter: 'ignore',
    fields: false,
    defaultSort: [
      ['created_at', 'desc'],
      ['id', 'desc'],
    ],
  },
  timestamp: seconds,
  aliases: {},
  checksBodyFirst: true,
  wholeRoutes: true,
  unknownPath: () => notFound('The resource could not be found.'),
  refusal: (rule) => forbidden(`Policy doesn't allow ${rule} to be performed.`),
};

const { legacyRoot: _ofCompute, ...keyed } = compute;

export const volume: Convention = {
  ...keyed,
  name: 'volume',
  catalogType: 'volumev3',
  catalogName: 'cinderv3',
  root: '/v3',
  catalogPath: '/v3/%(project_id)s',
  microversions: { major: 3, minimum: 0, maximum: 70, type: 'volume' },
  requestIdHeader: 'x-compute-request-id',
  paging: { ...compute.paging, sort: 'keys-and-list' },
  timestamp: (iso) => iso.slice(0, 26),
};

export const network: Convention = {
  name: 'network',
  catalogType: 'network',
  catalogName: 'neutron',
  root: '/v2.0',
  catalogPath: '',
  fault: (fault) => ({
    NeutronError: { type: fault.type ?? neutronType(fault.status), message: fault.message, detail: fault.detail },
  }),
  malformed: 'Failed to parse request. The request body is not valid JSON.',
  invalid: (problem) => {
    const attribute =
      problem.path.split('/').find((part, at) => at > 1 && !/^\d+$/.test(part)) ?? problem.property ?? '';
    if (problem.keyword === 'additionalProperties') {
      return badRequest(`Unrecognized attribute(s) '${problem.property}'`, 'HTTPBadRequest');
    }
    if (problem.keyword === 'required') {
      return badRequest(
        `Failed to parse request. Required attribute '${problem.property}' not specified`,
        'HTTPBadRequest',
      );
    }
    if (problem.keyword === 'enum' && typeof problem.value !== 'object') {
      const value = String(problem.value).slice(0, 64);
      return badRequest(`Invalid input for ${attribute}. Reason: ${value} is not in valid_values.`, 'HTTPBadRequest');
    }
    return badRequest(`Invalid input for ${attribute}. Reason: ${problem.message}.`, 'HTTPBadRequest');
  },
  paging: {
    maximum: 10_000,
    sort: 'keys',
    links: 'neutron',
    unknownFilter: 'reject',
    fields: true,
    defaultSort: [['id', 'asc']],
  },
  timestamp: seconds,
  aliases: { project_id: 'tenant_id' },
  precondition: (headers, shown) => {
    const wanted = revisionWanted(headers['if-match']);
    const revision = shown('revision_number');
    if (wanted === undefined || typeof revision !== 'number' || wanted === revision) return;
    throw new Fault(412, `Constrained to ${wanted}, but current revision is ${revision}`, {
      type: 'RevisionNumberConstraintFailed',
    });
  },
  unknownPath: () => new Fault(404, 'The resource could not be found.', { type: 'HTTPNotFound' }),
  refusal: (rule) => {
    // A rule of one attribute is asked beside that of the whole.
    const [whole] = rule.split(':');
    const asked = whole === rule ? `rule:${rule}` : `(rule:${whole} and rule:${rule})`;
    return forbidden(`${asked} is disallowed by policy`, 'PolicyNotAuthorized');
  },
  hidesUnreadable: true,
  takesAnyContentType: true,
  convertsValues: true,
  checksBodyFirst: true,
};

export const identity: Convention = {
  name: 'identity',
  catalogType: 'identity',
  catalogName: 'keystone',
  root: '/v3',
  catalogPath: '/v3',
  headers: { vary: 'X-Auth-Token' },
  fault: (fault) => ({ error: { code: fault.status, message: fault.message, title: reason(fault.status) } }),
  malformed:
    'Expecting to find valid JSON in request body. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.',
  invalid: (problem) => {
    if (problem.path === '' && problem.keyword === 'type') return badRequest(identity.malformed);
    // It holds against a schema what stands under the name of the kind.
    const path = problem.path.split('/').slice(2).join('/');
    return badRequest(path === '' ? problem.message : `Invalid input for field '${path}': ${problem.message}`);
  },
  paging: {
    maximum: 10_000,
    sort: 'none',
    links: 'keystone',
    unknownFilter: 'ignore',
    fields: false,
    defaultSort: [['id', 'asc']],
  },
  timestamp: (iso) => iso.slice(0, 26),
  aliases: {},
  unknownPath: () => notFound('The resource could not be found.'),
  refusal: (rule) => forbidden(`You are not authorized to perform the requested action: ${rule}.`),
  takesNoBodyAsEmpty: true,
  answersHead: true,
  tellsUnknownPaths: true,
};

export const image: Convention = {
  name: 'image',
  catalogType: 'image',
  catalogName: 'glance',
  root: '/v2',
  catalogPath: '',
  fault: (fault, wantsJson) => {
    const title = reason(fault.status);
    return wantsJson
      ? { message: `${fault.message}<br /><br />\n\n\n`, code: `${fault.status} ${title}`, title }
      : `<html>\n <head>\n  <title>${fault.status} ${title}</title>\n </head>\n <body>\n  <h1>${fault.status} ${title}</h1>\n  ${escapeHtml(fault.message)}<br /><br />\n\n\n </body>\n</html>`;
  },
  malformed: 'Malformed JSON in request body.',
  invalid: (problem) => badRequest(`Provided object does not match schema 'image': ${problem.message}`),
  paging: {
    maximum: 1000,
    sort: 'keys-and-list',
    links: 'glance',
    unknownFilter: 'ignore',
    fields: false,
    defaultSort: [
      ['created_at', 'desc'],
      ['id', 'desc'],
    ],
  },
  timestamp: seconds,
  aliases: {},
  unknownPath: () => notFound('The resource could not be found.'),
  refusal: () => forbidden('You are not authorized to complete this action.'),
};

export const conventions: Readonly<Record<string, Convention>> = { identity, compute, network, volume, image };

/** The revision in an `If-Match` of Neutron's; of any other form it takes no notice. */
function revisionWanted(header: string | undefined): number | undefined {
  const [, number] = /^"?revision_number=(.*?)"?$/s.exec(header?.trim() ?? '') ?? [];
  if (number === undefined) return undefined;
  if (/^-?\d{1,15}$/.test(number)) return Number(number);
  throw badRequest(
    'Bad if-match request: Revision number etag must be in the format of revision_number=<int>.',
    'BadRequest',
  );
}

function neutronType(status: number): string {
  return `HTTP${reason(status).replaceAll(' ', '')}`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** A refused value as the fault repeats it: never one that may be a secret, never more than a line. */
function shown(problem: SchemaProblem): string {
  if (isSecret(problem.path)) return '***';
  const text = typeof problem.value === 'string' ? problem.value : repr(problem.value);
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}
