import { expect, it } from 'vitest';
import { silent } from '../testing/api.ts';
import { believable } from './vanished.ts';

it('a child that lost a few things is believed, one that lost most of many is not', () => {
  const what = { child: 'east', kind: 'server', log: silent };
  expect(believable(3, 3, what)).toBe(true);
  expect(believable(20, 20, what)).toBe(true);
  expect(believable(21, 21, what)).toBe(false);
  expect(believable(30, 100, what)).toBe(true);
  expect(believable(51, 100, what)).toBe(false);
});
