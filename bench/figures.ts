/** The measurements; each is the same calls at the parent and at a real cloud. */
import type { Cloud } from './clouds.ts';
import { ask, pause, sequential, summary, type Timed, throughput } from './measure.ts';

/** What a boot needs; made before, so that it is not measured. */
export interface BootPlan {
  readonly flavorRef: string;
  readonly imageRef: string;
  readonly networkId: string;
  readonly zone?: string;
}

interface Server {
  readonly id: string;
  readonly status: string;
}

export const listDetails = (cloud: Cloud, count: number, size: number): Promise<Timed> =>
  sequential(count, 2, async () => {
    const { body } = await ask<{ servers: unknown[] }>(cloud.compute, 'GET', `/servers/detail?limit=${size}`);
    if (body.servers.length !== size)
      throw new Error(`${cloud.name} listed ${body.servers.length} servers, not ${size}`);
  });

export const show = (cloud: Cloud, ids: readonly string[], count: number): Promise<Timed> =>
  sequential(count, 10, (at) => ask(cloud.compute, 'GET', `/servers/${ids[at % ids.length]}`));

export const showsPerSecond = (cloud: Cloud, ids: readonly string[], duration_ms: number): Promise<number> =>
  throughput(16, duration_ms, (at) => ask(cloud.compute, 'GET', `/servers/${ids[at % ids.length]}`));

export const token = (cloud: Cloud, token: string, count: number): Promise<Timed> =>
  sequential(count, 3, () =>
    ask(cloud.identity, 'POST', '/auth/tokens', {
      auth: { identity: { methods: ['token'], token: { id: token } }, scope: { project: { id: cloud.projectId } } },
    }),
  );

/** Boots one after another, each gone before the next: the time to the 202, and from the call to ACTIVE. */
export async function boots(
  cloud: Cloud,
  plan: BootPlan,
  count: number,
): Promise<{ acknowledged: Timed; active: Timed }> {
  const acknowledged: number[] = [];
  const active: number[] = [];
  for (let at = 0; at < count + 1; at++) {
    const started = performance.now();
    const id = await boot(cloud, plan, `bench-${at}`);
    const answered = performance.now();
    await until(cloud, id, 'ACTIVE');
    const booted = performance.now();
    await remove(cloud, id);
    // The first brings image and flavor along, and warms the child up.
    if (at === 0) continue;
    acknowledged.push(answered - started);
    active.push(booted - started);
  }
  return { acknowledged: summary(acknowledged), active: summary(active) };
}

async function boot(cloud: Cloud, plan: BootPlan, name: string): Promise<string> {
  const server = {
    name,
    flavorRef: plan.flavorRef,
    imageRef: plan.imageRef,
    networks: [{ uuid: plan.networkId }],
    ...(plan.zone === undefined ? {} : { availability_zone: plan.zone }),
  };
  return (await ask<{ server: Server }>(cloud.compute, 'POST', '/servers', { server })).body.server.id;
}

async function until(cloud: Cloud, id: string, status: string): Promise<void> {
  for (let tries = 0; tries < 1200; tries++) {
    const { body } = await ask<{ server: Server }>(cloud.compute, 'GET', `/servers/${id}`);
    if (body.server.status === status) return;
    if (body.server.status === 'ERROR') throw new Error(`${cloud.name}: server ${id} went to ERROR`);
    await pause(50);
  }
  throw new Error(`${cloud.name}: server ${id} did not become ${status} within a minute`);
}

async function remove(cloud: Cloud, id: string): Promise<void> {
  await ask(cloud.compute, 'DELETE', `/servers/${id}`);
  for (let tries = 0; tries < 600; tries++) {
    const { status } = await ask(cloud.compute, 'GET', `/servers/${id}`, undefined, [200, 404]);
    if (status === 404) return;
    await pause(100);
  }
  throw new Error(`${cloud.name}: server ${id} was not deleted within a minute`);
}

/** Makes servers without a network until the cloud has as many as asked for; gives the ids of all. */
export async function fill(cloud: Cloud, plan: Omit<BootPlan, 'networkId'>, count: number): Promise<string[]> {
  const quota = { quota_set: { instances: -1, cores: -1, ram: -1, force: true } };
  await ask(cloud.compute, 'PUT', `/os-quota-sets/${cloud.projectId}`, quota);
  const list = async () =>
    (await ask<{ servers: Server[] }>(cloud.compute, 'GET', '/servers/detail?limit=1000')).body.servers;
  for (let made = (await list()).length; made < count; made += 100) {
    const server = {
      name: 'bench-fill',
      flavorRef: plan.flavorRef,
      imageRef: plan.imageRef,
      networks: 'none',
      min_count: Math.min(100, count - made),
      max_count: Math.min(100, count - made),
    };
    await ask(cloud.compute, 'POST', '/servers', { server });
    // Not faster than the cloud builds them: its boots would else be measured against its own backlog.
    while ((await list()).some(({ status }) => status === 'BUILD')) await pause(1000);
  }
  return (await list()).map(({ id }) => id);
}

/** Takes away what `fill` made. */
export async function empty(cloud: Cloud): Promise<void> {
  for (;;) {
    const { body } = await ask<{ servers: Server[] }>(cloud.compute, 'GET', '/servers?name=bench-&limit=1000');
    if (body.servers.length === 0) return;
    for (const { id } of body.servers) await ask(cloud.compute, 'DELETE', `/servers/${id}`, undefined, [204, 404]);
    await pause(3000);
  }
}
