/** Several new ports of one boot in one call to the child. */
import type { ChildContext } from '../cascade/contract.ts';
import type { CloudScope } from '../openstack/contract.ts';

interface NewPort {
  /** The child's attributes; `name` is the mark. */
  readonly port: Readonly<Record<string, unknown>> & { readonly name: string };
  readonly scope: CloudScope;
  /** Ports with the same value go together, where more than one is expected. */
  readonly together: string;
}

interface Waiting extends NewPort {
  readonly resolve: (childId: string) => void;
  readonly reject: (error: unknown) => void;
}

export interface PortBatches {
  /**
   * Creates a port in the child, in one call with its fellows where several are expected.
   * @returns the child's id
   * @throws CloudError as the child gave it for this port
   */
  create(context: ChildContext, wanted: NewPort): Promise<string>;
  /** Says how many ports are about to be created together; the function it gives ends that. */
  expect(child: string, together: string, count: number): () => void;
}

/** The longest that a port waits for its fellows. */
const WAIT_MS = 30;

/** Batches of one process. */
export function createPortBatches(): PortBatches {
  const expected = new Map<string, number>();
  const waiting = new Map<string, { readonly ports: Waiting[]; readonly timer: NodeJS.Timeout }>();

  function flush(key: string, context: ChildContext): void {
    const batch = waiting.get(key);
    if (batch === undefined) return;
    waiting.delete(key);
    clearTimeout(batch.timer);
    void send(context, batch.ports);
  }

  return {
    expect(child, together, count) {
      const key = `${child}/${together}`;
      if (count > 1) expected.set(key, count);
      return () => void expected.delete(key);
    },
    create(context, wanted) {
      const key = `${context.child}/${wanted.together}`;
      const count = wanted.together === '' ? undefined : expected.get(key);
      if (count === undefined) return createOne(context, wanted);
      return new Promise((resolve, reject) => {
        const batch = waiting.get(key) ?? {
          ports: [],
          timer: setTimeout(() => flush(key, context), WAIT_MS),
        };
        waiting.set(key, batch);
        batch.ports.push({ ...wanted, resolve, reject });
        if (batch.ports.length >= count) flush(key, context);
      });
    },
  };
}

async function createOne(context: ChildContext, { port, scope }: NewPort): Promise<string> {
  const { body } = await context.api.call<{ port: { id: string } }>({
    service: 'network',
    method: 'POST',
    path: '/ports',
    body: { port },
    scope,
  });
  return body.port.id;
}

async function send(context: ChildContext, ports: readonly Waiting[]): Promise<void> {
  const first = ports[0];
  const alike = ports.every(({ scope }) => scope.projectId === first?.scope.projectId);
  if (first === undefined) return;
  if (ports.length === 1 || !alike) return oneByOne(context, ports);
  try {
    const { body } = await context.api.call<{ ports: { id: string; name: string }[] }>({
      service: 'network',
      method: 'POST',
      path: '/ports',
      body: { ports: ports.map(({ port }) => port) },
      scope: first.scope,
    });
    const ids = new Map(body.ports.map(({ id, name }) => [name, id]));
    for (const { port, resolve, reject } of ports) {
      const id = ids.get(port.name);
      if (id === undefined) reject(new Error('the child did not answer for one of several new ports'));
      else resolve(id);
    }
  } catch (error) {
    const { uncertain, failure } = error as { uncertain?: unknown; failure?: unknown };
    // A refusal made none of them, and may be for the sake of one; after silence nobody knows.
    if (uncertain === true || failure === 'down') for (const { reject } of ports) reject(error);
    else await oneByOne(context, ports);
  }
}

async function oneByOne(context: ChildContext, ports: readonly Waiting[]): Promise<void> {
  await Promise.all(ports.map((one) => createOne(context, one).then(one.resolve, one.reject)));
}
