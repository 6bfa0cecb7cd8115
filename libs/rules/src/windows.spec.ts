import { describe, expect, it } from 'vitest';
import type { WindowSpec } from './windows.js';
import { localTime, nextWindow, openWindow, windowProblems, windowsBetween } from './windows.js';

const ms = (text: string): number => Date.parse(text);
const said = (one: { from: number; until: number } | undefined): string | undefined =>
  one === undefined ? undefined : `${new Date(one.from).toISOString()} ${new Date(one.until).toISOString()}`;
const MONTH_END: WindowSpec = {
  rrule: 'FREQ=MONTHLY;BYMONTHDAY=-1',
  start: '18:00',
  for: '12h',
  zone: 'Asia/Shanghai',
};
const NIGHTLY: WindowSpec = { rrule: 'FREQ=DAILY', start: '02:30', for: '1h', zone: 'Europe/Berlin' };

describe('a window of time', () => {
  it.each<[string, WindowSpec, string, string | undefined]>([
    [
      'one stretch, inside',
      { from: '2026-12-24T00:00:00Z', until: '2026-12-27T00:00:00Z' },
      '2026-12-25T00:00:00Z',
      '2026-12-24T00:00:00.000Z 2026-12-27T00:00:00.000Z',
    ],
    [
      'one stretch, its end is outside',
      { from: '2026-12-24T00:00:00Z', until: '2026-12-27T00:00:00Z' },
      '2026-12-27T00:00:00Z',
      undefined,
    ],
    [
      'days are those of the zone',
      { from: '2026-12-24', until: '2026-12-25', zone: 'Asia/Shanghai' },
      '2026-12-23T16:00:00Z',
      '2026-12-23T16:00:00.000Z 2026-12-24T16:00:00.000Z',
    ],
    [
      'times without an offset are those of the zone',
      { from: '2026-12-24T18:00', until: '2026-12-25T06:00:00', zone: 'America/New_York' },
      '2026-12-24T23:00:00Z',
      '2026-12-24T23:00:00.000Z 2026-12-25T11:00:00.000Z',
    ],
    [
      'the last day of a month, past midnight',
      MONTH_END,
      '2026-11-30T21:59:59Z',
      '2026-11-30T10:00:00.000Z 2026-11-30T22:00:00.000Z',
    ],
    ['the last day of a month, too early', MONTH_END, '2026-11-30T09:59:59Z', undefined],
    [
      'the last day of February',
      MONTH_END,
      '2028-02-29T10:00:00Z',
      '2028-02-29T10:00:00.000Z 2028-02-29T22:00:00.000Z',
    ],
    [
      'a night whose 02:30 does not exist opens an hour later',
      NIGHTLY,
      '2026-03-29T01:45:00Z',
      '2026-03-29T01:30:00.000Z 2026-03-29T02:30:00.000Z',
    ],
    [
      'a night whose 02:30 comes twice opens once, at the first',
      NIGHTLY,
      '2026-10-25T00:30:00Z',
      '2026-10-25T00:30:00.000Z 2026-10-25T01:30:00.000Z',
    ],
    [
      'the last weekday of a month',
      { rrule: 'FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1', for: '1d' },
      '2026-10-30T12:00:00Z',
      '2026-10-30T00:00:00.000Z 2026-10-31T00:00:00.000Z',
    ],
    [
      'every second week counts from its first day',
      { rrule: 'FREQ=WEEKLY;INTERVAL=2;BYDAY=TU', from: '2026-01-06', for: '2h', start: '09:00' },
      '2026-01-20T10:00:00Z',
      '2026-01-20T09:00:00.000Z 2026-01-20T11:00:00.000Z',
    ],
    [
      'every second week, the week between',
      { rrule: 'FREQ=WEEKLY;INTERVAL=2;BYDAY=TU', from: '2026-01-06', for: '2h', start: '09:00' },
      '2026-01-13T10:00:00Z',
      undefined,
    ],
    [
      'a weekend is one stretch',
      { rrule: 'FREQ=WEEKLY;BYDAY=SA,SU', for: '24h' },
      '2026-11-22T10:00:00Z',
      '2026-11-21T00:00:00.000Z 2026-11-23T00:00:00.000Z',
    ],
    [
      'after its last day nothing opens',
      { rrule: 'FREQ=DAILY', for: '1h', until: '2026-01-02T00:00:00Z' },
      '2026-01-02T00:10:00Z',
      undefined,
    ],
    [
      'COUNT ends it',
      { rrule: 'FREQ=DAILY;COUNT=2', from: '2026-01-01', for: '1h' },
      '2026-01-03T00:10:00Z',
      undefined,
    ],
  ])('%s', (_name, spec, at, expected) => expect(said(openWindow(spec, ms(at)))).toBe(expected));

  it('the answer that is kept is given up where it ends', () => {
    const spec = { ...NIGHTLY };
    expect(openWindow(spec, ms('2026-06-01T00:29:59Z'))).toBeUndefined();
    expect(openWindow(spec, ms('2026-06-01T00:30:00Z'))).toBeDefined();
    expect(openWindow(spec, ms('2026-06-01T01:29:59Z'))).toBeDefined();
    expect(openWindow(spec, ms('2026-06-01T01:30:00Z'))).toBeUndefined();
    // Also backwards: whoever explains the past asks about it.
    expect(openWindow(spec, ms('2026-05-20T01:00:00Z'))).toBeDefined();
  });

  it.each<[string, WindowSpec, string, string | undefined]>([
    ['the same day', NIGHTLY, '2026-06-01T00:00:00Z', '2026-06-01T00:30:00.000Z 2026-06-01T01:30:00.000Z'],
    [
      'while one is open, the one after it',
      NIGHTLY,
      '2026-06-01T01:00:00Z',
      '2026-06-02T00:30:00.000Z 2026-06-02T01:30:00.000Z',
    ],
    [
      'a day of every fourth year',
      { rrule: 'FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29', for: '1d' },
      '2026-01-01T00:00:00Z',
      '2028-02-29T00:00:00.000Z 2028-03-01T00:00:00.000Z',
    ],
    ['never again', { from: '2026-01-01', until: '2026-01-02' }, '2026-06-01T00:00:00Z', undefined],
  ])('what comes next: %s', (_name, spec, at, expected) => expect(said(nextWindow(spec, ms(at)))).toBe(expected));

  it('lists what touches a span, in order and joined', () => {
    const spec = { rrule: 'FREQ=DAILY', start: '22:00', for: '4h' };
    expect(windowsBetween(spec, ms('2026-06-01T01:00:00Z'), ms('2026-06-02T23:00:00Z')).map(said)).toEqual([
      '2026-05-31T22:00:00.000Z 2026-06-01T02:00:00.000Z',
      '2026-06-01T22:00:00.000Z 2026-06-02T02:00:00.000Z',
      '2026-06-02T22:00:00.000Z 2026-06-03T02:00:00.000Z',
    ]);
    expect(
      windowsBetween({ rrule: 'FREQ=DAILY', for: '24h' }, ms('2026-06-01T01:00:00Z'), ms('2026-06-05T00:00:00Z')),
    ).toHaveLength(1);
  });

  it.each<[WindowSpec, string]>([
    [{}, ''],
    [{ rrule: 'FREQ=DAILY' }, 'for'],
    [{ rrule: 'FREQ=HOURLY', for: '1h' }, 'rrule'],
    [{ rrule: 'FREQ=DAILY;BYHOUR=3', for: '1h' }, 'rrule'],
    [{ rrule: 'FREQ=DAILY;BYDAY=XX', for: '1h' }, 'rrule'],
    [{ rrule: 'FREQ=WEEKLY', for: '1h' }, 'rrule'],
    [{ rrule: 'FREQ=WEEKLY;INTERVAL=2;BYDAY=MO', for: '1h' }, 'rrule'],
    [{ rrule: 'FREQ=DAILY', for: '0s' }, 'for'],
    [{ rrule: 'FREQ=DAILY', for: '40d' }, 'for'],
    [{ rrule: 'FREQ=DAILY', for: '1h', start: '24:00' }, 'start'],
    [{ rrule: 'FREQ=DAILY', for: '1h', zone: 'Mars/Olympus' }, 'zone'],
    [{ from: '2026-01-02', until: '2026-01-01' }, 'until'],
    [{ from: 'tomorrow' }, 'from'],
  ])('refuses %j, naming %s', (spec, member) => expect(windowProblems(spec).map((p) => p.member)).toEqual([member]));

  it('finds nothing wrong with what can be asked', () => {
    for (const spec of [
      MONTH_END,
      NIGHTLY,
      { from: '2026-01-01', for: '2h' },
      { rrule: 'FREQ=WEEKLY', from: '2026-01-05', for: '1h' },
    ])
      expect(windowProblems(spec)).toEqual([]);
  });

  it('tells the time of a zone', () => {
    expect(localTime(ms('2026-11-21T17:30:00Z'), 'Asia/Shanghai')).toEqual({
      ...{ date: '2026-11-22', time: '01:30', year: 2026, month: 11, day: 22, hour: 1, minute: 30 },
      ...{ weekday: 'sun', weekend: true },
    });
  });
});
