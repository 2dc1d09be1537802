/**
 * The parent's own store of image data: files in one folder. Data is written under a temporary name while it comes,
 * hashed on the way, synced and renamed, so that a file with its final name is whole whatever happened. No more than a
 * chunk of it is ever in memory.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

/** What became of a stream. Sizes in bytes, hashes in hexadecimal. */
export interface Written {
  readonly size: number;
  /** Size of the disk within; null where the format does not tell. */
  readonly virtual_size: number | null;
  readonly checksum: string;
  readonly os_hash_value: string;
}

export interface ByteRange {
  readonly start: number;
  /** Inclusive. */
  readonly end: number;
}

export interface LocalStore {
  /**
   * Writes a new file. Broken off, it leaves nothing behind; killed, only a `.part`.
   * @throws TooLarge beyond `size_max` bytes; what the stream or the file system failed with otherwise
   */
  write(name: string, data: Readable, size_max: number): Promise<Written>;
  /** The file's data. @throws ENOENT where there is none */
  read(name: string, range?: ByteRange): Promise<Readable>;
  /** Takes a file away, whole or part; none is none. */
  remove(name: string): Promise<void>;
  /** Names of all files, parts without their ending. */
  names(): Promise<readonly string[]>;
}

/** More data than one image may have. */
export class TooLarge extends Error {
  override readonly name = 'TooLarge';
}

const PART = '.part';
const HEAD_BYTES = 32;
/** A client that sends nothing for so long has gone. */
const SILENCE_MAX_MS = 300_000;

/** The store below `data_dir`, on which every process that serves images must see the same files. */
export function createLocalStore(data_dir: string): LocalStore {
  const folder = join(data_dir, 'images');
  const pathOf = (name: string): string => {
    // Names are made here from checked ids; this is for whoever changes that.
    if (!/^[0-9a-zA-Z.-]+$/.test(name)) throw new Error('not a name of a file of this store');
    return join(folder, name);
  };

  async function receive(file: FileHandle, data: Readable, size_max: number): Promise<Written> {
    const md5 = createHash('md5');
    const sha512 = createHash('sha512');
    const head = Buffer.alloc(HEAD_BYTES);
    let size = 0;
    const silence = setTimeout(() => data.destroy(new Error('no data came for too long')), SILENCE_MAX_MS);
    try {
      // Not destroyed where we stop reading: a request that is too large still gets its answer.
      for await (const piece of data.iterator({ destroyOnReturn: false })) {
        const chunk = Buffer.isBuffer(piece) ? piece : Buffer.from(piece as Uint8Array | string);
        silence.refresh();
        if (size < HEAD_BYTES) chunk.copy(head, size);
        size += chunk.length;
        if (size > size_max) throw new TooLarge(`more than ${size_max} bytes`);
        md5.update(chunk);
        sha512.update(chunk);
        for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten;
      }
    } finally {
      clearTimeout(silence);
    }
    await file.sync();
    return {
      size,
      virtual_size: virtualSize(head, size),
      checksum: md5.digest('hex'),
      os_hash_value: sha512.digest('hex'),
    };
  }

  return {
    async write(name, data, size_max) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const path = pathOf(name);
      const file = await open(path + PART, 'wx', 0o600);
      try {
        const written = await receive(file, data, size_max).finally(() => file.close());
        await rename(path + PART, path);
        await syncFolder(folder);
        return written;
      } catch (error) {
        await rm(path + PART, { force: true });
        throw error;
      }
    },
    async read(name, range) {
      const file = await open(pathOf(name), 'r');
      return file.createReadStream({ highWaterMark: 256 * 1024, ...range });
    },
    async remove(name) {
      const path = pathOf(name);
      await Promise.all([rm(path, { force: true }), rm(path + PART, { force: true })]);
    },
    async names() {
      const found = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      });
      return found.map((name) => (name.endsWith(PART) ? name.slice(0, -PART.length) : name));
    },
  };
}

/** QCOW2 says the size of the disk in its header; anything else that is not known to be wrapped is the disk itself. */
function virtualSize(head: Buffer, size: number): number | null {
  const magic = head.subarray(0, 4).toString('latin1');
  if (magic === 'QFI\u00fb' && size >= HEAD_BYTES) {
    const stated = head.readBigUInt64BE(24);
    return stated <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(stated) : null;
  }
  return magic === 'KDMV' || magic === 'vhdx' || magic === 'cone' ? null : size;
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}
