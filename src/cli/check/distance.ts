/** How far away a child is: the time of its answers, and what its clock says. */
import type { CloudApi, CloudCall } from '../../openstack/contract.ts';
import { type Finding, holds, lacking, unknown } from './finding.ts';

const ROUNDS = 5;
/** `Date` tells whole seconds. The answer's own time comes to it. */
const CLOCK_SLACK_MS = 1000;
/** Slower than this, and what waits for a child in a row (networks, subnets, ports, a server) is felt. */
const SLOW_MS = 1000;

const SMALL_CALLS: readonly (readonly [string, CloudCall])[] = [
  ['Keystone', { service: 'identity', method: 'GET', path: '/' }],
  ['Neutron', { service: 'network', method: 'GET', path: '/networks', query: { limit: 1, fields: 'id' } }],
  ['Nova', { service: 'compute', method: 'GET', path: '/flavors', query: { limit: 1 } }],
];

/** Asks small things a few times. @throws CloudError where an answer stays away */
export async function distance(api: CloudApi): Promise<Finding[]> {
  const medians: string[] = [];
  let slowest_ms = 0;
  // Of the quickest answer, which leaves the least room for doubt.
  let nearest: { readonly ahead_ms: number; readonly took_ms: number } | undefined;
  for (const [name, call] of SMALL_CALLS) {
    if (!(await api.offers(call.service))) continue;
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const sent = performance.now();
      const sentAt = Date.now();
      const { headers } = await api.call(call);
      const took_ms = performance.now() - sent;
      times.push(took_ms);
      const ahead_ms = aheadBy(headers.date, sentAt + took_ms / 2);
      if (ahead_ms !== undefined && took_ms < (nearest?.took_ms ?? Infinity)) nearest = { ahead_ms, took_ms };
    }
    const median_ms = times.sort((one, other) => one - other)[Math.floor(ROUNDS / 2)] ?? 0;
    slowest_ms = Math.max(slowest_ms, median_ms);
    medians.push(`${name} ${median_ms.toFixed(0)} ms`);
  }
  return [latency(`${medians.join(', ')} (medians of ${ROUNDS} small calls)`, slowest_ms), clock(nearest)];
}

function latency(says: string, slowest_ms: number): Finding {
  if (slowest_ms < SLOW_MS) return holds('latency', says);
  return lacking('latency', 'missing', says, {
    lost: 'time: whatever is first made in this child takes several such calls one after another; reads are not affected',
    mend: 'more API workers in the child, or a shorter way to it',
  });
}

/** By how much the child's clock is ahead of ours; undefined where it does not say. The header's second is taken in its middle. */
function aheadBy(date: string | undefined, at_ms: number): number | undefined {
  const told_ms = Date.parse(date ?? '');
  return Number.isNaN(told_ms) ? undefined : told_ms + 500 - at_ms;
}

function clock(nearest: { readonly ahead_ms: number; readonly took_ms: number } | undefined): Finding {
  if (nearest === undefined) return unknown('clock', 'its answers carry no time');
  const { ahead_ms, took_ms } = nearest;
  if (Math.abs(ahead_ms) <= CLOCK_SLACK_MS + took_ms) return holds('clock', 'agrees with ours');
  const seconds = Math.round(Math.abs(ahead_ms) / 1000);
  return lacking('clock', 'missing', `${seconds} s ${ahead_ms > 0 ? 'ahead of' : 'behind'} ours`, {
    lost: 'nothing: clocks are never compared with each other; but logs of parent and child cannot be laid side by side',
    mend: 'NTP on both sides',
  });
}
