/** Encrypts what credentials hold, under a key that stands in a file and never in the database that it protects. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface Sealed {
  readonly sealed: string;
  readonly key_id: string;
}

export interface CredentialCipher {
  /**
   * Encrypts a text. Where there is no key yet, makes one.
   * @param id of what it belongs to: it opens for nothing else
   * @param mayBegin whether nothing is encrypted yet; asked where there is no key
   * @throws Error where something is, under a key that is not here
   */
  seal(text: string, id: string, mayBegin: () => Promise<boolean>): Promise<Sealed>;
  /** @throws Error where it is not under a key that is here, or was changed */
  open(sealed: Sealed, id: string): Promise<string>;
}

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** @param file with a line of base64 for each key, the one to encrypt with first; undefined: a key for this process alone */
export function createCredentialCipher(file?: string): CredentialCipher {
  let keys: readonly Buffer[] = file === undefined ? [randomBytes(KEY_BYTES)] : [];

  /** Read anew where a key is lacking: another process may have made it. */
  async function find(key_id?: string): Promise<Buffer | undefined> {
    const known = () => keys.find((key) => key_id === undefined || nameOf(key) === key_id);
    if (known() === undefined && file !== undefined) keys = await readKeys(file);
    return known();
  }

  return {
    async seal(text, id, mayBegin) {
      let key = await find();
      if (key === undefined && file !== undefined) {
        if (!(await mayBegin())) {
          throw new Error(
            `credentials are encrypted under a key that is not in ${file}: copy that file from where it is`,
          );
        }
        await makeKeyFile(file);
        key = await find();
      }
      if (key === undefined) throw new Error(`there is no key in ${file}`);
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv(ALGORITHM, key, iv).setAAD(Buffer.from(id));
      const bytes = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
      return { sealed: bytes.toString('base64'), key_id: nameOf(key) };
    },
    async open({ sealed, key_id }, id) {
      const key = await find(key_id);
      if (key === undefined) throw new Error(`the key ${key_id} of a credential is not in ${file}`);
      const bytes = Buffer.from(sealed, 'base64');
      const end = bytes.length - TAG_BYTES;
      const decipher = createDecipheriv(ALGORITHM, key, bytes.subarray(0, IV_BYTES)).setAAD(Buffer.from(id));
      decipher.setAuthTag(bytes.subarray(end));
      return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, end)), decipher.final()]).toString('utf8');
    },
  };
}

/** Makes the file with one key where it is not there; whoever reads it finds it whole. */
async function makeKeyFile(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const draft = `${file}.${randomBytes(8).toString('hex')}`;
  await writeFile(draft, `${randomBytes(KEY_BYTES).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
  await link(draft, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  await unlink(draft);
}

async function readKeys(file: string): Promise<Buffer[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const keys = text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [Buffer.from(line.trim(), 'base64')]));
  if (keys.some((key) => key.length !== KEY_BYTES)) throw new Error(`${file} has a line that is no key of 32 bytes`);
  return keys;
}

const nameOf = (key: Buffer): string =>
  createHash('sha256').update('credential key').update(key).digest('hex').slice(0, 16);
