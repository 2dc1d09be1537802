import { randomUUID } from 'node:crypto';
import type { CloudApi } from '../openstack/contract.ts';

/** A child that holds things by name, and fails as it is told to. */
export class FakeChild {
  readonly things = new Map<string, { name: string; size: number }>();
  calls = 0;
  up = true;
  delay_ms = 2;
  /** `lost`: the next create is carried out, but its answer never arrives. */
  next: 'lost' | 'refused' | undefined;

  readonly api = {
    breaker: 'closed',
    probe: async () => this.up,
    close: async () => undefined,
  } as unknown as CloudApi;

  async call<T>(work: () => T): Promise<T> {
    this.calls += 1;
    await new Promise((resolve) => setTimeout(resolve, this.delay_ms));
    if (!this.up)
      throw Object.assign(new Error('down'), { failure: 'down', transient: true, uncertain: false, status: 0 });
    return work();
  }

  create(name: string, size: number): Promise<string> {
    return this.call(() => {
      const how = this.next;
      this.next = undefined;
      if (how === 'refused') {
        throw Object.assign(new Error('no'), {
          failure: 'refused',
          transient: false,
          status: 400,
          tenantMessage: 'Too big.',
        });
      }
      const id = randomUUID();
      this.things.set(id, { name, size });
      if (how === 'lost')
        throw Object.assign(new Error('lost'), { failure: 'down', transient: true, uncertain: true, status: 0 });
      return id;
    });
  }
}
