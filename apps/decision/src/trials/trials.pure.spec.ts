import type { Act, Outcome } from '@opsloop/contracts';
import { describe, expect, test } from 'vitest';
import { bucketOf } from '../decide/sides.pure.js';
import { compareActs, countCases } from './agreement.pure.js';
import { breachOf, figuresOf } from './rollout.pure.js';

const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
const act = (minute: number, path: string, ref = 'fleet/go@1', more: Partial<Act> = {}): Act => ({
  ...{ at: at(minute), path, ref, tier: 'P2', by: 'watched' },
  ...more,
});
const did = (minute: number, path: string, ref?: string, more: Partial<Act> = {}): Act =>
  act(minute, path, ref, { by: 'rule', ...more });

describe('cases of two that judge the same', () => {
  test.each<[string, Act[], Act[], [Outcome, string[]?][]]>([
    ['the same work', [act(0, 'a')], [did(0, 'a')], [['agreed']]],
    ['other work', [act(0, 'a', 'fleet/stop@1')], [did(0, 'a')], [['differently', ['ref']]]],
    ['another tier', [act(0, 'a')], [did(0, 'a', undefined, { tier: 'P0' })], [['differently', ['tier']]]],
    ['nobody else', [act(0, 'a')], [], [['more']]],
    ['only the other', [], [did(0, 'a')], [['less']]],
    ['another resource', [act(0, 'b')], [did(0, 'a')], [['less'], ['more']]],
    // A source repeats itself for a quarter of an hour and longer: one case while it goes on.
    ['a person some minutes later', [act(0, 'a'), act(10, 'a'), act(20, 'a')], [did(30, 'a')], [['agreed']]],
    ['a person an hour later', [act(0, 'a')], [did(60, 'a')], [['less'], ['more']]],
    // Runs by hand name no range and have no tier of the rule.
    ['by hand', [act(0, 'a')], [did(5, 'a', 'fleet/go', { by: 'person', tier: 'P3' })], [['agreed']]],
    ['an atom by hand', [act(0, 'a', 'fleet.go@1')], [did(5, 'a', 'atom/fleet.go', { by: 'person' })], [['agreed']]],
    ['two cases, two acts', [act(0, 'a'), act(60, 'a')], [did(1, 'a'), did(61, 'a')], [['agreed'], ['agreed']]],
  ])('%s', (_what, tried, others, expected) => {
    const cases = compareActs(tried, others);
    expect(cases.map(({ outcome, members }) => (members === undefined ? [outcome] : [outcome, members]))).toEqual(
      expect.arrayContaining(expected),
    );
    expect(cases).toHaveLength(expected.length);
    // The order in which rows come must not matter.
    expect(compareActs([...tried].reverse(), [...others].reverse())).toEqual(cases);
  });

  test('are counted by tier', () => {
    const cases = compareActs([act(0, 'a'), act(0, 'b', undefined, { tier: 'P0' })], [did(0, 'a'), did(0, 'c')]);
    expect(countCases(cases)).toEqual({
      cases: 3,
      percent: 33,
      agreed: { count: 1, byTier: { P2: 1 } },
      more: { count: 1, byTier: { P0: 1 } },
      less: { count: 1, byTier: { P2: 1 } },
      differently: { count: 0, byTier: {} },
    });
    expect(countCases([])).toMatchObject({ cases: 0 });
    expect(countCases([])).not.toHaveProperty('percent');
  });
});

test.each([
  ['++++++++++', {}, false],
  ['--++++++++', {}, false],
  ['---+++++++', {}, true],
  // Older than the last ten.
  ['--++++++++-', {}, false],
  ['-', { failures: 1 }, true],
  ['-++-', { failures: 2, of: 3 }, false],
])('%s with %j is taken back: %s', (text, state, back) => {
  const figures = figuresOf(
    [...text].map((c) => c === '+'),
    (state as { of?: number }).of,
  );
  expect(breachOf(figures, { percent: 10, ...state }) !== undefined).toBe(back);
});

test('a share takes the same resources each time, grows around them, and is about as large as it says', () => {
  const hosts = Array.from({ length: 2_000 }, (_, n) => `host/dc1/r${n % 20}/h${n}`);
  const share = (percent: number): string[] => hosts.filter((path) => bucketOf('fleet/down', path) < percent);
  expect(share(10)).toEqual(share(10));
  expect(share(50)).toEqual(expect.arrayContaining(share(10)));
  expect(share(100)).toHaveLength(hosts.length);
  expect(share(0)).toEqual([]);
  expect(share(10).length).toBeGreaterThan(140);
  expect(share(10).length).toBeLessThan(260);
  // Two rules do not try their versions on the same hosts.
  expect(share(10)).not.toEqual(hosts.filter((path) => bucketOf('fleet/slow', path) < 10));
});
