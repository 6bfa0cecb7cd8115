import { describe, expect, it } from 'vitest';
import { batchSize, exceeds, splitBatches } from './batches.pure.js';

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
