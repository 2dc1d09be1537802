/**
 * `npm run bench`: the figures of docs/performance.md. `servers`: as ratios within one run; with the testbed up, the same
 * calls go to the parent (over both of its clouds) and straight to its first cloud; without, the parent is measured alone,
 * over simulated children. `networks`: time and calls to the children for each network, router and port, over simulated
 * children, or with `--testbed` over the real ones. Without a word: both.
 *
 *   npm run bench -- [servers] [--servers 1000000] [--child-servers 1000] [--boots 10] [--keep] [--simulated]
 *   npm run bench -- [networks] [--networks 200] [--routers 100] [--ports 2000] [--testbed]
 *   either: [--folder /var/tmp/headwater-bench]
 */
import { parseArgs } from 'node:util';
import { closeConnections } from './measure.ts';
import { benchNetworks } from './networks.ts';
import { benchServers } from './servers.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    servers: { type: 'string', default: '1000000' },
    'child-servers': { type: 'string', default: '1000' },
    boots: { type: 'string', default: '10' },
    keep: { type: 'boolean', default: false },
    simulated: { type: 'boolean', default: false },
    networks: { type: 'string', default: '200' },
    routers: { type: 'string', default: '100' },
    ports: { type: 'string', default: '2000' },
    testbed: { type: 'boolean', default: false },
    folder: { type: 'string', default: '/var/tmp/headwater-bench' },
  },
});

const PARTS = ['servers', 'networks'];
const strange = positionals.find((part) => !PARTS.includes(part));
if (strange !== undefined) throw new Error(`there is nothing to measure called ${strange}; name ${PARTS.join(' or ')}`);
const wanted = positionals.length === 0 ? PARTS : positionals;

try {
  if (wanted.includes('servers')) {
    await benchServers({
      servers: Number(values.servers),
      childServers: Number(values['child-servers']),
      boots: Number(values.boots),
      folder: values.folder,
      keep: values.keep,
      simulated: values.simulated,
    });
  }
  if (wanted.includes('networks')) {
    await benchNetworks({
      networks: Number(values.networks),
      routers: Number(values.routers),
      ports: Number(values.ports),
      testbed: values.testbed,
      folder: `${values.folder}-networks`,
    });
  }
} finally {
  await closeConnections();
}
