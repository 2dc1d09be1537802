/**
 * Renderings that are kept: an object that did not change since it was last shown to somebody who sees the same of it
 * need not be read and rendered again. Every answer still asks the database which rows it is about and what state they
 * are in, so that nothing is ever older than the query; only unchanged rows' texts are taken from memory.
 */
import type { RawBuilder, SqlBool } from 'kysely';
import type { Queryable } from '../db/database.ts';
import type { Convention, RequestContext } from '../http/service.ts';
import { renderer, rulesAsked, type View } from './render.ts';
import type { BaseRow } from './resource.ts';
import type { Live, Page, Store, Version } from './store.ts';

/** One object as it is shown. */
export interface Rendered {
  readonly id: string;
  /** Its JSON without the brace at the end, so that more can be said of it. */
  readonly open: Buffer;
  /** What was read beside it. */
  readonly live: Readonly<Record<string, unknown>>;
}

export interface Renderings {
  /** One page, as `Store.page`. A row that goes in the same moment is left out of `shown`, but not of `ids`. */
  page(
    query: Queryable,
    page: Page,
    context: RequestContext,
    view: View,
    live?: Live,
  ): Promise<{ readonly shown: readonly Rendered[]; readonly ids: readonly string[] } | undefined>;
  /** One object, or undefined. */
  find(
    query: Queryable,
    id: string,
    conditions: readonly RawBuilder<SqlBool>[],
    context: RequestContext,
    live?: Live,
  ): Promise<Rendered | undefined>;
}

interface Kept {
  readonly version: string;
  readonly open: Buffer;
}

const BYTES_MAX = 64 * 1024 * 1024;

/**
 * Keeps the renderings of one resource.
 * @param bytes_max all of them together; those unused for longest go first
 */
export function createRenderings<R extends BaseRow>(
  store: Store<R>,
  convention: Convention,
  bytes_max: number = BYTES_MAX,
): Renderings {
  const { resource } = store;
  // By what is seen and the object's id. The youngest stand last in a Map.
  const kept = new Map<string, Kept>();
  let bytes = 0;

  function keep(key: string, entry: Kept): void {
    drop(key);
    kept.set(key, entry);
    bytes += entry.open.length;
    while (bytes > bytes_max) drop(kept.keys().next().value as string);
  }

  function drop(key: string): void {
    const entry = kept.get(key);
    if (entry === undefined) return;
    bytes -= entry.open.length;
    kept.delete(key);
  }

  /** The texts of these rows as they are now, by id; what was kept is not read again. */
  async function texts(
    query: Queryable,
    versions: readonly Version[],
    conditions: readonly RawBuilder<SqlBool>[],
    context: RequestContext,
    view: View,
  ): Promise<ReadonlyMap<string, Buffer>> {
    const rules = rulesAsked(resource, convention, context, view);
    const seen = `${view} ${context.version} ${[...rules.values()].map(Number).join('')} `;
    const found = new Map<string, Buffer>();
    const missing: string[] = [];
    for (const { id, version } of versions) {
      const entry = kept.get(seen + id);
      if (entry?.version === version) {
        keep(seen + id, entry);
        found.set(id, entry.open);
      } else missing.push(id);
    }
    if (missing.length === 0) return found;
    const render = renderer<R>(resource, convention, narrowed(context, rules), view);
    for (const { row, version } of await store.versioned(query, missing, conditions)) {
      const open = Buffer.from(JSON.stringify(render(row)).slice(0, -1));
      keep(seen + row.id, { version, open });
      found.set(row.id, open);
    }
    return found;
  }

  const rendered = (version: Version, found: ReadonlyMap<string, Buffer>): Rendered[] => {
    const open = found.get(version.id);
    return open === undefined ? [] : [{ id: version.id, open, live: version }];
  };

  return {
    async page(query, page, context, view, live) {
      const versions = await store.versions(query, page, live);
      if (versions === undefined) return undefined;
      const found = await texts(query, versions, page.conditions, context, view);
      return { shown: versions.flatMap((version) => rendered(version, found)), ids: versions.map(({ id }) => id) };
    },
    async find(query, id, conditions, context, live) {
      const version = await store.version(query, id, conditions, live);
      if (version === undefined) return undefined;
      return rendered(version, await texts(query, [version], conditions, context, 'detail'))[0];
    },
  };
}

/** The request, with nothing to be had of it that the key of a kept rendering does not say: anything else throws. */
function narrowed(context: RequestContext, rules: ReadonlyMap<string, boolean>): RequestContext {
  const { version, baseUrl, publicUrl } = context;
  const known: Partial<RequestContext> = {
    version,
    baseUrl,
    publicUrl,
    allowed(rule) {
      const answer = rules.get(rule);
      if (answer === undefined) throw new Error(`a field asks for the rule ${rule}, which its resource does not name`);
      return answer;
    },
  };
  return new Proxy(known as RequestContext, {
    get(target, name) {
      if (!Object.hasOwn(target, name)) throw new Error(`a rendering that is kept may not depend on ${String(name)}`);
      return Reflect.get(target, name) as unknown;
    },
  });
}
