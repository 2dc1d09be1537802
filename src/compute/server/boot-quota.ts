/** What quotas say of a single server: how many items of metadata, and which files are put into it. */
import { forbidden } from '../../http/fault.ts';
import type { RequestContext } from '../../http/service.ts';
import type { ServerDependencies } from './dependencies.ts';
import type { InjectedFile } from './resource.ts';

/** Whose quotas a boot is held against. */
export const projectOf = (context: RequestContext): string => context.identity.project?.id ?? '';

/** @throws Fault 403 where there are more items than the project may have on a server */
export async function requireMetadataQuota(
  { quotas, db }: ServerDependencies,
  context: RequestContext,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const items = Object.keys(metadata).length;
  if (items === 0) return;
  const limit = (await quotas.usage(db.query, projectOf(context))).metadata_items?.limit ?? 128;
  if (limit >= 0 && items > limit) throw forbidden(`Maximum number of metadata items exceeds ${limit}`);
}

/** @throws Fault 403 where there are more or longer files than the project may put into a server */
export async function requireFileQuota(
  { quotas, db }: ServerDependencies,
  context: RequestContext,
  files: readonly InjectedFile[],
): Promise<void> {
  if (files.length === 0) return;
  const usage = await quotas.usage(db.query, projectOf(context));
  const exceeds = (resource: string, wanted: number): number | undefined => {
    const limit = usage[resource]?.limit ?? -1;
    return limit >= 0 && wanted > limit ? limit : undefined;
  };
  const longest = (text: (file: InjectedFile) => string | undefined) =>
    Math.max(...files.map((file) => [...(text(file) ?? '')].length));
  if (exceeds('injected_files', files.length) !== undefined) throw forbidden('Personality file limit exceeded');
  const path = exceeds(
    'injected_file_path_bytes',
    longest((file) => file.path),
  );
  if (path !== undefined) throw forbidden(`Personality file path exceeds maximum ${path}`);
  const contents = exceeds(
    'injected_file_content_bytes',
    longest((file) => file.contents),
  );
  if (contents !== undefined) throw forbidden(`Personality file content exceeds maximum ${contents}`);
}
