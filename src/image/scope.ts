/** Whose token acts on an image's copy in a child. */
import type { ChildContext } from '../cascade/contract.ts';
import type { CloudScope } from '../openstack/contract.ts';

/** True for images that everybody may use: in a child they belong to the account's own project. */
export const isForAll = (visibility: string): boolean => visibility === 'public' || visibility === 'community';

/** The project that owns the copy: the account's own, or the owner's there (made at first need). */
export async function scopeOf(context: ChildContext, visibility: string, owner: string): Promise<CloudScope> {
  return isForAll(visibility) || owner === '' ? {} : context.scope(owner);
}

/**
 * The project that a copy was made in, by what its replica remembers.
 * Without making one: a parent project that is gone is not brought back to take its image away.
 */
export async function scopeOfCopy(
  context: ChildContext,
  detail: Readonly<Record<string, unknown>>,
): Promise<CloudScope> {
  const project = typeof detail.project === 'string' ? detail.project : '';
  if (project === '') return {};
  const projectId = await context.childId('project', project);
  if (projectId !== undefined) return { projectId };
  return context.scope(project).catch(() => ({}));
}
