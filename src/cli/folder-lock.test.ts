import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { lockFolder } from './folder-lock.ts';

it('a data folder is one process’s at a time, and a dead one’s is free', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-lock-'));
  const unlock = await lockFolder(folder);
  await expect(lockFolder(folder)).rejects.toThrow(`in use by process ${process.pid}`);
  unlock();
  writeFileSync(join(folder, 'process'), '1 long ago, before the reboot');
  (await lockFolder(folder))();
});
