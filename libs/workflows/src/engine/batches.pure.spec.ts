import { describe, expect, it } from 'vitest';
import type { RampSpec } from './batches.pure.js';
import { batchSize, exceeds, RollingBatches, splitBatches } from './batches.pure.js';

const keys = (n: number): string[] => Array.from({ length: n }, (_, i) => `k${i + 1}`);

describe('batchSize', () => {
  it.each([
    [3, 10, 3],
    ['3', 10, 3],
    ['10%', 40, 4],
    ['10%', 19, 1],
    ['1%', 5, 1],
    ['33%', 10, 3],
    [0, 10, 1],
  ])('%s of %i is %i', (size, total, expected) => expect(batchSize(size, total)).toBe(expected));
  it.each(['ten', '-1', '%', '1.5'])('refuses %s', (size) => expect(() => batchSize(size, 10)).toThrow('batch size'));
});

describe('splitBatches', () => {
  it.each([
    ['no spec', 3, undefined, ['k1 k2 k3']],
    ['nothing', 0, { size: 2 }, []],
    ['size', 5, { size: 2 }, ['k1 k2', 'k3 k4', 'k5']],
    ['canary first, percent of all', 10, { canary: 1, size: '30%' }, ['k1', 'k2 k3 k4', 'k5 k6 k7', 'k8 k9 k10']],
    ['canary alone', 3, { canary: 1 }, ['k1', 'k2 k3']],
    ['canary above all', 2, { canary: 5, size: 1 }, ['k1 k2']],
    ['max caps', 7, { size: '100%', max: 3 }, ['k1 k2 k3', 'k4 k5 k6', 'k7']],
    [
      'plan, unknown keys dropped, the rest after it',
      4,
      { plan: [['k3'], ['gone', 'k1']], size: 1 },
      ['k3', 'k1', 'k2', 'k4'],
    ],
    ['plan capped', 4, { plan: [['k1', 'k2', 'k3', 'k4']], max: 3 }, ['k1 k2 k3', 'k4']],
    ['a key twice in the plan', 2, { plan: [['k1'], ['k1', 'k2']] }, ['k1', 'k2']],
  ])('%s', (_name, n, spec, expected) => {
    expect(splitBatches(keys(n), spec).map((batch) => batch.join(' '))).toEqual(expected);
  });
});

describe('batches that follow the outcome of the one before', () => {
  /** Sizes of the batches; of each the number of its items that fail is asked. */
  const walk = (plan: string[][], ramp: RampSpec | undefined, fails: (nth: number) => number): number[] => {
    const batches = new RollingBatches(plan, ramp);
    const sizes: number[] = [];
    const seen: string[] = [];
    for (let keys = batches.next(); keys !== undefined; keys = batches.next()) {
      sizes.push(keys.length);
      seen.push(...keys);
      batches.ended(fails(sizes.length));
    }
    // Everything once, in the order of the plan, and no batch has items of two planned ones.
    expect(seen).toEqual(plan.flat());
    expect(batches.count).toBe(sizes.length);
    return sizes;
  };
  const planOf = (...sizes: number[]): string[][] => {
    const all = keys(sizes.reduce((a, b) => a + b, 0));
    return sizes.map((size) => all.splice(0, size));
  };
  it.each<[string, number[], RampSpec | undefined, number[], number[]]>([
    ['as planned without a ramp, whatever fails', [1, 4, 4], undefined, [1, 2, 3], [1, 4, 4]],
    ['as planned while nothing fails', [1, 4, 8], {}, [], [1, 4, 8]],
    ['half after failures, and back', [1, 8, 8, 8], {}, [2], [1, 8, 4, 4, 8]],
    ['two failures in a row', [8, 8], {}, [1, 2], [8, 4, 2, 2]],
    ['at least one', [2, 3], {}, [1, 2, 3, 4], [2, 1, 1, 1]],
    ['its own factors', [9, 9], { grow: 3, shrink: 4 }, [1], [9, 2, 6, 1]],
    ['grows by one at least', [4, 6], { grow: 1.2, shrink: 4 }, [1], [4, 1, 2, 3]],
    ['stays small with a factor of one', [4, 4], { grow: 1 }, [1], [4, 2, 2]],
  ])('%s', (_name, plan, ramp, failing, expected) =>
    expect(walk(planOf(...plan), ramp, (nth) => (failing.includes(nth) ? 1 : 0))).toEqual(expected),
  );
});

describe('exceeds', () => {
  it.each([
    [undefined, 0, 10, false],
    [undefined, 1, 10, true],
    [{ failures: 1 }, 1, 10, false],
    [{ failures: 1 }, 2, 10, true],
    [{ percent: 10 }, 1, 10, false],
    [{ percent: 10 }, 2, 10, true],
    [{ failures: 5, percent: 10 }, 2, 10, true],
    [{ failures: 1, percent: 90 }, 2, 10, true],
    [{}, 1, 10, true],
  ])('%j with %i of %i failed: %s', (tolerate, failed, total, expected) =>
    expect(exceeds(tolerate, failed, total)).toBe(expected),
  );
});
