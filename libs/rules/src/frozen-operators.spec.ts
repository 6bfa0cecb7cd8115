import { OpsError, type Json } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { evaluateLogic, OPERATORS, toScopeValue, validateLogic, type Scope } from './index.js';

const scope = toScopeValue({
  vars: { limit: 2, none: null },
  list: [1, 2, 3],
  object: { a: 1, 'b.c': null },
  flow: { now: '2026-01-01T00:01:00Z' },
}) as Scope;
const outcome = (logic: Json): Json => {
  try {
    return evaluateLogic(logic, scope);
  } catch (error) {
    return error instanceof OpsError ? `!${error.code}` : `?${String(error)}`;
  }
};

/** What each of our own operators gives, and what it refuses instead of answering null. */
const TABLE: Record<string, { gives: [Json, Json][]; refuses: Json[] }> = {
  length: {
    gives: [
      [{ var: 'list' }, 3],
      ['äb', 2],
      [{ var: 'object' }, 2],
      [[[]], 0],
    ],
    refuses: [3, null, true, { var: 'vars.none' }],
  },
  keys: { gives: [[{ var: 'object' }, ['a', 'b.c']]], refuses: [{ var: 'list' }, 'x', 1, null] },
  get: {
    gives: [
      [[{ var: 'object' }, 'a'], 1],
      [[{ var: 'object' }, 'b.c'], null],
      [[{ var: 'object' }, 'nope', 7], 7],
      [[{ var: 'list' }, 1], 2],
      [[{ var: 'list' }, 'length', 'none'], 'none'],
      [['text', 'length', 'none'], 'none'],
    ],
    refuses: [
      [{ var: 'object' }, null],
      [{ var: 'object' }, { var: 'list' }],
    ],
  },
  ceil: { gives: [[1.1, 2]], refuses: ['1', null, { var: 'list' }] },
  floor: { gives: [[1.9, 1]], refuses: ['1', null, true] },
  round: { gives: [[1.5, 2]], refuses: ['1', null, {}] },
  '??': {
    gives: [
      [[{ var: 'nope' }, { var: 'vars.none' }, 7], 7],
      [[false, 7], false],
      [[0, 7], 0],
      [[null, null], null],
    ],
    refuses: [],
  },
  startsWith: {
    gives: [[['abc', 'ab'], true]],
    refuses: [
      [1, '1'],
      ['a', null],
      [null, 'a'],
    ],
  },
  endsWith: {
    gives: [[['abc', 'ab'], false]],
    refuses: [
      [1, '1'],
      ['a', null],
    ],
  },
  lower: { gives: [['ÄB', 'äb']], refuses: [1, null] },
  like: {
    gives: [
      [['host/dc1/web-042', 'host/*/web-*'], true],
      [['web-1', 'web-?'], true],
      [['web-12', 'web-?'], false],
      [['web-b', 'web-[a-c]'], true],
      [['web-b', 'web-[!a-c]'], false],
      [['a.b', 'a?b'], true],
      [['axb', 'a.b'], false],
      [['(a|b)', '(a|b)'], true],
    ],
    refuses: [
      [1, '*'],
      [null, '*'],
      ['a', null],
    ],
  },
  matches: {
    gives: [
      [['disk sda1 full', 'sd[a-z]\\d+'], true],
      [['WEB-1', '^web-'], false],
      [['WEB-1', '^web-', 'i'], true],
      [['a\nb', 'a.b'], false],
      [['a\nb', 'a.b', 's'], true],
    ],
    refuses: [
      [1, 'a'],
      [null, 'a'],
      ['a', null],
      ['a', '(a'],
      ['a', '(?=a)'],
      ['aa', '(a)\\1'],
      ['a', 'a', 'g'],
      ['x'.repeat(10_001), 'a'],
    ],
  },
  overlaps: {
    gives: [
      [
        [
          ['a', 'b'],
          ['b', 'c'],
        ],
        true,
      ],
      [[['a'], []], false],
      [[[['x', 1]], [['x', 1]]], true],
    ],
    refuses: [
      ['a', ['a']],
      [['a'], null],
    ],
  },
  subset: {
    gives: [
      [[['a'], ['b', 'a']], true],
      [[[], ['a']], true],
      [
        [
          ['a', 'c'],
          ['a', 'b'],
        ],
        false,
      ],
    ],
    refuses: [[['a'], 'a']],
  },
  intersect: {
    gives: [
      [
        [
          ['a', 'b', 'c'],
          ['c', 'a'],
        ],
        ['a', 'c'],
      ],
    ],
    refuses: [[null, ['a']]],
  },
  without: {
    gives: [
      [
        [
          ['a', 'b', 'c'],
          ['c', 'a'],
        ],
        ['b'],
      ],
    ],
    refuses: [[['a'], 1]],
  },
  semver: {
    gives: [
      [['1.4.2', '^1.2'], true],
      [['2.0.0', '<2'], false],
    ],
    refuses: [
      ['1.4', '^1'],
      ['1.4.2', 'new'],
      [1, '^1'],
      ['1.4.2', null],
    ],
  },
  ipInCidr: {
    gives: [
      [['10.1.2.3', '10.0.0.0/8'], true],
      [['::ffff:10.1.2.3', '10.0.0.0/8'], true],
      [['fd00::1', '10.0.0.0/8'], false],
    ],
    refuses: [
      ['10.1', '10.0.0.0/8'],
      ['10.1.2.3', '10.0.0.0'],
      [null, '10.0.0.0/8'],
      ['web-1', '10.0.0.0/8'],
      ['012.1.1.1', '10.0.0.0/8'],
      ['167837954', '10.0.0.0/8'],
      ['10.1.2.3', '10/8'],
    ],
  },
  seconds: {
    gives: [
      ['1m30s', 90],
      ['2026-01-01T00:00:00Z', 1_767_225_600],
    ],
    refuses: ['soon', '2026', 90, null],
  },
  now: { gives: [[[], '2026-01-01T00:01:00Z']], refuses: [] },
  percentOf: {
    gives: [[[1, 4], 25]],
    refuses: [
      [1, 0],
      ['1', 4],
      [1, null],
    ],
  },
  root: {
    gives: [
      ['vars.limit', 2],
      [['vars.nope', 5], 5],
    ],
    refuses: ['vars.constructor', 'a..b'],
  },
};

describe('the operators of the language', () => {
  it.each(Object.entries(TABLE))('%s', (op, { gives, refuses }) => {
    expect(OPERATORS.has(op)).toBe(true);
    for (const [args, result] of gives) expect(outcome({ [op]: args }), JSON.stringify(args)).toEqual(result);
    for (const args of refuses) expect(outcome({ [op]: args }), JSON.stringify(args)).toBe('!expression');
  });

  it('are these and those of JSONLogic, each with its number of arguments', () => {
    const jsonLogic =
      'if ?: and or filter map reduce all none some ! !! * - / % min max cat merge var missing missing_some == != === !== < <= > >= in + substr';
    expect([...OPERATORS.keys()].sort()).toEqual([...jsonLogic.split(' '), ...Object.keys(TABLE)].sort());
    for (const [op, { arity }] of OPERATORS) {
      const args = (count: number): Json => ({ [op]: Array.from({ length: count }, () => 'a') });
      if (arity[0] > 0) expect(validateLogic(args(arity[0] - 1)), op).not.toEqual([]);
      if (arity[1] < 100) expect(validateLogic(args(arity[1] + 1)), op).not.toEqual([]);
      expect(validateLogic(args(arity[0])), op).toEqual([]);
    }
  });

  it('of an iterator see the item, and the document through root', () => {
    const over: Json = { filter: [{ var: 'list' }, { '>=': [{ var: '' }, { root: 'vars.limit' }] }] };
    expect(outcome(over)).toEqual([2, 3]);
    expect(outcome({ filter: [{ var: 'list' }, { '>=': [{ var: '' }, { var: 'vars.limit' }] }] })).toBe('!expression');
  });

  it('stop at their bounds: depth 32, 2,000 nodes, 100,000 steps, 1 MB', () => {
    const deep = (n: number): Json => (n === 0 ? 1 : { '!!': [deep(n - 1)] });
    expect(validateLogic(deep(15))).toEqual([]);
    expect(outcome(deep(40))).toBe('!expression');
    const wide = (n: number): Json => ({ '+': Array.from({ length: n }, () => 1) });
    expect(outcome(wide(1_990))).toBe(1_990);
    expect(outcome(wide(2_000))).toBe('!expression');
    const items = toScopeValue({ l: Array.from({ length: 20_000 }, (_, i) => i) }) as Scope;
    expect(evaluateLogic({ length: { map: [{ var: 'l' }, { var: '' }] } }, items)).toBe(20_000);
    expect(() => evaluateLogic({ map: [{ var: 'l' }, { '+': [1, 2, 3, { var: '' }] }] }, items)).toThrow(/steps/);
    const text = toScopeValue({ t: 'x'.repeat(400_000) }) as Scope;
    expect(() => evaluateLogic({ cat: [{ var: 't' }, { var: 't' }, { var: 't' }] }, text)).toThrow(/characters/);
  });
});
