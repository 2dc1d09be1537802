/** `headwater serve`: a parent over the children of a configuration file, until it is told to stop. */
import { pino } from 'pino';
import { ConfigError, readConfig } from './config.ts';
import { type Parent, startParent } from './parent.ts';

/**
 * Serves until SIGINT or SIGTERM.
 * @param options.config path of the configuration file
 * @throws ConfigError for what the operator can mend
 */
export async function serve(options: { readonly config: string; readonly proxies: boolean }): Promise<void> {
  const config = readConfig(options.config);
  const log = pino({ level: config.log_level, redact: { paths: ['*.password', '*.token'], remove: true } });
  const parent = await startParent(config, {
    log,
    proxies: options.proxies,
    adminPassword: adminPassword(config.admin_password_env),
    generated: (password) =>
      process.stderr.write(`headwater: the password of user admin, shown this once: ${password}\n`),
  });
  log.info({ url: parent.url, children: config.children.map((child) => child.name) }, 'headwater serves');
  await untilStopped(parent);
}

/** The password that the environment gives; throws ConfigError where it does not although it should. */
export function adminPassword(variable: string | undefined): string | undefined {
  if (variable === undefined) return undefined;
  const password = process.env[variable];
  if (password === undefined || password === '') {
    throw new ConfigError(`\`admin_password_env\` names ${variable}, which is not set; export it or take the key out`);
  }
  return password;
}

/** Waits for a signal, then stops the parent; a second signal ends the process at once. */
export async function untilStopped(parent: Pick<Parent, 'stop'>): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(130));
        resolve();
      });
    }
  });
  await parent.stop();
}
