import { durationMs, type FieldError } from '@opsloop/contracts';
import { RRuleTemporal } from 'rrule-temporal';
import { Temporal } from 'temporal-polyfill';

/** When a freeze holds: a recurrence in a zone, or one stretch of time. */
export interface Calendar {
  rrule?: string;
  /** Time of day at which each begins. Default 00:00. */
  start?: string;
  /** How long each lasts. */
  for?: string;
  /** Also of a recurrence: the first day it is about. */
  from?: string;
  until?: string;
  /** IANA name. Default UTC. */
  zone?: string;
}

export interface Stretch {
  from: Date;
  /** Absent: without an end. */
  until?: Date;
}

/** Recurrences without a `from` begin here: a Thursday, as any day before the first admission would do. */
const EPOCH = '2026-01-01';
/** A freeze of more than a month is a decision of its own, with from and until; it also bounds how far back is looked. */
export const FREEZE_MAX_MS = 31 * 24 * 3_600_000;

export function calendarErrors(c: Calendar, pointer: string): FieldError[] {
  const errors: FieldError[] = [];
  const say = (member: string, message: string): void => void errors.push({ pointer: `${pointer}${member}`, message });
  if (!zoneIsKnown(zoneOf(c))) say('/zone', `"${c.zone}" is no IANA time zone, such as Europe/Berlin`);
  for (const member of ['from', 'until'] as const)
    if (c[member] !== undefined && errors.length === 0 && instantOf(c[member], zoneOf(c)) === undefined)
      say(`/${member}`, 'must be an ISO time, such as 2026-12-24T00:00:00Z, or without a zone in that of the calendar');
  if (c.rrule === undefined) {
    if (c.from === undefined || c.until === undefined) say('', 'needs rrule with for, or from and until');
    else if (errors.length === 0 && instantOf(c.from, zoneOf(c))! >= instantOf(c.until, zoneOf(c))!)
      say('/until', 'must be after from');
    return errors;
  }
  if (c.for === undefined) say('/for', 'must say how long each occurrence lasts');
  else if (durationMs(c.for) > FREEZE_MAX_MS) say('/for', 'may be at most 31d; use from and until for more');
  if (errors.length > 0) return errors;
  try {
    const { first } = recurrence(c);
    if (first === null) say('/rrule', 'never happens');
  } catch (error) {
    say('/rrule', `is no RFC 5545 rule: ${error instanceof Error ? error.message : String(error)}`);
  }
  return errors;
}

/** The stretch that is in force at a time; of several that overlap the one that ends last. */
export function stretchAt(c: Calendar, at: Date): Stretch | undefined {
  if (c.rrule === undefined) {
    const zone = zoneOf(c);
    const [from, until] = [instantOf(c.from!, zone)!, instantOf(c.until!, zone)!];
    return at >= from && at < until ? { from, until } : undefined;
  }
  const lasts = durationMs(c.for!);
  const { rule } = recurrence(c);
  const begins = rule.previous(at, true);
  if (begins === null) return undefined;
  const from = new Date(begins.epochMilliseconds);
  const end = from.getTime() + lasts;
  return at.getTime() < end ? { from, until: joined(rule, from, new Date(end), lasts) } : undefined;
}

/** The next stretch that begins after a time. */
export function nextStretch(c: Calendar, after: Date): Stretch | undefined {
  if (c.rrule === undefined) {
    const zone = zoneOf(c);
    const from = instantOf(c.from!, zone)!;
    return from > after ? { from, until: instantOf(c.until!, zone)! } : undefined;
  }
  const next = recurrence(c).rule.next(after, false);
  if (next === null) return undefined;
  const from = new Date(next.epochMilliseconds);
  return { from, until: new Date(from.getTime() + durationMs(c.for!)) };
}

/** Occurrences that follow without a gap are one freeze: nobody should be told of an end that is none. */
const JOINED_MAX = 32;
function joined(rule: RRuleTemporal, from: Date, end: Date, lasts: number): Date {
  let until = end;
  let begin = from;
  for (let i = 0; i < JOINED_MAX; i++) {
    const next = rule.next(begin, false);
    if (next === null || next.epochMilliseconds > until.getTime()) break;
    begin = new Date(next.epochMilliseconds);
    until = new Date(next.epochMilliseconds + lasts);
  }
  return until;
}

const kept = new Map<string, { rule: RRuleTemporal; first: Temporal.ZonedDateTime | null }>();
/** Calendars of all policies of an installation; parsing one takes a millisecond. */
const KEPT_MAX = 500;

function recurrence(c: Calendar): { rule: RRuleTemporal; first: Temporal.ZonedDateTime | null } {
  const key = JSON.stringify([c.rrule, c.start, c.from, c.until, c.zone]);
  const known = kept.get(key);
  if (known !== undefined) return known;
  const zone = zoneOf(c);
  const day = c.from === undefined ? EPOCH : zonedOf(c.from, zone)!.toPlainDate().toString();
  const dtstart = Temporal.PlainDate.from(day).toZonedDateTime({ timeZone: zone, plainTime: c.start ?? '00:00' });
  const last =
    c.until === undefined || /UNTIL=|COUNT=/.test(c.rrule!) ? '' : `;UNTIL=${utcOf(zonedOf(c.until, zone)!)}`;
  const rule = new RRuleTemporal({ rruleString: `${c.rrule!.replace(/^RRULE:/, '')}${last}`, dtstart });
  const made = { rule, first: rule.next(new Date(dtstart.epochMilliseconds), true) as Temporal.ZonedDateTime | null };
  if (kept.size >= KEPT_MAX) kept.clear();
  kept.set(key, made);
  return made;
}

const zoneOf = (c: Calendar): string => c.zone ?? 'UTC';

const utcOf = (at: Temporal.ZonedDateTime): string =>
  new Date(at.epochMilliseconds).toISOString().replace(/[-:]|\.\d+/g, '');

function zoneIsKnown(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    // "+02:00" is an offset: it knows no summer time.
    return !/^[+-]/.test(zone);
  } catch {
    return false;
  }
}

function zonedOf(text: string, zone: string): Temporal.ZonedDateTime | undefined {
  try {
    return /(?:Z|[+-]\d\d:?\d\d)$/i.test(text)
      ? Temporal.Instant.from(text).toZonedDateTimeISO(zone)
      : Temporal.PlainDateTime.from(text).toZonedDateTime(zone);
  } catch {
    return undefined;
  }
}

function instantOf(text: string, zone: string): Date | undefined {
  const at = zonedOf(text, zone);
  return at === undefined ? undefined : new Date(at.epochMilliseconds);
}
