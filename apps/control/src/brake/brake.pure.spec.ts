import type { RuleReach } from '@opsloop/contracts';
import { describe, expect, test } from 'vitest';
import {
  BRAKE_DEFAULT as config,
  type ChangedCount,
  inVain,
  type Pull,
  type StartCount,
  subjectText,
  tooManyStarts,
  tooMuchChanged,
} from './brake.pure.js';

const names = (pulls: readonly Pull[]): string[] => pulls.map((p) => subjectText(p.subject));
const rules = new Map<string, RuleReach>([['r/big', { name: 'r/big', mode: 'active', refs: [], perMinute: 50 }]]);
const starts = (rule: string | null, flow: string, count: number): StartCount => ({ rule, flow, count });

describe('starts within a minute', () => {
  test.each<[string, StartCount[], string[]]>([
    ['twenty are fine', [starts('r/a', 'f/x', 20)], []],
    [
      'the rule is stopped, not the flow that others use',
      [starts('r/a', 'f/x', 21), starts(null, 'f/x', 5)],
      ['rule r/a'],
    ],
    ['over two flows', [starts('r/a', 'f/x', 11), starts('r/a', 'f/y', 11)], ['rule r/a']],
    ['a flow that people start', [starts(null, 'f/x', 21)], ['flow f/x']],
    ['a flow that several start', [starts('r/a', 'f/x', 11), starts('r/b', 'f/x', 10)], ['flow f/x']],
    ['a rule whose budget grants as many', [starts('r/big', 'f/x', 50)], []],
    ['and more than that', [starts('r/big', 'f/x', 51)], ['rule r/big']],
  ])('%s', (_name, counts, expected) => {
    expect(names(tooManyStarts(counts, rules, config))).toEqual(expected);
  });
});

describe('runs in vain', () => {
  const runs = (text: string, rule = 'r/a', flow = 'f/x') => [...text].map((c) => ({ rule, flow, fixed: c === '+' }));
  test.each([
    ['++---', ['rule r/a']],
    ['---', ['rule r/a']],
    ['--', []],
    ['+++--', []],
    ['--+++--', []],
    ['+++++---', []],
  ])('%s, newest first: %j', (text, expected) => {
    expect(names(inVain(runs(text), config))).toEqual(expected);
  });
  test('a flow of two rules, each of them too rarely', () => {
    expect(names(inVain([...runs('--'), ...runs('-', 'r/b')], config))).toEqual(['flow f/x']);
    expect(names(inVain([...runs('--'), ...runs('-', 'r/b', 'f/y')], config))).toEqual([]);
  });
});

describe('a part of all there is', () => {
  const changed = (rule: string | null, n: number, from = 0): ChangedCount[] =>
    Array.from({ length: n }, (_, i) => ({ rule, flow: 'f/x', kind: 'host', path: `host/${from + i}` }));
  test.each<[string, ChangedCount[], number, string[]]>([
    ['a tenth is fine', changed('r/a', 10), 100, []],
    ['more is not', changed('r/a', 11), 100, ['rule r/a']],
    ['of few resources all', changed('r/a', 50), 99, []],
    ['the same ones again count once', [...changed('r/a', 10), ...changed('r/a', 10)], 100, []],
    ['a flow that two rules use', [...changed('r/a', 6), ...changed('r/b', 6, 6)], 100, ['flow f/x']],
    ['a flow that a person starts', changed(null, 11), 100, ['flow f/x']],
  ])('%s', (_name, list, total, expected) => {
    const pulls = tooMuchChanged(list, { host: total }, config);
    expect(names(pulls)).toEqual(expected);
    for (const { reason } of pulls) expect(reason).toContain(`of ${total} resources of kind host`);
  });
});
