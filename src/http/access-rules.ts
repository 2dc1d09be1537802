/** Access rules: which requests a token may make that an application credential got with such rules. */
import type { AccessRule } from './identity.ts';
import type { Convention, Method } from './service.ts';

/** Services that have a second name in the list of official types. */
const OFFICIAL_TYPES: Readonly<Record<string, string>> = { volumev3: 'block-storage' };

/**
 * Whether one of the rules names the request. Asking what a token means is allowed always, as keystonemiddleware does.
 * @param path with the mount, without a query. A rule's may begin with the mount or with the API's version
 *   (`/compute/v2.1/servers`, `/v2.1/servers`): clouds mount their services differently
 */
export function admits(rules: readonly AccessRule[], convention: Convention, method: string, path: string): boolean {
  const inner = path.slice(convention.name.length + 1);
  if (convention.name === 'identity' && method === 'GET' && inner === `${convention.root}/auth/tokens`) return true;
  const types = new Set([convention.catalogType, OFFICIAL_TYPES[convention.catalogType]]);
  return rules.some(
    (rule) =>
      rule.method === (method as Method) &&
      types.has(rule.service) &&
      (matches(rule.path, inner) || matches(rule.path, path)),
  );
}

/** One character, one part of a path (`*`, `{name}`), or anything (`**`). */
type Piece = { readonly text: string } | { readonly wild: 'part' | 'all' };

const PIECE = /\{[^}]*\}|\*\*|\*|[^]/g;

/** Whether a path is one of those that a pattern means. Takes time in proportion to both lengths, whatever they say. */
export function matches(pattern: string, path: string): boolean {
  const pieces = [...pattern.matchAll(PIECE)].map(([text]): Piece => {
    if (text === '**') return { wild: 'all' };
    return text === '*' || text.length > 1 ? { wild: 'part' } : { text };
  });
  // The places in the pattern that the path read so far may have led to.
  let at = passing(pieces, new Set([0]));
  for (const character of path) {
    const next = new Set<number>();
    for (const place of at) {
      const piece = pieces[place];
      if (piece === undefined) continue;
      if ('text' in piece) {
        if (piece.text === character) next.add(place + 1);
      } else if (piece.wild === 'all') {
        next.add(place);
      } else if (character !== '/') {
        next.add(place).add(place + 1);
      }
    }
    at = passing(pieces, next);
    if (at.size === 0) return false;
  }
  return at.has(pieces.length);
}

/** What is for anything may also be for nothing. */
function passing(pieces: readonly Piece[], places: Set<number>): Set<number> {
  for (const place of places) {
    const piece = pieces[place];
    if (piece !== undefined && 'wild' in piece && piece.wild === 'all') places.add(place + 1);
  }
  return places;
}
