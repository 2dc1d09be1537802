/** The keypair: its rows, and how a user's are found. Nothing of the private half is ever stored. */
import { randomUUID } from 'node:crypto';
import { type RawBuilder, type SqlBool, sql } from 'kysely';
import { Type } from 'typebox';
import type { Cascade } from '../../cascade/contract.ts';
import type { Queryable, Tx } from '../../db/database.ts';
import { badRequest, conflict, type Fault, forbidden, notFound } from '../../http/fault.ts';
import { field, resource, type Row, type TableOf } from '../../resource/resource.ts';
import { createStore } from '../../resource/store.ts';
import { computeQuotas } from '../quota-set/quotas.ts';

export type KeypairType = 'ssh' | 'x509';

const keypairResource = resource({
  name: 'keypair',
  table: 'keypairs',
  fields: {
    user_id: field(Type.String(), { column: true }),
    name: field(Type.String(), { column: true }),
    public_key: field(Type.String()),
    fingerprint: field(Type.String()),
    type: field(Type.Union([Type.Literal('ssh'), Type.Literal('x509')])),
  },
});

/** A keypair as stored; `number` is the id that Nova shows. */
export type Keypair = Row<typeof keypairResource> & { readonly number?: number };

declare module '../../db/tables.ts' {
  interface Tables {
    keypairs: TableOf<typeof keypairResource> & { number: number };
  }
}

export const keypairStore = createStore<typeof keypairResource, Row<typeof keypairResource>>(keypairResource);

/** A user's keypair by its name, or undefined. */
export async function findKeypair(query: Queryable, userId: string, name: string): Promise<Keypair | undefined> {
  const rows = await keypairStore.select(query, ofUser(userId, sql<SqlBool>`name = ${name} collate "C"`));
  return rows[0];
}

/**
 * A user's keypairs by name, at most `limit`, after the marker's.
 * @throws Fault 400 where the marker names none
 */
export async function listKeypairs(
  query: Queryable,
  userId: string,
  limit: number,
  marker: string | undefined,
): Promise<readonly Keypair[]> {
  if (marker !== undefined && (await findKeypair(query, userId, marker)) === undefined) {
    throw badRequest(`Marker ${marker} could not be found.`);
  }
  const rows = await sql<Keypair & { body: object }>`
    select * from keypairs where user_id = ${userId} and name > ${marker ?? ''} collate "C"
    order by name collate "C" limit ${limit}`.execute(query);
  return rows.rows.map(({ body, ...row }) => ({ ...row, ...body }));
}

const ofUser = (userId: string, more: RawBuilder<SqlBool>): RawBuilder<SqlBool>[] => [
  sql<SqlBool>`user_id = ${userId}`,
  more,
];

/**
 * Stores a keypair of a user, counted against the key_pairs limit of the caller's project.
 * @throws Fault 403 past the limit, 409 where the user has one of this name
 */
export async function createKeypair(
  tx: Tx,
  keypair: Pick<Keypair, 'project_id' | 'user_id' | 'name' | 'public_key' | 'fingerprint' | 'type'>,
): Promise<Keypair> {
  // Two at once of one user: the second waits, and then counts the first.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`keypairs ${keypair.user_id}`}, 0))`.execute(tx);
  const { key_pairs } = await computeQuotas().usage(tx, keypair.project_id);
  const limit = key_pairs?.limit ?? -1;
  const { rows } = await sql<{ have: number; same: boolean | null }>`
    select count(*)::int as have, bool_or(name = ${keypair.name} collate "C") as same
    from keypairs where user_id = ${keypair.user_id}`.execute(tx);
  const now = rows[0] ?? { have: 0, same: false };
  if (limit >= 0 && now.have >= limit) throw forbidden('Quota exceeded, too many key pairs.');
  if (now.same === true) throw conflict(`Key pair '${keypair.name}' already exists.`);
  return keypairStore.insert(tx, { id: randomUUID(), ...keypair });
}

/**
 * Deletes a user's keypair and its copies.
 * @throws Fault 404
 */
export async function deleteKeypair(
  tx: Tx,
  cascade: Cascade,
  userId: string,
  name: string,
  requestId: string,
): Promise<void> {
  const keypair = await findKeypair(tx, userId, name);
  if (keypair === undefined || !(await keypairStore.remove(tx, keypair.id))) throw keypairNotFound(userId, name);
  await cascade.retire(tx, 'keypair', keypair.id, { requestId });
}

/** A user is gone: their keypairs go, here and in children. */
export async function deleteKeypairsOf(tx: Tx, cascade: Cascade, userId: string): Promise<void> {
  const { rows } = await sql<{ id: string }>`delete from keypairs where user_id = ${userId} returning id`.execute(tx);
  for (const { id } of rows) await cascade.retire(tx, 'keypair', id);
}

/** Nova's words for a keypair that there is not. */
export const keypairNotFound = (userId: string, name: string): Fault =>
  notFound(`Keypair ${name} not found for user ${userId}`);
