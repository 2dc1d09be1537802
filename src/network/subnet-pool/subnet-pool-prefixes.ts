/** Single prefixes of a subnet pool added and removed, and subnets that take theirs along into a pool. */
import { sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import { network as convention } from '../../http/conventions.ts';
import { badRequest, forbidden } from '../../http/fault.ts';
import { type Call, type Operation, operation } from '../../http/service.ts';
import { networkNotFound, invalidInput } from '../network-fault.ts';
import { ownOrAdmin, visibleNetworks } from '../network-project.ts';
import { networkStore } from '../network-resource.ts';
import { ownOrShared } from '../sharing.ts';
import type { IpVersion } from '../address-range.ts';
import { touch } from '../standard-attributes.ts';
import { meets, prefixesOf, setOf, without } from './prefix-set.ts';
import { type SubnetPoolRow, subnetPoolStore } from './subnet-pool-resource.ts';
import { badPoolUpdate, badPrefixes, checkPrefixes, setOfTexts, subnetPoolNotFound } from './subnet-pool-rules.ts';
import { changedPool } from './subnet-pool-values.ts';

/** `PUT /subnetpools/:subnetpool_id/add_prefixes`, `.../remove_prefixes` and `.../onboard_network_subnets`. */
export function poolPrefixOperations(db: Db): Operation[] {
  const change = (
    name: string,
    summary: string,
    work: (tx: Tx, pool: () => Promise<SubnetPoolRow>, call: Call<unknown>) => Promise<unknown>,
  ): Operation =>
    operation<unknown>({
      method: 'PUT',
      path: `/subnetpools/:subnetpool_id/${name}`,
      policy: { name, check: 'rule:project_member_or_admin', description: summary },
      status: 200,
      summary,
      handle: (call) => db.transaction((tx) => work(tx, () => ownPool(tx, call, name), call)),
    });
  return [
    change('add_prefixes', 'Add prefixes to a subnet pool', async (tx, locked, call) => {
      const pool = await locked();
      const patch = { prefixes: [...new Set([...pool.prefixes, ...prefixesGiven(call.body)])] };
      const changed = await changedPool(pool, patch, call.context, tx);
      await subnetPoolStore.update(tx, pool.id, changed);
      return { prefixes: changed.prefixes };
    }),
    change('remove_prefixes', 'Remove prefixes from a subnet pool', async (tx, locked, call) => ({
      prefixes: await removePrefixes(tx, await locked(), prefixesGiven(call.body)),
    })),
    change('onboard_network_subnets', 'Take the subnets of a network into a subnet pool', onboard),
  ];
}

/** @throws Fault 404 for a pool that is not seen, 403 for one that is not the caller's */
async function ownPool(tx: Tx, { params, context }: Call<unknown>, rule: string): Promise<SubnetPoolRow> {
  const id = params.subnetpool_id ?? '';
  const pool = await subnetPoolStore.lock(tx, id, ownOrShared(context));
  if (pool === undefined) throw subnetPoolNotFound(id);
  if (!ownOrAdmin(pool, context)) throw convention.refusal(rule);
  return pool;
}

const PREFIXES_MAX = 1000;

function prefixesGiven(body: unknown): string[] {
  const prefixes = body !== null && typeof body === 'object' && 'prefixes' in body ? body.prefixes : undefined;
  const isTexts = Array.isArray(prefixes) && prefixes.every((prefix) => typeof prefix === 'string');
  if (!isTexts || prefixes.length === 0 || prefixes.length > PREFIXES_MAX) {
    throw badRequest('Request body contains invalid data', 'HTTPBadRequest');
  }
  return prefixes as string[];
}

async function removePrefixes(tx: Tx, pool: SubnetPoolRow, given: readonly string[]): Promise<string[]> {
  const going = setOf(checkPrefixes(given).prefixes);
  const held = setOfTexts(pool.prefixes);
  if (!meets(held, going)) return pool.prefixes;
  if (meets(await allocated(tx, pool.id), going)) {
    throw badPrefixes('One or more the prefixes to be removed is in use by a subnet.');
  }
  const prefixes = prefixesOf(without(held, going), pool.ip_version as IpVersion).map(({ text }) => text);
  await subnetPoolStore.update(tx, pool.id, { prefixes });
  return prefixes;
}

async function allocated(tx: Tx, poolId: string) {
  const { rows } = await sql<{ cidr: string }>`select cidr from subnets where subnetpool_id = ${poolId}`.execute(tx);
  return setOfTexts(rows.map(({ cidr }) => cidr));
}

async function onboard(tx: Tx, locked: () => Promise<SubnetPoolRow>, call: Call<unknown>): Promise<unknown> {
  const { body, context } = call;
  const id = call.params.subnetpool_id ?? '';
  if ((await subnetPoolStore.find(tx, id, ownOrShared(context))) === undefined) throw subnetPoolNotFound(id);
  const given = body !== null && typeof body === 'object' && 'network_id' in body ? body.network_id : undefined;
  if (typeof given !== 'string') throw invalidInput('network_id must be specified.');
  // The network first, as when a subnet is made.
  const network = await networkStore.lock(tx, given, visibleNetworks(context));
  const pool = await locked();
  if (network === undefined) throw networkNotFound(given);
  // A network that is only seen is not the caller's to take subnets of.
  if (!ownOrAdmin(network, context)) throw forbidden('Not authorized.', 'NotAuthorized');
  const { rows: subnets } = await sql<{ id: string; cidr: string }>`select id, cidr from subnets
    where network_id = ${network.id} and ip_version = ${pool.ip_version} order by created_at, id`.execute(tx);
  if (subnets.length === 0) return [];
  const taken = await allocated(tx, pool.id);
  const twice = subnets.find(({ cidr }) => meets(setOfTexts([cidr]), taken));
  if (twice !== undefined) {
    throw badPoolUpdate(
      `Onboarding subnet ${twice.id}: ${twice.cidr} conflicts with allocated prefixes in subnet pool ${pool.id}`,
    );
  }
  const prefixes = [...new Set([...pool.prefixes, ...subnets.map(({ cidr }) => cidr)])];
  await subnetPoolStore.update(tx, pool.id, await changedPool(pool, { prefixes }, context, tx));
  // No child is told of pools: its copies are as they were.
  const ids = subnets.map((subnet) => subnet.id);
  await sql`update subnets set subnetpool_id = ${pool.id} where id = any(${ids}::text[])`.execute(tx);
  await touch(tx, 'subnets', ids);
  return subnets.map(({ id, cidr }) => ({ id, cidr }));
}
