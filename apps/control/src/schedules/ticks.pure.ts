/** When a schedule fires, and which of the times that are due it takes. */
import { durationMs, type ScheduleDocument } from '@opsloop/contracts';
import { nextWindow, windowProblems, type WindowSpec } from '@opsloop/rules/windows';
import { Cron } from 'croner';

type When = Pick<ScheduleDocument, 'cron' | 'rrule' | 'every' | 'zone'>;

/** Control looks twice a second; what is later than a minute was missed, since nobody looked. */
export const LATE_MS = 60_000;
/** Times that are made up for with catchUp all: an hour and a half of one each minute. Older ones are given up. */
export const CATCH_UP_MAX = 100;
/** Below this a schedule is a loop. */
export const EVERY_LEAST_MS = 1_000;

/** A recurrence names days; it fires when they begin. */
const daysOf = ({ rrule, zone }: When): WindowSpec => ({
  rrule: rrule!,
  for: '1s',
  ...(zone === undefined ? {} : { zone }),
});

/** Why it cannot fire; undefined: it can. */
export function whenProblem(when: When): string | undefined {
  if (when.every !== undefined)
    return durationMs(when.every) < EVERY_LEAST_MS ? `every ${when.every} is too often; 1s is the least` : undefined;
  if (when.rrule !== undefined) {
    const [problem] = windowProblems(daysOf(when));
    return problem === undefined ? undefined : `rrule: ${problem.message}`;
  }
  try {
    // The zone is looked at only when a time is asked for.
    cronOf(when).nextRun(new Date(0));
    return undefined;
  } catch (error) {
    return `cron: ${error instanceof Error ? error.message : String(error)}`;
  }
}

const cronOf = ({ cron, zone }: When): Cron => new Cron(cron!, { timezone: zone ?? 'UTC', paused: true });

/**
 * The first time after `after`, in milliseconds; undefined: never again. `every` counts from 1970, so that it is the
 * same in every process and after every restart. A cron time that a change of clocks leaves out fires when the
 * gap ends, one that comes twice fires once.
 */
export function nextTick(when: When, after: number): number | undefined {
  if (when.every !== undefined) {
    const every = durationMs(when.every);
    return (Math.floor(after / every) + 1) * every;
  }
  if (when.rrule !== undefined) return nextWindow(daysOf(when), after)?.from;
  return cronOf(when).nextRun(new Date(after))?.getTime();
}

/** The next `count` times. */
export function ticksAfter(when: When, after: number, count: number): number[] {
  const ticks: number[] = [];
  for (let at = nextTick(when, after); at !== undefined && ticks.length < count; at = nextTick(when, at))
    ticks.push(at);
  return ticks;
}

export interface DueTicks {
  fire: number[];
  /** Given up: as catchUp says, or too many. */
  missed: number[];
  next: number | undefined;
}

/** Bounds the work of one look after a long pause; more come with the next look. */
const LOOK_MAX = 2_000;

/** Which of the times from `first` until now fire. */
export function dueTicks(doc: When & Pick<ScheduleDocument, 'catchUp'>, first: number, now: number): DueTicks {
  const due: number[] = [];
  let next: number | undefined = first;
  while (next !== undefined && next <= now && due.length < LOOK_MAX) {
    due.push(next);
    next = nextTick(doc, next);
  }
  // Far behind: what lies between is missed and not worth a row each.
  if (next !== undefined && next <= now) next = nextTick(doc, now);
  const onTime = due.filter((at) => now - at <= LATE_MS);
  const late = due.filter((at) => now - at > LATE_MS);
  const catchUp = doc.catchUp ?? 'last';
  if (catchUp === 'none') return { fire: onTime, missed: late, next };
  if (catchUp === 'all')
    return { fire: [...late, ...onTime].slice(-CATCH_UP_MAX), missed: due.slice(0, -CATCH_UP_MAX), next };
  // The newest stands for those that were missed.
  return onTime.length > 0
    ? { fire: onTime, missed: late, next }
    : { fire: late.slice(-1), missed: late.slice(0, -1), next };
}
