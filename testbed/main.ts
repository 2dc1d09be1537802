/**
 * `npm run testbed -- COMMAND`: checks that this machine can carry the testbed, then hands over to testbed.py
 * (Debian's own Python, since the clouds' packages are its modules).
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PYTHON = '/usr/bin/python3';
const HERE = dirname(fileURLToPath(import.meta.url));

/** Why this machine cannot run the command, in one line, or undefined when it can. */
function obstacle(command: string | undefined): string | undefined {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (!/^VERSION_CODENAME="?bookworm"?$/m.test(release)) {
    return 'this machine is not Debian 12 (bookworm), whose OpenStack packages the clouds are made of';
  }
  if (process.getuid?.() !== 0) return 'root is needed: packages are installed and services run as root';
  if (command !== 'install' && !existsSync(PYTHON)) return `${PYTHON} is missing: run the install command first`;
  return undefined;
}

const args = process.argv.slice(2);
const problem = obstacle(args[0]);
if (problem === undefined) {
  // install runs without Python: on a small image Python is among the things it installs
  const [program, programArgs] =
    args[0] === 'install' && args.length === 1
      ? [join(HERE, 'install.sh'), []]
      : [PYTHON, [join(HERE, 'testbed.py'), ...args]];
  const child = spawn(program, programArgs, { stdio: 'inherit' });
  // The terminal's Ctrl-C reaches the child by itself; we only wait for it to end.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('error', (error) => {
    console.error(`testbed: cannot run ${program}: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('exit', (code) => {
    process.exitCode = code ?? 1;
  });
} else {
  console.error(`testbed: ${problem}`);
  process.exitCode = 1;
}
