/** The `headwater` command. */
import { Command } from 'commander';
import { check, type CheckOptions } from './check/check.ts';
import { ConfigError } from './config.ts';
import { demo } from './demo.ts';
import { unsortedIn } from './descriptions.ts';
import { writeCoverage } from './docs.ts';
import { type BootstrapOptions, bootstrapParent, rotateKeys } from './identity.ts';
import { register, type RegisterOptions } from './register.ts';
import { serve } from './serve.ts';
import { printedTrace, TRACE_KINDS, type TraceOptions } from './trace/trace.ts';

const program = new Command('headwater')
  .description('One OpenStack API over many OpenStack clouds')
  .showHelpAfterError();

program
  .command('serve')
  .description('serve the parent over the children of a configuration file')
  .option('-c, --config <file>', 'the configuration file', 'headwater.yaml')
  .option('--no-proxies', 'serve the API alone; other processes drive the children')
  .action(async (options: { config: string; proxies: boolean }) => serve(options));

program
  .command('demo')
  .description('serve a parent over two simulated children, to try it out')
  .option('--listen <address>', 'address and port', '127.0.0.1:8080')
  .option('--data-dir <folder>', 'where everything is kept', '.headwater')
  .option('--reset', 'forget everything and start over')
  .action(async (options: { listen: string; dataDir: string; reset?: boolean }) => demo(options));

program
  .command('check')
  .description('walk children and print what holds, what is missing and what tenants lose by it')
  .argument('[child...]', 'names of the children; all where none is named')
  .option('-c, --config <file>', 'the configuration file', 'headwater.yaml')
  .option('--try', 'make a network on a VLAN of each range and take it away again, to see whether the child takes it')
  .option('--json', 'print JSON')
  .action(async (children: string[], options: CheckOptions) => {
    process.exitCode = await check(children, options);
  });

program
  .command('network')
  .description('look into the networks')
  .command('trace')
  .description('print an object of the parent and its copies in the children side by side')
  .argument('<kind>', TRACE_KINDS.join(', '))
  .argument('<id>', 'its id in the parent')
  .option('-c, --config <file>', 'the configuration file', 'headwater.yaml')
  .option('--json', 'print JSON')
  .action(async (kind: string, id: string, options: TraceOptions) => {
    process.exitCode = await printedTrace(kind, id, options);
  });

program
  .command('bootstrap')
  .description('make the database, the administrator and the catalog, as far as they are not there')
  .option('-c, --config <file>', 'the configuration file', 'headwater.yaml')
  .option('--recover', 'give the administrator a new password, and the roles that they had at first')
  .action(async (options: BootstrapOptions) => {
    process.stdout.write(await bootstrapParent(options));
  });

program
  .command('register')
  .description("enter the parent's endpoints in the existing Keystone that the configuration names")
  .option('-c, --config <file>', 'the configuration file', 'headwater.yaml')
  .option('--remove', 'take them out again')
  .action(async (options: RegisterOptions) => {
    process.stdout.write(await register(options));
  });

program
  .command('keys')
  .description('the keys that tokens are signed with')
  .command('rotate')
  .description('sign with a new key; tokens signed with the last ones hold on')
  .option('-c, --config <file>', 'the configuration file', 'headwater.yaml')
  .action(async (options: { config: string }) => {
    process.stdout.write(await rotateKeys(options));
  });

program
  .command('docs')
  .description('write docs/coverage.md from what is served')
  .option(
    '--held-against <description...>',
    'print what of published descriptions (network=openapi.yaml) is neither served nor spoken of',
  )
  .action((options: { heldAgainst?: string[] }) => {
    process.stdout.write(`docs/coverage.md: ${writeCoverage()} operations served\n`);
    for (const text of options.heldAgainst ?? []) {
      const [name = '', file = ''] = text.split('=');
      const left = unsortedIn(name, file);
      process.stdout.write(`${name}: ${left.length} operations neither served nor spoken of\n`);
      for (const operation of left) process.stdout.write(`  ${operation}\n`);
      if (left.length > 0) process.exitCode = 1;
    }
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof ConfigError) {
    process.stderr.write(`headwater: ${error.message}\n`);
    process.exit(1);
  }
  throw error;
}
