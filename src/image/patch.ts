/** Glance's json-patch: two dialects of a small part of it, read into changes and applied to a row. */
import { image as convention } from '../http/conventions.ts';
import { badRequest, conflict, Fault, forbidden } from '../http/fault.ts';
import { check } from '../http/validation.ts';
import type { ImageRow } from './resource.ts';
import { imageBody } from './schemas.ts';

export interface Change {
  readonly op: 'add' | 'replace' | 'remove';
  readonly name: string;
  readonly value: unknown;
  /** The older dialect does not let `add` overwrite. */
  readonly strict: boolean;
}

/** Attributes that a client may not give at all, and those it may not change. */
const DISALLOWED = ['direct_url', 'self', 'file', 'schema', 'stores'];
const MADE_HERE = 'created_at updated_at status checksum size virtual_size id os_hash_algo os_hash_value'.split(' ');
const READ_ONLY = new Set([...DISALLOWED, ...MADE_HERE]);
const RESERVED = new Set(['location', 'deleted', 'deleted_at']);
const RESERVED_PREFIX = 'os_glance';
const OPERATIONS = ['add', 'replace', 'remove'] as const;
const DIALECTS: Readonly<Record<string, 'old' | 'new'>> = {
  'application/openstack-images-v2.0-json-patch': 'old',
  'application/openstack-images-v2.1-json-patch': 'new',
};
const CHANGES_MAX = 1000;
const PROPERTIES_MAX = 128;
export const TAGS_MAX = 128;
const NAME_MAX_CHARACTERS = 255;

/** Attributes with a place of their own in the row, by their name in the API. */
const SETTABLE = {
  name: 'name',
  visibility: 'visibility',
  min_disk: 'min_disk',
  min_ram: 'min_ram',
  protected: 'protected',
  tags: 'tags',
  owner: 'project_id',
  os_hidden: 'os_hidden',
  disk_format: 'disk_format',
  container_format: 'container_format',
} as const;
export type Settable = keyof typeof SETTABLE;
const isSettable = (name: string): name is Settable => Object.hasOwn(SETTABLE, name);

/**
 * Reads a patch.
 * @throws Fault 415 for another content type, 400 for what is no patch, 403 for attributes that nobody may change
 */
export function changesOf(contentType: string | undefined, body: unknown): Change[] {
  const dialect = DIALECTS[(contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? ''];
  if (dialect === undefined) {
    const shown = (contentType ?? '').slice(0, 80);
    throw new Fault(415, `The request media type ${shown} is not supported by this server.`, {
      headers: { 'accept-patch': Object.keys(DIALECTS).join(', ') },
    });
  }
  if (body === undefined) throw badRequest('Body expected in request.');
  if (!Array.isArray(body)) throw badRequest('Request body must be a JSON array of operation objects.');
  if (body.length > CHANGES_MAX) throw badRequest('There are too many operations in the request.');
  return body.map((raw: unknown) => {
    if (raw === null || typeof raw !== 'object' || Array.isArray(raw)) {
      throw badRequest('Operations must be JSON objects.');
    }
    const change = raw as Record<string, unknown>;
    const op = dialect === 'new' ? operationOf(change) : oldOperationOf(change);
    const pointer = dialect === 'new' ? change.path : change[op];
    if (pointer === undefined) throw badRequest("Unable to find 'path' in JSON Schema change");
    const name = nameOf(op, String(pointer));
    if (op !== 'remove' && !('value' in change)) {
      throw badRequest(`Operation "${op}" requires a member named "value".`);
    }
    refuseReserved(name);
    if (op !== 'remove' && name !== 'locations') checkAttributes({ [name]: change.value });
    return { op, name, value: change.value, strict: dialect === 'old' };
  });
}

/** @throws Fault 403 for attributes that nobody may give, 400 for values that do not fit, in Glance's order */
export function checkNew(body: Readonly<Record<string, unknown>>): void {
  for (const name of DISALLOWED) if (name in body) throw forbidden(`Attribute '${name}' is read-only.`);
  checkAttributes(body);
  for (const name of Object.keys(body)) if (name !== 'id') refuseReserved(name);
}

/** Applies changes to a copy of what may change. `permit` is asked before each, and throws what speaks against it. */
export function apply(
  row: ImageRow,
  changes: readonly Change[],
  permit: (change: Change) => void,
): Partial<ImageRow> & { readonly extra: Record<string, string> } {
  const patch: Record<string, unknown> = {};
  const extra: Record<string, string> = { ...row.extra };
  for (const change of changes) {
    const { op, name, value } = change;
    if (name === 'locations') throw forbidden("It's not allowed to update locations if locations are invisible.");
    permit(change);
    if (isSettable(name)) {
      if (op === 'remove') throw forbidden(`Property ${name} may not be removed.`);
      if (op === 'add' && change.strict) throw conflict(`Property ${name} already present.`);
      if ((name === 'disk_format' || name === 'container_format') && row.status !== 'queued') {
        throw forbidden(`Attribute ${name} can be only replaced for a queued image.`);
      }
      patch[SETTABLE[name]] = stored(name, value);
    } else {
      const known = Object.hasOwn(extra, name);
      if (op !== 'add' && !known) throw conflict(`Property ${name} does not exist.`);
      if (op === 'add' && known && change.strict) throw conflict(`Property ${name} already present.`);
      // The well-known properties may be null, which says no more than their absence.
      if (op === 'remove' || value === null) delete extra[name];
      else extra[name] = String(value);
    }
  }
  checkCounts(extra, patch.tags);
  return { ...(patch as Partial<ImageRow>), extra };
}

/** The row's attributes and custom properties of a body that `checkNew` passed. */
export function fieldsOf(body: Readonly<Record<string, unknown>>): {
  readonly fields: Partial<ImageRow>;
  readonly extra: Record<string, string>;
} {
  const fields: Record<string, unknown> = {};
  const extra: Record<string, string> = {};
  for (const [name, value] of Object.entries(body)) {
    if (name === 'id') continue;
    if (isSettable(name)) fields[SETTABLE[name]] = stored(name, value);
    // A null property says nothing; the well-known ones may be null.
    else if (value !== null) extra[name] = String(value);
  }
  checkCounts(extra, fields.tags);
  return { fields: fields as Partial<ImageRow>, extra };
}

function stored(name: Settable, value: unknown): unknown {
  if (name === 'min_disk' || name === 'min_ram') {
    if (Number(value) < 0) {
      throw badRequest(`Invalid value '${String(value)}' for parameter '${name}': Cannot be a negative value`);
    }
  }
  if (name === 'tags') return [...new Set(value as string[])];
  return value ?? '';
}

function checkCounts(extra: Readonly<Record<string, string>>, tags: unknown): void {
  const count = Object.keys(extra).length;
  const limit = 'The limit has been exceeded on the number of allowed image';
  if (count > PROPERTIES_MAX) {
    throw new Fault(413, `${limit} properties. Attempted: ${count}, Maximum: ${PROPERTIES_MAX}`);
  }
  if (Array.isArray(tags) && tags.length > TAGS_MAX) {
    throw new Fault(413, `${limit} tags. Attempted: ${tags.length}, Maximum: ${TAGS_MAX}`);
  }
}

/** @throws Fault 400 where attributes do not fit the schema of images */
export function checkAttributes(attributes: Readonly<Record<string, unknown>>): void {
  const problem = check(imageBody, attributes);
  if (problem !== undefined) throw convention.invalid(problem);
  if (Object.keys(attributes).some((name) => name.length > NAME_MAX_CHARACTERS)) {
    throw badRequest('Custom property should not be greater than 255 characters.');
  }
}

function refuseReserved(name: string): void {
  if (READ_ONLY.has(name)) throw forbidden(`Attribute '${name}' is read-only.`);
  if (RESERVED.has(name) || name.startsWith(RESERVED_PREFIX)) {
    throw forbidden(`Attribute '${name}' is reserved.`);
  }
}

function operationOf(change: Readonly<Record<string, unknown>>): Change['op'] {
  const available = OPERATIONS.join(', ');
  if (change.op === undefined) {
    throw badRequest(`Unable to find \`op\` in JSON Schema change. It must be one of the following: ${available}.`);
  }
  const op = OPERATIONS.find((candidate) => candidate === change.op);
  if (op === undefined) {
    throw badRequest(
      `Invalid operation: \`${String(change.op).slice(0, 64)}\`. It must be one of the following: ${available}.`,
    );
  }
  return op;
}

function oldOperationOf(change: Readonly<Record<string, unknown>>): Change['op'] {
  const named = OPERATIONS.filter((op) => op in change);
  const words = 'member named "add", "remove", or "replace".';
  if (named.length > 1) throw badRequest(`Operation objects must contain only one ${words}`);
  if (named[0] === undefined) throw badRequest(`Operation objects must contain exactly one ${words}`);
  return named[0];
}

function nameOf(op: Change['op'], pointer: string): string {
  const refuse = (why: string): never => {
    throw badRequest(`Pointer \`${pointer.slice(0, 255)}\` ${why}`);
  };
  if (!pointer.startsWith('/')) refuse('does not start with "/".');
  if (/\/\s*?\//.test(pointer.slice(1))) refuse('contains adjacent "/".');
  if (pointer.length > 1 && pointer.endsWith('/')) refuse('end with "/".');
  if (/~(?![01])/.test(pointer)) refuse('contains "~" not part of a recognized escape sequence.');
  const path = pointer
    .replace(/^\/+/, '')
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~').trim());
  const name = path[0] ?? '';
  const depth = name === 'locations' && op !== 'replace' ? 2 : 1;
  if (path.length !== depth || name === '') {
    throw badRequest(`Invalid JSON pointer for this resource: '/${path.join('/').slice(0, 255)}'`);
  }
  return name;
}
