/** What must work with the real `openstack` client through the parent, in the order in which an operator meets it. */
import { afterAll, describe } from 'vitest';
import { catalog } from './client/catalog.ts';
import { everythingGoes, serversGo } from './client/clearing.ts';
import { networks } from './client/networks.ts';
import { aggregates, quotas, services } from './client/operator.ts';
import { refusals, strangers } from './client/refusals.ts';
import { serverLives } from './client/servers.ts';
import { floatingIps, volumes } from './client/volumes.ts';
import { endClient } from './harness/openstack.ts';

afterAll(endClient);

describe('the openstack client', () => {
  describe('catalog', catalog);
  describe('networks', networks);
  describe('servers', serverLives);
  describe('floating IPs', floatingIps);
  describe('volumes', volumes);
  describe('refusals', refusals);
  describe('strangers', strangers);
  describe('quotas', quotas);
  describe('services', services);
  describe('servers go', serversGo);
  describe('aggregates', aggregates);
  describe('everything goes', everythingGoes);
});
