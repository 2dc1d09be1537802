/** Tags of every kind of network object, below the object's own path: `/networks/:network_id/tags/:tag`. */
import { type RawBuilder, sql, type SqlBool } from 'kysely';
import type { Db, Queryable } from '../db/database.ts';
import { network as convention } from '../http/conventions.ts';
import { badRequest, Fault, notFound } from '../http/fault.ts';
import { type Call, type Operation, operation, type PolicyRule, type RequestContext } from '../http/service.ts';
import { shownValue } from '../resource/render.ts';
import type { BaseRow, Resource } from '../resource/resource.ts';
import { all } from '../resource/store.ts';
import { touch } from './standard-attributes.ts';

/** A kind of object that can be tagged. */
export interface TaggedKind {
  /** Its description. The table has the columns of `standardAttributes`. */
  readonly resource: Resource;
  readonly visible: (context: RequestContext) => readonly RawBuilder<SqlBool>[];
}

const TAG_MAX_LENGTH = 255;
const TAGS_MAX = 512;

const tooMany = (): Fault => invalid(`There may be at most ${TAGS_MAX} tags`);
const invalid = (reason: string): Fault => badRequest(`Invalid input for operation: ${reason}.`, 'InvalidInput');
const noTag = (tag: string): Fault => notFound(`Tag ${tag} could not be found.`, 'TagNotFound');

/** The six operations for each kind. */
export function tagOperations(db: Db, kinds: readonly TaggedKind[]): Operation[] {
  return kinds.flatMap((kind) => operationsOf(db, kind));
}

function operationsOf(db: Db, kind: TaggedKind): Operation[] {
  const { name } = kind.resource;
  const collection = collectionOf(kind);
  const path = `/${collection}/:${name}_id/tags`;
  const reading = rule('get', collection, 'reader');
  const writing = rule('update', collection, 'member');
  const removing = rule('delete', collection, 'member');
  const tagOf = (call: Call): string => checkTag(call.params.tag);
  const change = (call: Call, next: (tags: readonly string[]) => readonly string[], policy: PolicyRule) =>
    db.transaction(async (tx) => {
      const row = await find(tx, kind, call, sql`for update`);
      const { id, project_id, tags } = row;
      // What is seen (shared, external) is not what may be changed.
      if (!call.context.allowed(policy.name, { project_id })) throw convention.refusal(policy.name);
      convention.precondition?.(call.headers, (name) => shownValue(kind.resource, name, row, call.context));
      const changed = next(tags);
      if (changed.length > TAGS_MAX) throw tooMany();
      // Tags are the parent's own: no child has them, so the revision that replicas are held against stays.
      await sql`update ${sql.table(kind.resource.table)} set tags = ${[...changed]}::text[] where id = ${id}`.execute(
        tx,
      );
      if (changed !== tags) await touch(tx, kind.resource.table, [id]);
      return changed;
    });
  return [
    operation({
      method: 'GET',
      path,
      policy: reading,
      status: 200,
      summary: `List the tags of a ${name}`,
      handle: async (call) => ({ tags: (await find(db.query, kind, call)).tags }),
    }),
    operation({
      method: 'GET',
      path: `${path}/:tag`,
      policy: reading,
      status: 204,
      summary: `Tell whether a ${name} has a tag`,
      handle: async (call) => {
        const tag = tagOf(call);
        if (!(await find(db.query, kind, call)).tags.includes(tag)) throw noTag(tag);
      },
    }),
    operation<unknown>({
      method: 'PUT',
      path,
      policy: writing,
      status: 200,
      summary: `Replace the tags of a ${name}`,
      handle: async (call) => {
        const wanted = tagsGiven(call.body);
        return { tags: await change(call, () => wanted, writing) };
      },
    }),
    operation({
      method: 'PUT',
      path: `${path}/:tag`,
      policy: writing,
      status: 201,
      summary: `Add a tag to a ${name}`,
      handle: async (call) => {
        const tag = tagOf(call);
        await change(call, (tags) => (tags.includes(tag) ? tags : [...tags, tag]), writing);
        return null;
      },
    }),
    operation({
      method: 'DELETE',
      path,
      policy: removing,
      status: 204,
      summary: `Remove all tags of a ${name}`,
      handle: async (call) => {
        await change(call, () => [], removing);
      },
    }),
    operation({
      method: 'DELETE',
      path: `${path}/:tag`,
      policy: removing,
      status: 204,
      summary: `Remove a tag of a ${name}`,
      handle: async (call) => {
        const tag = tagOf(call);
        const without = (tags: readonly string[]) => {
          if (!tags.includes(tag)) throw noTag(tag);
          return tags.filter((other) => other !== tag);
        };
        await change(call, without, removing);
      },
    }),
  ];
}

/** As it stands in the path: `security-groups`. */
const collectionOf = ({ resource }: TaggedKind): string => resource.collection.replaceAll('_', '-');

function rule(verb: string, collection: string, role: 'reader' | 'member'): PolicyRule {
  return {
    name: `${verb}_${collection.replaceAll('-', '_')}_tags`,
    check: `rule:project_${role}_or_admin`,
    description: `Tags of ${collection}: ${verb}`,
  };
}

async function find(query: Queryable, kind: TaggedKind, call: Call, tail = sql``) {
  const id = call.params[`${kind.resource.name}_id`] ?? '';
  const conditions = [sql<SqlBool>`id = ${id}`, ...kind.visible(call.context)];
  const found = await sql<BaseRow & { tags: string[]; touched: number }>`
    select id, project_id, created_at, updated_at, tags, revision, touched from ${sql.table(kind.resource.table)} where ${all(conditions)} ${tail}`.execute(
    query,
  );
  const row = found.rows[0];
  if (row !== undefined) return row;
  throw notFound(`Resource ${collectionOf(kind)} ${id} could not be found.`, 'TagResourceNotFound');
}

function tagsGiven(body: unknown): readonly string[] {
  if (body === null || typeof body !== 'object' || !('tags' in body)) throw invalid('Invalid tags body');
  const { tags } = body;
  if (!Array.isArray(tags)) throw invalid(`'${String(tags).slice(0, 64)}' is not a list`);
  // Before they are held against each other, which takes the square of their number.
  if (tags.length > TAGS_MAX) throw tooMany();
  const checked = tags.map(checkTag);
  const twice = checked.find((tag, at) => checked.indexOf(tag) !== at);
  if (twice !== undefined) throw invalid(`Duplicate items in the list: '${twice}'`);
  return checked;
}

function checkTag(tag: unknown): string {
  if (typeof tag !== 'string') throw invalid(`'${String(tag).slice(0, 64)}' is not a valid string`);
  if (tag.length <= TAG_MAX_LENGTH) return tag;
  throw invalid(`'${tag.slice(0, 64)}...' exceeds maximum length of ${TAG_MAX_LENGTH}`);
}
