/** What boots need, made before and taken away after. */
import type { Cloud } from './clouds.ts';
import type { BootPlan } from './figures.ts';
import { ask, login } from './measure.ts';

/** Makes what boots need in a cloud: a flavor, an image, and a network with a subnet. Twice: what is there is used. */
export async function plan(cloud: Cloud, zone: string | undefined): Promise<BootPlan> {
  const flavor = { id: 'bench', name: 'bench', ram: 128, vcpus: 1, disk: 1 };
  await ask(cloud.compute, 'POST', '/flavors', { flavor }, [200, 409]);
  const image = { base: cloud.compute.base, headers: cloud.compute.headers };
  const images = await ask<{ images: { id: string }[] }>(
    { ...image, base: await imageBase(cloud) },
    'GET',
    '/images?name=bench',
  );
  let imageRef = images.body.images[0]?.id;
  if (imageRef === undefined) {
    const base = { ...image, base: await imageBase(cloud) };
    const made = await ask<{ id: string }>(base, 'POST', '/images', {
      name: 'bench',
      disk_format: 'raw',
      container_format: 'bare',
    });
    imageRef = made.body.id;
    const response = await fetch(`${base.base}/images/${imageRef}/file`, {
      method: 'PUT',
      headers: { ...base.headers, 'content-type': 'application/octet-stream' },
      body: Buffer.alloc(65_536, 'bench'),
    });
    if (response.status !== 204) throw new Error(`image data was not taken: ${response.status}`);
  }
  const name = 'bench-net';
  const networks = await ask<{ networks: { id: string }[] }>(cloud.network, 'GET', `/networks?name=${name}`);
  let networkId = networks.body.networks[0]?.id;
  if (networkId === undefined) {
    networkId = (await ask<{ network: { id: string } }>(cloud.network, 'POST', '/networks', { network: { name } })).body
      .network.id;
    await ask(cloud.network, 'POST', '/subnets', {
      subnet: { network_id: networkId, ip_version: 4, cidr: '10.99.0.0/16' },
    });
  }
  return { flavorRef: 'bench', imageRef, networkId, ...(zone === undefined ? {} : { zone }) };
}

async function imageBase(cloud: Cloud): Promise<string> {
  return `${(await login(cloud.auth)).service('image')}/v2`;
}

/** Takes away what `plan` made. */
export async function unplan(cloud: Cloud, plan: BootPlan): Promise<void> {
  await ask(cloud.network, 'DELETE', `/networks/${plan.networkId}`, undefined, [204, 404, 409]);
  await ask(
    { ...cloud.compute, base: await imageBase(cloud) },
    'DELETE',
    `/images/${plan.imageRef}`,
    undefined,
    [204, 404],
  );
  await ask(cloud.compute, 'DELETE', `/flavors/${plan.flavorRef}`, undefined, [202, 404]);
}
