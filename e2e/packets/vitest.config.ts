import { defineConfig } from 'vitest/config';

/** One file after another in one worker: they share two clouds, the wire between them and one parent. */
export default defineConfig({
  test: {
    include: ['e2e/packets/*.test.ts'],
    globalSetup: ['e2e/harness/setup.ts', 'e2e/packets/join.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 600_000,
  },
});
