import { describe, expect, test } from 'vitest';
import { demotionOf, type Level, type RunResult } from './autonomy.pure.js';

const RESULTS: Record<string, RunResult> = { '+': 'fixed', '-': 'not-fixed', p: 'overridden' };
describe('a rule loses its autonomy', () => {
  test.each<[Level, string, Level | undefined]>([
    ['auto', '++---', 'approval'],
    ['auto', '+++--', undefined],
    ['auto', '--', undefined],
    ['auto', '---', 'approval'],
    ['auto', '+-p+p', 'approval'],
    ['auto', '+++++----', undefined],
    ['approval', '---++', 'shadow'],
    ['shadow', '-----', undefined],
  ])('%s with %s, newest first: %s', (level, text, to) => {
    expect(
      demotionOf(
        level,
        [...text].map((c) => RESULTS[c]!),
      )?.to,
    ).toBe(to);
  });
  test('and is told with the figures', () => {
    expect(demotionOf('auto', ['not-fixed', 'overridden', 'fixed', 'not-fixed'])).toMatchObject({
      why: 'of its last 4 verified runs 1 brought what they were for, 2 did not, 1 ended by people',
      figures: { fixed: 1, 'not-fixed': 2, overridden: 1, of: 4 },
    });
  });
});
