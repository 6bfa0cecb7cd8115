import { type Json } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { evaluateCondition, normaliseCondition, toScopeValue, validateLogic, type Scope } from './index.js';
import { compilePattern, PatternError, searchPattern } from './pattern.js';

const search = (pattern: string, text: string, flags = ''): boolean =>
  searchPattern(compilePattern(pattern, flags), text, () => undefined);

/** A small generator of our own: the same patterns each time. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function patternOf(pick: (below: number) => number, depth = 0): string {
  const atoms = [
    'a',
    'b',
    'c',
    '.',
    '[ab]',
    '[^a]',
    '\\d',
    '\\w',
    '\\s',
    '\\.',
    '[a-c]',
    '^',
    '$',
    '\\b',
    'é',
    '😀',
    '\\W',
  ];
  let out = '';
  for (let n = 1 + pick(3); n > 0; n -= 1) {
    const place = ['^', '$', '\\b'];
    const atom = depth < 3 && pick(4) === 0 ? `(?:${patternOf(pick, depth + 1)})` : atoms[pick(atoms.length)]!;
    out += place.includes(atom) ? atom : atom + ['', '', '', '*', '+', '?', '{2}', '{1,3}', '*?', '{2,}'][pick(10)]!;
    if (pick(8) === 0) out += '|';
  }
  return out;
}

const PATTERNS = 400;

describe('patterns', () => {
  it('say the same as the engine of the language, for patterns and texts of chance', () => {
    const pick = random(7);
    const chars = ['a', 'b', 'c', '1', ' ', '.', '\n', 'é', '😀', 'A', '_'];
    let hits = 0;
    for (let n = 0; n < PATTERNS; n += 1) {
      const pattern = patternOf(pick);
      const flags = ['', 'i', 's', 'is'][pick(4)]!;
      const theirs = new RegExp(pattern, `${flags}u`);
      for (let t = 0; t < 4; t += 1) {
        const text = Array.from({ length: pick(9) }, () => chars[pick(chars.length)]).join('');
        const ours = search(pattern, text, flags);
        expect(ours, JSON.stringify({ pattern, flags, text })).toBe(theirs.test(text));
        hits += Number(ours);
      }
    }
    // Both answers were asked for.
    expect(hits).toBeGreaterThan(PATTERNS / 2);
    expect(hits).toBeLessThan(PATTERNS * 4 - PATTERNS / 2);
  });

  it.each(['(a+)+$', '(a|a)*b', '(a*)*b', '(.*a){12}', '([a-z]+)+[0-9]', '(a?){50}a{50}'])(
    'no text keeps %s busy',
    (pattern) => {
      const began = performance.now();
      search(pattern, `${'a'.repeat(5_000)}!`);
      // Backtracking would take longer than the age of the world; this is some 10 ms on an idle machine.
      expect(performance.now() - began).toBeLessThan(5_000);
    },
  );

  it.each([
    ['(a', 'missing closing'],
    ['a)', 'unexpected'],
    ['[a', 'missing closing'],
    ['[]', 'missing closing'],
    ['[b-a]', 'range'],
    ['*a', 'missing argument'],
    ['a**', 'repetition'],
    ['a{3,2}', 'repeat count'],
    ['a{1001}', 'repeat count'],
    ['((a{50}){50}){50}', 'repeat count'],
    ['(?:(?:ab|cd)?){999}', 'states'],
    ['(?=a)', 'look-around'],
    ['(?<!a)', 'look-around'],
    ['\\1', 'back references'],
    ['a\\', 'backslash'],
    ['a'.repeat(501), 'longer'],
  ])('%s is refused: %s', (pattern, said) => {
    expect(() => compilePattern(pattern)).toThrow(PatternError);
    expect(() => compilePattern(pattern)).toThrow(said);
    expect(validateLogic({ matches: [{ var: 'a' }, pattern] })).toMatchObject([
      { code: 'OPS1415', pointer: '/matches/1' },
    ]);
  });
});

/** Whatever a criterion of StackStorm can ask, in one condition of ours. `trigger` there is `event.data` here. */
const STACKSTORM: [operator: string, condition: string, holds: Json, fails: Json][] = [
  ['equals', "event.data.x == 'a'", 'a', 'b'],
  ['nequals', "event.data.x != 'a'", 'b', 'a'],
  ['iequals', "lower(event.data.x) == 'web'", 'WEB', 'db'],
  ['ineq', "lower(event.data.x) != 'web'", 'db', 'WEB'],
  ['contains', "'eb' in event.data.x", 'web', 'db'],
  ['contains (list)', "'a' in event.data.x", ['a', 'b'], ['b']],
  ['icontains', "'eb' in lower(event.data.x)", 'WEB', 'DB'],
  ['ncontains', "not ('eb' in event.data.x)", 'db', 'web'],
  ['incontains', "not ('eb' in lower(event.data.x))", 'DB', 'WEB'],
  ['startswith', "startsWith(event.data.x, 'we')", 'web', 'db'],
  ['istartswith', "startsWith(lower(event.data.x), 'we')", 'WEB', 'DB'],
  ['endswith', "endsWith(event.data.x, 'eb')", 'web', 'db'],
  ['iendswith', "endsWith(lower(event.data.x), 'eb')", 'WEB', 'DB'],
  ['lessthan', 'event.data.x < 3', 2, 3],
  ['greaterthan', 'event.data.x > 3', 4, 3],
  ['(at most, at least: not there)', 'event.data.x <= 3 and event.data.x >= 1', 3, 4],
  ['(between: not there)', '1 < event.data.x < 3', 2, 3],
  ['matchwildcard', "like(event.data.x, 'web-*')", 'web-12', 'db-1'],
  ['matchregex', "matches(event.data.x, '^web-.*$', 's')", 'web-\n1', 'db-1'],
  ['regex', "matches(event.data.x, 'b-[0-9]+')", 'web-12', 'web-'],
  ['iregex', "matches(event.data.x, 'web', 'i')", 'a WEB', 'a db'],
  ['timediff_lt', 'seconds(now()) - seconds(event.data.x) < 60', '2026-01-01T00:00:30Z', '2025-12-31T00:00:00Z'],
  ['timediff_gt', 'seconds(now()) - seconds(event.data.x) > 60', '2025-12-31T00:00:00Z', '2026-01-01T00:00:30Z'],
  ['exists', 'event.data.x != null', 'a', null],
  ['nexists', 'event.data.x == null', null, 'a'],
  ['inside', "event.data.x in ['a', 'b']", 'a', 'c'],
  ['ninside', "not (event.data.x in ['a', 'b'])", 'c', 'a'],
  ['search any', "some(event.data.x, k == 'disk')", [{ k: 'cpu' }, { k: 'disk' }], [{ k: 'cpu' }]],
  ['search all', "all(event.data.x, k == 'disk')", [{ k: 'disk' }], [{ k: 'disk' }, { k: 'cpu' }]],
  ['search any2any', "overlaps(event.data.x, ['a', 'b'])", ['b', 'c'], ['c']],
  ['search all2all', "subset(event.data.x, ['a', 'b'])", ['a'], ['a', 'c']],
  ['(set operations: not there)', "length(without(event.data.x, ['a'])) == 1", ['a', 'b'], ['a']],
  ['(set operations: not there) ', "intersect(event.data.x, ['a', 'b']) == ['b']", ['b', 'c'], ['c']],
];

it.each(STACKSTORM)('what StackStorm asks with %s: %s', (_operator, condition, holds, fails) => {
  const logic = normaliseCondition(condition);
  const ask = (x: Json): boolean =>
    evaluateCondition(logic, toScopeValue({ event: { data: { x } }, now: '2026-01-01T00:01:00Z' }) as Scope);
  expect(validateLogic(logic)).toEqual([]);
  expect([ask(holds), ask(fails)]).toEqual([true, false]);
});
