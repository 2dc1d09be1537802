/** A helper program that reads requests and writes answers as lines of JSON, told apart by their `id`. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface JsonProcess {
  /** Sends a request and gives its answer; several may be under way. Throws where the process ends without one. */
  ask<Answer>(request: Readonly<Record<string, unknown>>): Promise<Answer>;
  /** Gives the line that the program writes with id 0, unasked, when it is ready. */
  ready<Answer>(): Promise<Answer>;
  /** Lets the program end by closing its input, and waits until it has. */
  end(): Promise<void>;
  readonly closed: boolean;
}

interface Waiting {
  resolve(answer: never): void;
  reject(error: Error): void;
}

/** Starts the program; errors show at the first `ask` or `ready`. */
export function startJsonProcess(command: string, args: readonly string[], env: NodeJS.ProcessEnv): JsonProcess {
  const started = spawn(command, args, { env });
  const waiting = new Map<number, Waiting>();
  let last = 0;
  let closed: Error | undefined;
  let messages = '';
  const wait = <Answer>(id: number) =>
    new Promise<Answer>((resolve, reject) => {
      if (closed === undefined) waiting.set(id, { resolve, reject });
      else reject(closed);
    });
  const readiness = wait<unknown>(0);
  readiness.catch(() => undefined); // told to whoever asks for it
  createInterface({ input: started.stdout }).on('line', (line) => {
    const answer = JSON.parse(line) as { readonly id: number };
    waiting.get(answer.id)?.resolve(answer as never);
    waiting.delete(answer.id);
  });
  started.stderr.setEncoding('utf8').on('data', (text: string) => (messages += text));
  started.stdin.on('error', () => undefined); // it has ended, which `close` tells
  const ended = new Promise<void>((resolve) => {
    const close = (why: string) => {
      closed ??= new Error(`${command} ${args.join(' ')}: ${why}: ${messages}`);
      for (const one of waiting.values()) one.reject(closed);
      waiting.clear();
      resolve();
    };
    started.once('error', (error) => close(error.message));
    started.once('close', (status) => close(`ended (${status})`));
  });
  return {
    async ask<Answer>(request: Readonly<Record<string, unknown>>) {
      const id = ++last;
      const answer = wait<Answer>(id);
      started.stdin.write(`${JSON.stringify({ ...request, id })}\n`);
      return answer;
    },
    ready: async <Answer>() => readiness as Promise<Answer>,
    async end() {
      started.stdin.end();
      await ended;
    },
    get closed() {
      return closed !== undefined;
    },
  };
}
