import type { FieldError } from '@opsloop/contracts';
import { nextWindow, openWindow, windowProblems, type WindowSpec } from '@opsloop/rules/windows';

/** When a freeze holds: a recurrence of days in a zone, or one stretch of time. */
export type Calendar = WindowSpec;

export interface Stretch {
  from: Date;
  until: Date;
}

export const calendarErrors = (calendar: Calendar, pointer: string): FieldError[] =>
  windowProblems(calendar).map(({ member, message }) => ({
    pointer: member === '' ? pointer : `${pointer}/${member}`,
    message,
  }));

/** The stretch that is in force at a time; occurrences that follow without a gap are one. */
export function stretchAt(calendar: Calendar, at: Date): Stretch | undefined {
  const open = openWindow(calendar, at.getTime());
  return open === undefined ? undefined : { from: new Date(open.from), until: new Date(open.until) };
}

/** The next stretch that begins after a time. */
export function nextStretch(calendar: Calendar, after: Date): Stretch | undefined {
  const next = nextWindow(calendar, after.getTime());
  return next === undefined ? undefined : { from: new Date(next.from), until: new Date(next.until) };
}
