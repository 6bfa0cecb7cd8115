import { describe, expect, it } from 'vitest';
import { sizeOf, take } from './token-bucket.pure.js';
import type { Bucket } from './token-bucket.pure.js';

const SIZE = { perSecond: 10, burst: 20 };

describe('a token bucket', () => {
  it.each<[string, Bucket | undefined, number, number, number]>([
    ['a new sender may send its burst', undefined, 20, 0, 0],
    ['more than the burst at once: when it is full', undefined, 50, 0, 0],
    ['empty: wait for it', { tokens: 0, at: 0 }, 5, 0, 1],
    ['empty: wait longer for more', { tokens: 0, at: 0 }, 20, 0, 2],
    ['filled since', { tokens: 0, at: 0 }, 20, 2_000, 0],
    ['never above the burst', { tokens: 0, at: 0 }, 20, 3_600_000, 0],
    ['in debt after a large one', { tokens: -30, at: 0 }, 1, 1_000, 3],
    ['a clock that went back', { tokens: 5, at: 5_000 }, 5, 0, 0],
  ])('%s', (_what, bucket, cost, now, wait) => {
    expect(take(bucket, SIZE, cost, now).waitSec).toBe(wait);
  });

  it('lets through the rate in the long run', () => {
    let bucket: Bucket | undefined;
    let sent = 0;
    for (let ms = 0; ms < 60_000; ms += 10) {
      const turn = take(bucket, SIZE, 1, ms);
      bucket = turn.bucket;
      if (turn.waitSec === 0) sent += 1;
    }
    expect(sent).toBeGreaterThanOrEqual(60 * 10);
    expect(sent).toBeLessThanOrEqual(60 * 10 + 21);
  });

  it('takes ten seconds for a burst where none is said', () => {
    expect([sizeOf({ perSecond: 100 }), sizeOf({ perSecond: 0.05 })]).toEqual([
      { perSecond: 100, burst: 1_000 },
      { perSecond: 0.05, burst: 1 },
    ]);
  });
});
