import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createCredentialCipher } from './credential-cipher.ts';

let folder = '';
const yes = async () => true;
const no = async () => false;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headwater-cipher-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('opens what it sealed, also in another process, and for what it was sealed for alone', async () => {
  const file = join(folder, 'one', 'keys');
  const sealed = await createCredentialCipher(file).seal('a secret, ü', 'id', yes);
  expect(JSON.stringify(sealed)).not.toContain('secret');
  const other = createCredentialCipher(file);
  expect(await other.open(sealed, 'id')).toBe('a secret, ü');
  await expect(other.open(sealed, 'another')).rejects.toThrow();
  await expect(other.open({ ...sealed, sealed: `${sealed.sealed.slice(0, -8)}AAAAAAA=` }, 'id')).rejects.toThrow();
  expect((await stat(file)).mode & 0o777).toBe(0o600);
});

it('has one key, however many begin at once', async () => {
  const file = join(folder, 'two', 'keys');
  const sealed = await Promise.all([1, 2, 3, 4].map((each) => createCredentialCipher(file).seal(`${each}`, 'id', yes)));
  expect(new Set(sealed.map(({ key_id }) => key_id)).size).toBe(1);
  const opened = sealed.map((each) => createCredentialCipher(file).open(each, 'id'));
  expect(await Promise.all(opened)).toEqual(['1', '2', '3', '4']);
});

it('makes no second key where the first is on another machine', async () => {
  const here = join(folder, 'three', 'keys');
  const sealed = await createCredentialCipher(here).seal('text', 'id', yes);
  const there = join(folder, 'four', 'keys');
  await expect(createCredentialCipher(there).seal('text', 'id', no)).rejects.toThrow('copy that file');
  await expect(createCredentialCipher(there).open(sealed, 'id')).rejects.toThrow(`is not in ${there}`);
});

it('seals with the first key of the file, and opens with all', async () => {
  const file = join(folder, 'five', 'keys');
  const old = await createCredentialCipher(file).seal('old', 'id', yes);
  const fresh = Buffer.alloc(32, 7).toString('base64');
  await writeFile(file, `${fresh}\n${await readFile(file, 'utf8')}`);
  const cipher = createCredentialCipher(file);
  const young = await cipher.seal('young', 'id', no);
  expect(young.key_id).not.toBe(old.key_id);
  expect([await cipher.open(old, 'id'), await cipher.open(young, 'id')]).toEqual(['old', 'young']);
  await writeFile(file, 'short\n');
  await expect(createCredentialCipher(file).open(old, 'id')).rejects.toThrow('no key of 32 bytes');
});
