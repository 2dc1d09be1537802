import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const ORDER = [
  'client',
  'port-features',
  'unshelve',
  'groups',
  'stretched',
  'routers',
  'tenancy',
  'looking-on',
  'sickness',
  'kill',
  'guests',
];
const place = (file: TestSpecification): number =>
  ORDER.findIndex((name) => file.moduleId.endsWith(`/${name}.test.ts`));

/** What a client sees first: where that fails, the rest has little to say. */
class InOrder extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.toSorted((one, other) => place(one) - place(other));
  }
}

/** One file after another in one worker: they share two clouds and one parent. */
export default defineConfig({
  test: {
    include: ['e2e/*.test.ts'],
    globalSetup: ['e2e/harness/setup.ts'],
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    sequence: { sequencer: InOrder },
    testTimeout: 300_000,
    hookTimeout: 600_000,
  },
});
