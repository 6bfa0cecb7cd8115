import type { RuleBatch } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { planBatches } from './plan-batches.js';

const hosts = (count: number): string[] => Array.from({ length: count }, (_, i) => `host/${i}`);
const sizes = (batches: string[][]): number[] => batches.map((b) => b.length);

describe('planBatches', () => {
  it.each<[string, number, RuleBatch, number[]]>([
    ['nothing to do', 0, { canary: 1 }, []],
    ['no size: all at once', 5, {}, [5]],
    ['percent is rounded down', 12, { size: '20%' }, [2, 2, 2, 2, 2, 2]],
    ['percent is at least one', 4, { size: '20%' }, [1, 1, 1, 1]],
    ['canary first, not counted in the percentage', 11, { canary: 1, size: '20%' }, [1, 2, 2, 2, 2, 2]],
    ['max caps', 10, { size: '100%', max: 4 }, [4, 4, 2]],
    ['max caps the canary', 5, { canary: 3, max: 2 }, [2, 2, 1]],
    ['max without a size', 5, { max: 2 }, [2, 2, 1]],
    ['fixed size', 5, { size: 2 }, [2, 2, 1]],
    ['canary larger than all', 2, { canary: 5 }, [2]],
  ])('%s', (_, count, batch, expected) => {
    expect(sizes(planBatches(hosts(count), {}, batch))).toEqual(expected);
    expect(planBatches(hosts(count), {}, batch).flat()).toEqual(hosts(count));
  });

  it('finishes one failure domain before the next begins, and never mixes two', () => {
    const labels = Object.fromEntries(hosts(6).map((path, i) => [path, { rack: `r${i % 2}` }]));
    const batch = { by: '${resource.labels.rack}', canary: 1, size: 2 };
    expect(planBatches(hosts(6), labels, batch)).toEqual([
      ['host/0'],
      ['host/2', 'host/4'],
      ['host/1', 'host/3'],
      ['host/5'],
    ]);
  });

  it('takes targets without the label for one domain', () => {
    expect(planBatches(['a/1', 'a/2'], { 'a/1': { rack: 'r' } }, { by: '${resource.labels.rack}' })).toEqual([
      ['a/1'],
      ['a/2'],
    ]);
  });
});
