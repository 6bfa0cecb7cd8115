import type { ScheduleDocument } from '@opsloop/contracts';
import { describe, expect, test } from 'vitest';
import { CATCH_UP_MAX, dueTicks, nextTick, ticksAfter, whenProblem } from './ticks.pure.js';

type When = Parameters<typeof nextTick>[0];
const iso = (ms: number | undefined): string | undefined => (ms === undefined ? undefined : new Date(ms).toISOString());

describe('the next time', () => {
  test.each<[When, string, string | undefined]>([
    [{ every: '5m' }, '2026-11-21T03:01:00Z', '2026-11-21T03:05:00.000Z'],
    [{ every: '5m' }, '2026-11-21T03:05:00Z', '2026-11-21T03:10:00.000Z'],
    [{ cron: '0 3 * * *' }, '2026-11-21T03:00:00Z', '2026-11-22T03:00:00.000Z'],
    [{ cron: '0 3 * * *', zone: 'Asia/Shanghai' }, '2026-11-21T12:00:00Z', '2026-11-21T19:00:00.000Z'],
    [{ cron: '*/15 8-9 * * mon' }, '2026-11-21T03:00:00Z', '2026-11-23T08:00:00.000Z'],
    [{ cron: '@hourly' }, '2026-11-21T03:10:00Z', '2026-11-21T04:00:00.000Z'],
    // 02:30 does not exist in Berlin that night.
    [{ cron: '30 2 * * *', zone: 'Europe/Berlin' }, '2026-03-28T12:00:00Z', '2026-03-29T01:00:00.000Z'],
    [{ cron: '0 0 29 2 *' }, '2026-03-01T00:00:00Z', '2028-02-29T00:00:00.000Z'],
    [
      { rrule: 'FREQ=MONTHLY;BYMONTHDAY=-1', zone: 'Asia/Shanghai' },
      '2026-11-21T00:00:00Z',
      '2026-11-29T16:00:00.000Z',
    ],
  ])('%j after %s', (when, after, expected) => {
    expect(iso(nextTick(when, Date.parse(after)))).toBe(expected);
  });

  test('02:30 that comes twice fires once', () => {
    const ticks = ticksAfter({ cron: '30 2 * * *', zone: 'Europe/Berlin' }, Date.parse('2026-10-24T12:00:00Z'), 2);
    expect(ticks.map(iso)).toEqual(['2026-10-25T00:30:00.000Z', '2026-10-26T01:30:00.000Z']);
  });

  test.each<[When, RegExp]>([
    [{ every: '10ms' }, /too often/],
    [{ cron: '0 25 * * *' }, /^cron/],
    [{ cron: '0 3 * * *', zone: 'Mars/Olympus' }, /^cron/],
    [{ rrule: 'FREQ=SECONDLY' }, /^rrule/],
  ])('%j cannot fire', (when, problem) => {
    expect(whenProblem(when)).toMatch(problem);
  });
  test.each<When>([{ every: '1m' }, { cron: '@daily' }, { rrule: 'FREQ=WEEKLY;BYDAY=MO' }])('%j can', (when) => {
    expect(whenProblem(when)).toBeUndefined();
  });
});

describe('times that are due', () => {
  const minute = 60_000;
  const at = (n: number): number => n * 10 * minute;
  const due = (catchUp: ScheduleDocument['catchUp'], now: number) => {
    const { fire, missed, next } = dueTicks(
      { every: '10m', ...(catchUp === undefined ? {} : { catchUp }) },
      at(1),
      now,
    );
    return [fire.length, missed.length, next === undefined ? undefined : next / at(1)];
  };
  test.each<[ScheduleDocument['catchUp'], number, (number | undefined)[]]>([
    [undefined, at(1) - 1, [0, 0, 1]],
    [undefined, at(1) + 1, [1, 0, 2]],
    ['none', at(1) + minute, [1, 0, 2]],
    ['none', at(1) + minute + 1, [0, 1, 2]],
    ['last', at(3) + 5 * minute, [1, 2, 4]],
    ['last', at(3) + 1, [1, 2, 4]],
    ['all', at(3) + 5 * minute, [3, 0, 4]],
    ['all', at(150), [CATCH_UP_MAX, 50, 151]],
    // Months away: the first thousands are looked at, and it goes on from now.
    ['last', at(10_000), [1, 1_999, 10_001]],
  ])('catchUp %s at %i', (catchUp, now, expected) => {
    expect(due(catchUp, now)).toEqual(expected);
  });
});
