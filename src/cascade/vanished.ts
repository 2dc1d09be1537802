import type { Logger } from 'pino';

/** Below this many, even all of them may really have been deleted by somebody. */
const FEW = 20;

/**
 * Whether to believe a child that shows most of its objects as gone. A name that leads to another cloud, or a child that
 * was set up anew, looks just like that; and what the parent forgets then, nobody knows any more.
 * @param vanished how many of the parent's objects the child does not show
 * @param known how many the parent has there
 * @returns false where it is not to be believed, which is said in the log for the operator
 */
export function believable(
  vanished: number,
  known: number,
  what: { readonly child: string; readonly kind: string; readonly log: Logger },
): boolean {
  if (vanished <= FEW || vanished * 2 <= known) return true;
  what.log.error(
    { drift: 'vanished', child: what.child, kind: what.kind, vanished, known },
    'most objects of a child are gone there: not believed. Is it the same cloud? Objects deleted in the parent go in any case',
  );
  return false;
}
