/**
 * Windows of time that come again: maintenance, freezes, calendars. A window is either one stretch (`from`, `until`) or
 * a recurrence (`rrule`, RFC 5545) of days on which it opens at `start`, local time of `zone`, and lasts for `for`.
 *
 * Days are counted without any zone and turned into local time one by one, so a window that opens at 02:30 opens on
 * the night when 02:30 does not exist as well (at 03:30), instead of being left out. `for` is elapsed time: twelve
 * hours are twelve hours, whatever the clocks do in between.
 */
import { durationMs, isDuration } from '@opsloop/contracts';
import { RRuleTemporal } from 'rrule-temporal';
import { Temporal } from 'temporal-polyfill';

export interface WindowSpec {
  /** RFC 5545; daily at most. */
  rrule?: string;
  /** Time of day, `18:00`; default midnight. */
  start?: string;
  /** How long one lasts. */
  for?: string;
  /** ISO time, in `zone` unless it names an offset, or a day: its midnight. Of a recurrence: nothing opens before, or after `until`. */
  from?: string;
  until?: string;
  /** IANA time zone; default UTC. */
  zone?: string;
}

/** Milliseconds since 1970; `until` is not part of it. */
export interface Stretch {
  from: number;
  until: number;
}

export interface WindowProblem {
  /** Member of the specification, or '' for the whole. */
  member: keyof WindowSpec | '';
  message: string;
}

const DAY_MS = 86_400_000;
/** A window longer than this is a decision for a person to renew, and bounds how far back an open one can have begun. */
export const WINDOW_FOR_MAX_MS = 31 * DAY_MS;
/** Stretches that touch are one. Daily windows of 24 h touch for ever: after a year of them the answer is "until then". */
const JOINED_MAX = 400;
/** How far a next window is looked for: rules such as 29 February come every four years, eight around 2100. */
const AHEAD_DAYS = 8 * 366 + 2;
const FREQUENCIES = ['DAILY', 'WEEKLY', 'MONTHLY', 'YEARLY'];
const FOREVER = Date.parse('9999-12-31T00:00:00Z');

/** What is wrong with a specification; empty when it can be asked. */
export function windowProblems(spec: WindowSpec): WindowProblem[] {
  const problems: WindowProblem[] = [];
  const add = (member: WindowProblem['member'], message: string): void => void problems.push({ member, message });
  if (spec.zone !== undefined && !isZone(spec.zone)) add('zone', `"${spec.zone}" is no time zone; write Europe/Berlin`);
  if (spec.start !== undefined && !/^([01]\d|2[0-3]):[0-5]\d$/.test(spec.start))
    add('start', `"${spec.start}" is no time of day; write 18:00`);
  if (problems.some((problem) => problem.member === 'zone')) return problems;
  for (const member of ['from', 'until'] as const)
    if (spec[member] !== undefined && instant(spec[member], spec.zone) === undefined)
      add(member, `"${spec[member]}" is no time; write 2026-12-24 or 2026-12-24T18:00:00Z`);
  if (
    spec.for !== undefined &&
    (!isDuration(spec.for) || durationMs(spec.for) <= 0 || durationMs(spec.for) > WINDOW_FOR_MAX_MS)
  )
    add('for', 'must be a duration above 0 of at most 31d');
  if (problems.length > 0) return problems;
  const { from, until } = limits(spec);
  if (from >= until) add('until', 'ends before it begins');
  if (spec.rrule === undefined) {
    if (spec.from === undefined && spec.until === undefined)
      add('', 'names no time: write "rrule" with "start" and "for", or "from" and "until"');
    if (spec.for !== undefined && spec.until !== undefined) add('for', '"until" already says when it ends');
    if (spec.start !== undefined) add('start', 'belongs to a recurrence; "from" says when it begins');
    return problems;
  }
  if (spec.for === undefined) add('for', 'a recurrence says when it begins; "for" says how long it lasts');
  const problem = ruleProblem(spec.rrule, spec.from !== undefined);
  if (problem !== undefined) add('rrule', problem);
  return problems;
}

function isZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** A recurrence whose days depend on where counting begins needs `from`, or two readers would count differently. */
function ruleProblem(rrule: string, anchored: boolean): string | undefined {
  const parts = new Map(partsOf(rrule));
  const freq = parts.get('FREQ') ?? '';
  if (!FREQUENCIES.includes(freq)) return `FREQ must be one of ${FREQUENCIES.join(', ')}`;
  const clock = ['BYHOUR', 'BYMINUTE', 'BYSECOND'].find((key) => parts.has(key));
  if (clock !== undefined) return `${clock} has no meaning here: "start" is the time of day`;
  if (!anchored) {
    if (Number(parts.get('INTERVAL') ?? 1) > 1) return 'with INTERVAL it needs "from": the first day that counts';
    if (parts.has('COUNT')) return 'with COUNT it needs "from": the first day that counts';
    const named = [...parts.keys()].some((key) => ['BYDAY', 'BYMONTHDAY', 'BYYEARDAY', 'BYWEEKNO'].includes(key));
    if (freq !== 'DAILY' && !named) return `says ${freq} but not on which day; add BYDAY or BYMONTHDAY, or "from"`;
  }
  try {
    recurrence(rrule, Temporal.PlainDate.from('2000-01-01'));
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function partsOf(rrule: string): [string, string][] {
  return rrule
    .replace(/^RRULE:/, '')
    .split(';')
    .map((part) => {
      const [key = '', value = ''] = part.split('=', 2);
      return [key, value];
    });
}

/** Days only: midnights of UTC stand for them. */
function recurrence(rrule: string, first: Temporal.PlainDate): RRuleTemporal {
  return new RRuleTemporal({
    rruleString: rrule.replace(/^RRULE:/, ''),
    dtstart: Temporal.ZonedDateTime.from(`${first.toString()}T00:00[UTC]`) as never,
    tzid: 'UTC',
    strict: true,
    cache: false,
  });
}

/** A moment from ISO text; without an offset it is local time of the zone, a day alone its midnight there. */
function instant(text: string, zone = 'UTC'): number | undefined {
  try {
    if (/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?)?$/.test(text))
      return Temporal.PlainDateTime.from(text).toZonedDateTime(zone).epochMilliseconds;
    if (!/^\d{4}-\d{2}-\d{2}T.*(Z|[+-]\d{2}:?\d{2})$/.test(text)) return undefined;
    const at = Date.parse(text);
    return Number.isNaN(at) ? undefined : at;
  } catch {
    return undefined;
  }
}

function limits({ from, until, zone, rrule, for: lasts }: WindowSpec): Stretch {
  const begin = from === undefined ? 0 : instant(from, zone)!;
  if (until !== undefined) return { from: begin, until: instant(until, zone)! };
  return { from: begin, until: rrule === undefined && lasts !== undefined ? begin + durationMs(lasts) : FOREVER };
}

const dayOf = (at: number, zone: string): Temporal.PlainDate =>
  Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(zone).toPlainDate();

/** Openings of a recurrence with a part in `[from, until)`, in order, each cut to the limits of the specification. */
function openings(spec: WindowSpec, from: number, until: number, most: number): Stretch[] {
  const { zone = 'UTC', start = '00:00' } = spec;
  const bounds = limits(spec);
  const lasts = durationMs(spec.for!);
  const begin = Math.max(from - lasts, bounds.from - DAY_MS);
  const end = Math.min(until, bounds.until);
  if (begin >= end) return [];
  // Without `from` the answer does not depend on the first day, so counting begins near by: with the year before, since
  // BYSETPOS and BYWEEKNO need whole years.
  const first =
    spec.from === undefined
      ? dayOf(begin, zone).subtract({ years: 1 }).with({ month: 1, day: 1 })
      : dayOf(bounds.from, zone);
  const days = recurrence(spec.rrule!, first);
  const found: Stretch[] = [];
  let day = dayOf(begin, zone).subtract({ days: 1 }).toString();
  const last = dayOf(end, zone).toString();
  for (;;) {
    const next = days.next(new Date(`${day}T00:00:00Z`), false);
    if (next === null) return found;
    day = next.toString().slice(0, 10);
    if (day > last || found.length >= most) return found;
    const opens = Temporal.PlainDate.from(day).toZonedDateTime({ timeZone: zone, plainTime: start }).epochMilliseconds;
    const one = { from: Math.max(opens, bounds.from), until: Math.min(opens + lasts, bounds.until) };
    if (opens >= bounds.from - lasts && one.from < one.until && one.until > from && one.from < until) found.push(one);
  }
}

/** The stretches with a part in `[from, until)`; those that touch are one. At most `most`. */
export function windowsBetween(spec: WindowSpec, from: number, until: number, most = 100): Stretch[] {
  if (spec.rrule === undefined) {
    const one = limits(spec);
    return one.until > from && one.from < until ? [one] : [];
  }
  const joined: Stretch[] = [];
  for (const one of openings(spec, from, until, most + JOINED_MAX)) {
    const before = joined.at(-1);
    if (before !== undefined && one.from <= before.until) before.until = Math.max(before.until, one.until);
    else joined.push({ ...one });
  }
  return joined.slice(0, most);
}

/** What holds at a moment, and until when that answer is right. */
interface Known extends Stretch {
  open: boolean;
}

/** Asked for every event, answered from the last stretch that was computed. Documents are never edited in place. */
const known = new WeakMap<WindowSpec, Known>();

/** The stretch that is open at `at`; `undefined` when none is. A stretch without `from` began before anybody asked. */
export function openWindow(spec: WindowSpec, at: number): Stretch | undefined {
  let answer = known.get(spec);
  if (answer === undefined || at < answer.from || at >= answer.until) known.set(spec, (answer = knownAt(spec, at)));
  return answer.open ? { from: answer.from, until: answer.until } : undefined;
}

function knownAt(spec: WindowSpec, at: number): Known {
  const span = spec.rrule === undefined ? 0 : JOINED_MAX * DAY_MS;
  const back = spec.rrule === undefined ? at : at - span;
  const open = windowsBetween(spec, at, at + 1, 1)[0];
  if (open === undefined) return { open: false, from: at, until: nextWindow(spec, at)?.from ?? FOREVER };
  // Its neighbours decide where it really begins and ends.
  const whole = windowsBetween(spec, back, at + span, JOINED_MAX * 2).find((one) => one.from <= at && at < one.until);
  return { open: true, ...(whole ?? open) };
}

/** The next stretch that begins after `at`. `undefined`: none within eight years. */
export function nextWindow(spec: WindowSpec, at: number): Stretch | undefined {
  if (spec.rrule === undefined) {
    const one = limits(spec);
    return one.from > at ? one : undefined;
  }
  // Near ones first: most come again within weeks.
  for (const days of [35, 400, AHEAD_DAYS]) {
    const next = windowsBetween(spec, at, at + days * DAY_MS, 3).find((one) => one.from > at);
    if (next !== undefined) return next;
  }
  return undefined;
}

/** A moment as people of a zone say it, for conditions. */
export interface LocalTime {
  date: string;
  time: string;
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  /** `mon` … `sun`. */
  weekday: string;
  weekend: boolean;
}

const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

export function localTime(at: number, zone: string): LocalTime {
  const local = Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(zone);
  const { year, month, day, hour, minute } = local;
  return {
    date: local.toPlainDate().toString(),
    time: local.toPlainTime().toString({ smallestUnit: 'minute' }),
    ...{ year, month, day, hour, minute },
    weekday: WEEKDAYS[local.dayOfWeek - 1]!,
    weekend: local.dayOfWeek > 5,
  };
}
