/**
 * How tenants are kept apart in a real child, by parents beside the one of the run: in a project that all share, and in
 * projects of a Keystone that parent and child share. Mirrored projects are what all other tests use.
 */
import { afterAll, describe } from 'vitest';
import { nothingLeft } from './harness/child.ts';
import { endClient } from './harness/openstack.ts';
import { federatedTenancy } from './tenancy/federated.ts';
import { sharedTenancy } from './tenancy/shared.ts';

afterAll(async () => {
  endClient();
  await nothingLeft();
});

describe('a project that all tenants share', sharedTenancy);
describe('a Keystone that parent and child share', federatedTenancy);
