/** Members come, change and go at random, children fail and answers are lost: in the end every child is right. */
import * as fc from 'fast-check';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { timePasses } from '../testing.ts';
import {
  agreed,
  boot,
  type Booted,
  call,
  cascade,
  type ChildName,
  CHILDREN,
  db,
  end,
  eventually,
  newGroup,
  newRule,
  sim,
} from './remote-members-testing.ts';

await cascade.start();

const GROUPS = 3;
const PATIENCE_MS = 60_000;
const child = fc.constantFrom(...CHILDREN);
const group = fc.nat({ max: GROUPS - 1 });
const groups = fc.uniqueArray(group, { minLength: 1, maxLength: 2 });
const at = fc.nat({ max: 100 });
const ethertype = fc.constantFrom('IPv4', 'IPv6');

type Action =
  | { readonly do: 'boot'; readonly child: ChildName; readonly groups: readonly number[] }
  | { readonly do: 'end'; readonly at: number }
  | { readonly do: 'regroup'; readonly at: number; readonly groups: readonly number[] }
  | { readonly do: 'pair'; readonly at: number; readonly last: number }
  | { readonly do: 'rule'; readonly of: number; readonly remote: number; readonly ethertype: string }
  | { readonly do: 'unrule'; readonly at: number }
  | { readonly do: 'regenerate'; readonly of: number }
  | { readonly do: 'fault'; readonly child: ChildName; readonly how: 'lost' | 'busy' | 'away' };

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('boot' as const), child, groups }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('end' as const), at }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('regroup' as const), at, groups }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pair' as const), at, last: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('rule' as const), of: group, remote: group, ethertype }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unrule' as const), at }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('regenerate' as const), of: group }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('fault' as const),
      child,
      how: fc.constantFrom('lost' as const, 'busy' as const, 'away' as const),
    }),
  },
);

interface World {
  readonly groups: string[];
  servers: Booted[];
  rules: string[];
  readonly pending: Promise<unknown>[];
}

const away = new Set<ChildName>();

/** Does one thing; several of them are under way at once. What is refused (a rule twice, a group in use) is no matter. */
async function act(world: World, one: Action): Promise<void> {
  const idsOf = (numbers: readonly number[]): string[] => numbers.map((number) => world.groups[number] ?? '');
  const server = 'at' in one ? world.servers[one.at % Math.max(1, world.servers.length)] : undefined;
  switch (one.do) {
    case 'boot': {
      const booted = await boot(one.child, idsOf(one.groups));
      world.servers.push(booted);
      return;
    }
    case 'end':
      world.servers = world.servers.filter((other) => other !== server);
      if (server !== undefined) await end(server);
      return;
    case 'regroup':
      await update(server, { security_groups: idsOf(one.groups) });
      return;
    case 'pair':
      await update(server, { allowed_address_pairs: [{ ip_address: `192.168.0.${one.last}` }] });
      return;
    case 'rule': {
      const [of = '', remote = ''] = idsOf([one.of, one.remote]);
      const { id } = await newRule(of, remote, { ethertype: one.ethertype });
      world.rules.push(id);
      return;
    }
    case 'unrule': {
      const [rule] = world.rules.splice(one.at % Math.max(1, world.rules.length), 1);
      if (rule !== undefined) await call('alice', 'DELETE', `/security-group-rules/${rule}`);
      return;
    }
    case 'regenerate': {
      const { status } = await call('alice', 'DELETE', `/security-groups/${world.groups[one.of]}`);
      if (status === 204) world.groups[one.of] = await newGroup(`again-${one.of}`);
      return;
    }
    case 'fault':
      await fail(one);
  }
}

async function update(server: Booted | undefined, port: object): Promise<void> {
  if (server !== undefined) await call('alice', 'PUT', `/ports/${server.port_id}`, { port });
}

async function fail({ child: name, how }: Extract<Action, { do: 'fault' }>): Promise<void> {
  const match = {
    service: 'network',
    method: how === 'lost' ? 'POST' : 'PUT',
    path: /security|address-group/,
  } as const;
  if (how === 'lost') sim(name).faults.inject({ match, times: 1, drop: 'after' });
  else if (how === 'busy') sim(name).faults.inject({ match, times: 2, respond: { status: 503, body: {} } });
  else if (away.has(name)) {
    await sim(name).start();
    away.delete(name);
  } else {
    await sim(name).stop();
    away.add(name);
  }
}

async function heal(): Promise<void> {
  for (const name of CHILDREN) {
    sim(name).faults.clear();
    if (away.delete(name)) await sim(name).start();
  }
  // Copies whose create was lost and that nothing asked for again: the sweep comes to them in its own time.
  const unmade = await sql<{ kind: string; resource_id: string; child: string }>`
    select kind, resource_id, child from replicas where child_id is null and not retiring`.execute(db.query);
  await db.transaction(async (tx) => {
    for (const { kind, resource_id, child: name } of unmade.rows) await cascade.want(tx, name, kind, resource_id);
  });
  await timePasses(db.query);
  cascade.poke();
}

it('members are admitted where they must be, and nowhere else, whatever happened in which order', {
  timeout: 600_000,
}, async () => {
  await call('admin', 'PUT', '/quotas/p1', { quota: { port: -1, security_group: -1, security_group_rule: -1 } });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 15, maxLength: 40 }), async (actions) => {
      const names = Array.from({ length: GROUPS }, (_, number) => `group-${number}`);
      const world: World = { groups: [], servers: [], rules: [], pending: [] };
      for (const name of names) world.groups.push(await newGroup(name));
      for (const one of actions) {
        // Without waiting for one another, as clients do.
        world.pending.push(act(world, one).catch(() => undefined));
        if (world.pending.length % 3 === 0) await Promise.all(world.pending);
      }
      await Promise.all(world.pending);
      await heal();
      await eventually(agreed, PATIENCE_MS);
      for (const server of world.servers) await end(server);
      await eventually(async () => {
        for (const id of world.groups) {
          expect([204, 404]).toContain((await call('alice', 'DELETE', `/security-groups/${id}`)).status);
        }
      });
      await eventually(async () => {
        for (const name of CHILDREN) {
          expect(sim(name).state.addressGroups.size).toBe(0);
          expect([...sim(name).state.securityGroups.values()].filter((one) => one.name !== 'default')).toEqual([]);
        }
        const left = await sql`select kind, child from replicas
          where kind in ('remote_members', 'security_group', 'port')`.execute(db.query);
        expect(left.rows).toEqual([]);
      }, PATIENCE_MS);
    }),
    { numRuns: 6, endOnFailure: true },
  );
});
