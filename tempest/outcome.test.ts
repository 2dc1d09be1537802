import { describe, expect, it } from 'vitest';
import { readAccepted } from './accepted.ts';
import { readOptions } from './options.ts';
import { bareName, type Outcome, outcomesOf } from './outcome.ts';
import { comparison, differences, interopRequired, summary } from './report.ts';
import type { Run } from './run.ts';

const GOOD = 'tempest.api.network.test_networks.NetworksTest.test_good';
const BAD = 'tempest.api.network.test_networks.NetworksTest.test_bad';
const SKIPPED = 'tempest.api.network.admin.test_routers_dvr.RoutersTestDVR.test_one';
const BROKEN = 'tempest.api.network.test_broken.BrokenTest.test_one';
const NEVER = 'tempest.api.network.test_networks.NetworksTest.test_never';

const OUTPUT = `
{0} ${GOOD}[id-1,smoke] [0.122810s] ... ok
{1} setUpClass (tempest.api.network.admin.test_routers_dvr.RoutersTestDVR) ... SKIPPED: dvr extension not enabled.
{1} setUpClass (tempest.api.network.test_broken.BrokenTest) [0.000000s] ... FAILED

Captured traceback:
~~~~~~~~~~~~~~~~~~~
    Traceback (most recent call last):

      File "/usr/lib/python3/dist-packages/tempest/test.py", line 1, in setUpClass
    raise value

    tempest.lib.exceptions.ServerFault: Got server fault
Details: Request Failed: internal server error.

{0} ${BAD} [0.4s] ... FAILED

Captured traceback:
~~~~~~~~~~~~~~~~~~~
    Traceback (most recent call last):
    raise exceptions.BadRequest(resp_body, resp=resp)

    tempest.lib.exceptions.BadRequest: Bad request
Details: {'type': 'ExternalIpAddressExhausted', 'message': 'No address.', 'detail': ''}


Captured traceback-1:
~~~~~~~~~~~~~~~~~~~~~
    tempest.lib.exceptions.Conflict: it could not be cleaned up

Captured pythonlogging:
~~~~~~~~~~~~~~~~~~~~~~~
    tempest.lib.exceptions.Conflict: this line is of the log
`;

const run = (outcomes: Record<string, Outcome>, tests = Object.keys(outcomes)): Run => ({
  tests,
  outcomes: new Map(Object.entries(outcomes)),
  duration_ms: 61_000,
});
const passed: Outcome = { verdict: 'passed', reason: '' };

describe("Tempest's output", () => {
  const outcomes = outcomesOf([GOOD, BAD, SKIPPED, BROKEN, NEVER], OUTPUT);

  it('tells what became of each test, those of a whole class too', () => {
    expect(Object.fromEntries(outcomes)).toEqual({
      [GOOD]: passed,
      [BAD]: {
        verdict: 'failed',
        reason:
          "BadRequest: Bad request Details: {'type': 'ExternalIpAddressExhausted', 'message': 'No address.', 'detail': ''}",
      },
      [SKIPPED]: { verdict: 'skipped', reason: 'setUpClass: dvr extension not enabled.' },
      [BROKEN]: {
        verdict: 'failed',
        reason: 'setUpClass: ServerFault: Got server fault Details: Request Failed: internal server error.',
      },
    });
  });

  it('is asked by bare names', () => {
    expect(bareName(`${GOOD}[id-1,smoke]\n`)).toBe(GOOD);
  });
});

describe('the report', () => {
  const child = run({ [GOOD]: passed, [BAD]: passed, [SKIPPED]: passed, [BROKEN]: { verdict: 'failed', reason: 'x' } });
  const parent = run({ [GOOD]: passed, [BAD]: { verdict: 'failed', reason: 'Error: no' } }, [GOOD, BAD, NEVER]);
  const accepted = readAccepted('# why\n\n.*RoutersTestDVR.*  not meaningful over a cascade\n');

  it('names what passed at the child alone, with the kept reason or the error', () => {
    expect(differences(child, parent, accepted)).toEqual([
      { test: SKIPPED, reason: 'not meaningful over a cascade', accepted: true },
      { test: BAD, reason: 'failed: Error: no', accepted: false },
    ]);
    expect(differences(child, parent, []).find(({ test }) => test === SKIPPED)?.reason).toBe('was not run');
  });

  it('counts', () => {
    expect(summary('the parent', parent, 'network')).toEqual([
      'passed at the parent: 1 of 3 (1 failed, 0 skipped, 1 not run; 61 s)',
      'interop-required tests passed at the parent: 0 of 64',
    ]);
    expect(comparison(child, differences(child, parent, accepted))).toEqual([
      'of the 3 that passed at the child, 1 passed at the parent (33.3%)',
      'passed at the child and not at the parent, to be mended: 1',
      `  ${BAD}`,
      '    failed: Error: no',
      'passed at the child and not at the parent, with a kept reason: 1',
      `  ${SKIPPED}`,
      '    not meaningful over a cascade',
    ]);
  });

  it('has the required tests of every service', () => {
    const counts = (['network', 'compute', 'identity', 'image', 'volume'] as const).map(
      (one) => interopRequired(one).length,
    );
    expect(counts).toEqual([64, 81, 8, 20, 55]);
  });

  it('keeps no reason without words, and all of the file is read', () => {
    expect(() => readAccepted('tempest.api.network.*')).toThrow('line 1');
    expect(readAccepted().every(({ reason }) => reason.length > 20)).toBe(true);
  });
});

describe('the command line', () => {
  it('selects', () => {
    expect(readOptions(['--service', 'network', '--baseline'])).toMatchObject({
      regex: String.raw`^tempest\.api\.network\.`,
      child: false,
      parent: true,
      baseline: true,
      concurrency: 2,
    });
  });

  it.each([
    [['--service', 'dns'], '--service must be one of'],
    [['--service', 'network', '--concurrency', 'many'], '--concurrency must be'],
    [['--service', 'network', '--child-only', '--parent-only'], '--child-only leaves nothing'],
    [['--service', 'network', '--write-baseline'], '--write-baseline goes with'],
    [['--service', 'network', '--conformance', '/none'], 'there is no proxy.mjs'],
  ])('refuses %j', (args, message) => {
    expect(() => readOptions(args)).toThrow(message);
  });
});
