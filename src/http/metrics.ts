/** What `/metrics` shows to Prometheus. One registry a process; labels are bounded (never an id). */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export interface Metrics {
  readonly registry: Registry;
  /** One answered request of the parent. */
  request(service: string, operation: string, status: number, duration_ms: number): void;
  /** One call to a child. */
  childCall(child: string, service: string, status: number, duration_ms: number): void;
  /** Gauges that the cascade keeps: backlog and breaker state of each child. */
  child(child: string, state: { up: boolean; backlog?: number }): void;
}

const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Makes the registry; `process: false` leaves the process's own figures out (tests make many). */
export function createMetrics(options: { process?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.process !== false) collectDefaultMetrics({ register: registry });
  const requests = new Histogram({
    name: 'headwater_request_duration_seconds',
    help: 'Requests answered, by service, operation and status',
    labelNames: ['service', 'operation', 'status'],
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  });
  const calls = new Histogram({
    name: 'headwater_child_call_duration_seconds',
    help: 'Calls made to a child, by child, service and status (0: no answer)',
    labelNames: ['child', 'service', 'status'],
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  });
  const failures = new Counter({
    name: 'headwater_child_call_failures_total',
    help: 'Calls to a child that got no answer or a 5xx',
    labelNames: ['child', 'service'],
    registers: [registry],
  });
  const up = new Gauge({
    name: 'headwater_child_up',
    help: '1 while the child answers, else 0',
    labelNames: ['child'],
    registers: [registry],
  });
  const backlog = new Gauge({
    name: 'headwater_child_backlog',
    help: 'Pieces of work waiting for the child',
    labelNames: ['child'],
    registers: [registry],
  });
  return {
    registry,
    request: (service, operation, status, duration_ms) =>
      requests.observe({ service, operation, status: String(status) }, duration_ms / 1000),
    childCall: (child, service, status, duration_ms) => {
      calls.observe({ child, service, status: String(status) }, duration_ms / 1000);
      if (status === 0 || status >= 500) failures.inc({ child, service });
    },
    child: (child, state) => {
      up.set({ child }, state.up ? 1 : 0);
      if (state.backlog !== undefined) backlog.set({ child }, state.backlog);
    },
  };
}
