import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { networkTest } from '../network/testing.ts';
import { createSimCloud, type SimCloud } from '../sim/cloud.ts';
import { check } from './check/check.ts';
import { printedTrace } from './trace/trace.ts';

const { db, make } = await networkTest();
const folder = mkdtempSync(join(tmpdir(), 'headwater-commands-'));
const config = join(folder, 'headwater.yaml');
let sim: SimCloud;

beforeAll(async () => {
  sim = await createSimCloud({ name: 'east' });
  writeFileSync(join(folder, 'clouds.yaml'), stringify({ clouds: { one: sim.cloudsYamlEntry } }));
  writeConfig({});
  vi.stubEnv('OS_CLIENT_CONFIG_FILE', join(folder, 'clouds.yaml'));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await sim.close();
  rmSync(folder, { recursive: true, force: true });
});

function writeConfig(more: object): void {
  const children = { east: { cloud: 'one', zones: { east: 'nova' } } };
  writeFileSync(config, stringify({ data_dir: folder, database: { url: db.url }, children, ...more }));
}

/** What a command prints, and its exit status. */
async function run(command: () => Promise<number>): Promise<{ status: number; out: string }> {
  let out = '';
  const written = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    out += String(chunk);
    return true;
  });
  try {
    return { status: await command(), out };
  } finally {
    written.mockRestore();
  }
}

describe('the commands for looking on', () => {
  it('check ends with 0 where everything essential is there, and with 1 where not', async () => {
    const whole = await run(() => check([], { config }));
    expect(whole.status).toBe(0);
    expect(whole.out).toContain('Nothing essential is missing');
    writeConfig({ children: { east: { cloud: 'one', zones: { east: 'nowhere' } } } });
    const lacking = await run(() => check(['east'], { config, json: true }));
    expect(lacking.status).toBe(1);
    expect(JSON.parse(lacking.out)).toMatchObject({ whole: false, children: [{ child: 'east', zones: ['east'] }] });
    writeConfig({});
    await expect(check(['west'], { config })).rejects.toThrow('the configuration has no child west (it has: east)');
  });

  it('trace reads the database of a parent', async () => {
    const { id } = await make('alice', 'network', { name: 'n' });
    const found = await run(() => printedTrace('network', id, { config, json: true }));
    expect(found.status).toBe(0);
    expect(JSON.parse(found.out)).toMatchObject({ kind: 'network', id, differences: 0 });
    expect((await run(() => printedTrace('network', id, { config }))).out).toContain(`network "n"  ${id}`);
    await expect(printedTrace('router', id, { config })).rejects.toThrow(`the parent has no router ${id}`);
    writeConfig({ database: {} });
    await expect(printedTrace('network', id, { config })).rejects.toThrow('holds no parent yet');
  });
});
