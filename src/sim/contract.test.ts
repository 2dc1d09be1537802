/** The simulator held to the same contract as real clouds. */
import { afterAll } from 'vitest';
import { createCloudClient } from '../openstack/client.ts';
import { southboundContract } from '../openstack/contract.testing.ts';
import { createSimCloud } from './cloud.ts';

const cloud = await createSimCloud({ name: 'contract', isFurnished: true });
afterAll(() => cloud.close());

southboundContract('simulated cloud', async () =>
  createCloudClient({
    name: cloud.name,
    entry: { name: cloud.name, auth_type: 'password', ...cloud.cloudsYamlEntry },
  }),
);
