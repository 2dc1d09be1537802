import { expect, it } from 'vitest';
import { notServed, stockExtensions } from '../cli/docs.ts';
import { announced } from './extension.ts';
import { networkTest } from './testing.ts';

const { call } = await networkTest();
const aliases = announced.map(({ alias }) => alias);

it('every extension of a stock cloud is announced, or it is said why not', () => {
  const reasons = (notServed().network ?? []).flatMap(({ extensions = [] }) => extensions);
  const stock = stockExtensions().network ?? [];
  expect(stock.length).toBeGreaterThan(80);
  expect(stock.filter((alias) => !aliases.includes(alias) && !reasons.includes(alias))).toEqual([]);
  expect(reasons.filter((alias) => aliases.includes(alias))).toEqual([]);
  expect(new Set(aliases).size).toBe(aliases.length);
});

it('what is announced is listed and shown', async () => {
  const listed = (await call('alice', 'GET', '/extensions')).body.extensions;
  expect(listed.map(({ alias }: { alias: string }) => alias)).toEqual(aliases);
  const shown = (await call('alice', 'GET', '/extensions/address-scope')).body.extension;
  expect(shown).toMatchObject({ alias: 'address-scope', name: 'Address scope', links: [] });
  expect((await call('alice', 'GET', '/extensions/logging')).status).toBe(404);
});
