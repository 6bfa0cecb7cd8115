import { describe, expect, it } from 'vitest';
import { durationMs, isDuration, printDuration } from './duration.js';

describe('durations', () => {
  it.each([
    ['0s', 0],
    ['250ms', 250],
    ['90s', 90_000],
    ['1h30m', 5_400_000],
    ['1d2h3m4s5ms', 93_784_005],
  ])('%s is %i ms', (text, ms) => expect(durationMs(text)).toBe(ms));

  it.each(['', '5', 's', '-1s', '1.5s', '1 s', '1s ', 'PT1M', '1w', '367d'])('%j is refused with an example', (text) =>
    expect(() => durationMs(text)).toThrow(/duration|year/),
  );

  it.each([0, 1, 999, 1_000, 90_000, 5_400_000, 93_784_005])('%i ms prints to what parses back', (ms) =>
    expect(durationMs(printDuration(ms))).toBe(ms),
  );

  it('can be asked about without an error', () => {
    expect(isDuration('5m')).toBe(true);
    expect(isDuration('soon')).toBe(false);
  });
});
