/** The real `openstack` client; see openstack-shell.py for how its start-up is paid but once. */
import { join } from 'node:path';
import { type JsonProcess, startJsonProcess } from './json-process.ts';
import { stage } from './stage.ts';

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command of the client ended with another status than 0. */
export class ClientFailure extends Error {
  readonly status: number;
  readonly stderr: string;
  constructor(args: readonly string[], outcome: Outcome) {
    super(`openstack ${args.join(' ')}: exit status ${outcome.status}\n${outcome.stderr || outcome.stdout}`);
    this.name = 'ClientFailure';
    this.status = outcome.status;
    this.stderr = outcome.stderr;
  }
}

let shell: JsonProcess | undefined;

function running(): JsonProcess {
  if (shell === undefined || shell.closed) {
    shell = startJsonProcess('/usr/bin/python3', [join(import.meta.dirname, 'openstack-shell.py')], {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: stage.folder,
      LANG: 'C.UTF-8',
      OS_CLIENT_CONFIG_FILE: stage.cloudsFile,
    });
  }
  return shell;
}

const run = async (cloud: string, args: readonly string[]): Promise<Outcome> =>
  running().ask<Outcome>({ args: ['--os-cloud', cloud, ...args] });

export interface Client {
  /** Runs a command and gives what it printed, without white space around; throws ClientFailure. */
  (...args: string[]): Promise<string>;
  /** The same with `-f json`, parsed. */
  json<T = Record<string, unknown>>(...args: string[]): Promise<T>;
  /** One column of what the command shows. */
  value(column: string, ...args: string[]): Promise<string>;
  /** Runs a command that must fail, and gives its words. */
  refused(...args: string[]): Promise<string>;
}

/** The client as an entry of the clouds.yaml. */
export function clientOf(cloud: string): Client {
  const text = async (...args: string[]): Promise<string> => {
    const outcome = await run(cloud, args);
    if (outcome.status !== 0) throw new ClientFailure(args, outcome);
    return outcome.stdout.trim();
  };
  return Object.assign(text, {
    json: async <T>(...args: string[]): Promise<T> => JSON.parse(await text(...args, '-f', 'json')) as T,
    value: async (column: string, ...args: string[]): Promise<string> => text(...args, '-f', 'value', '-c', column),
    refused: async (...args: string[]): Promise<string> => {
      const outcome = await run(cloud, args);
      if (outcome.status === 0) throw new Error(`openstack ${args.join(' ')}: was not refused:\n${outcome.stdout}`);
      return outcome.stderr.trim();
    },
  });
}

/** Ends the client's process; the next command starts another. */
export function endClient(): void {
  void shell?.end();
  shell = undefined;
}

export const admin = clientOf('admin');
export const tenant = clientOf('tenant');
