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

describe('constraints between the targets of a batch', () => {
  /** Seeded, so that a failure can be repeated. */
  const random = (seed: number) => () => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648;

  it.each(Array.from({ length: 60 }, (_, seed) => seed))('never two of one shard or zone at once (seed %i)', (seed) => {
    const next = random(seed + 1);
    const paths = Array.from({ length: 1 + Math.floor(next() * 60) }, (_, n) => `host/h${n}`);
    const labels = Object.fromEntries(
      paths.map((path) => [
        path,
        {
          rack: `r${Math.floor(next() * 3)}`,
          ...(next() < 0.9 ? { shard: `s${Math.floor(next() * 12)}` } : {}),
          zone: `z${Math.floor(next() * 8)}`,
        },
      ]),
    );
    const size = 1 + Math.floor(next() * 6);
    const canary = Math.floor(next() * 3);
    const spread = ['${resource.labels.shard}', '${resource.labels.zone}'];
    const batches = planBatches(paths, labels, { by: '${resource.labels.rack}', spread, size, canary });
    expect(batches.flat().sort()).toEqual([...paths].sort());
    for (const batch of batches) {
      expect(batch.length).toBeGreaterThan(0);
      expect(batch.length).toBeLessThanOrEqual(Math.max(size, canary));
      for (const key of ['shard', 'zone', 'rack'] as const) {
        const values = batch.map((path) => labels[path]![key] ?? 'unknown');
        expect(new Set(values).size).toBe(key === 'rack' ? 1 : values.length);
      }
    }
  });

  it('grows after each batch, up to a bound', () => {
    const paths = Array.from({ length: 40 }, (_, n) => `host/h${n}`);
    expect(planBatches(paths, {}, { canary: 1, size: 2, ramp: { max: 12 } }).map((one) => one.length)).toEqual([
      1, 2, 4, 8, 12, 12, 1,
    ]);
  });
});
