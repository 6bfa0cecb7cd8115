/** `waitForEvent`: blocks until the events are there, which may have come before the step was reached. */
import { OpsError, durationMs } from '@opsloop/contracts';
import type { EventFilter, FlowEvent, Json, JsonObject, WaitForEventSpec, WaitForEventStep } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import type { Engine } from '../engine/engine.js';
import { ContinueLater, fail } from '../engine/errors.js';
import type { Wait } from '../engine/inbox.js';
import type { EntryMatch, Held } from '../engine/mailbox.pure.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';

/** Nothing waits for ever: a day later whoever was to send the event has had a night and a day to do so. */
const TIMEOUT_DEFAULT = '24h';

/** What is remembered of a wait while it lasts. */
interface WaitState {
  entries: EntryMatch[];
  got: (Held | null)[];
}

export async function waitForEventStep(
  engine: Engine,
  step: WaitForEventStep,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  const spec = step.waitForEvent;
  const filters = filtersOf(spec);
  const all = spec.all !== undefined;
  beginAnew(engine, handle.path, durationMs(spec.timeout ?? TIMEOUT_DEFAULT));
  const state = engine.remember(handle.path, () => {
    const entries = filters.map((filter) => entryOf(engine, filter, frame));
    return { entries, got: entries.map(() => null) } as unknown as Json;
  }) as unknown as WaitState;
  const { got } = state;
  const done = (): boolean => (all ? got.every((held) => held !== null) : got.some((held) => held !== null));
  if (!done()) await block(engine, { step, state, filters, all, done }, frame, handle);
  const events = got.filter((held) => held !== null).map((held) => held.event as unknown as Json);
  return { output: all ? events : events[0]! };
}

interface Blocking {
  step: WaitForEventStep;
  state: WaitState;
  filters: EventFilter[];
  all: boolean;
  done: () => boolean;
}

async function block(engine: Engine, blocking: Blocking, frame: Frame, handle: StepHandle): Promise<void> {
  const { step, state, filters, all, done } = blocking;
  const timeout = step.waitForEvent.timeout ?? TIMEOUT_DEFAULT;
  const open = state.got.flatMap((held, entry) => (held === null ? [entry] : []));
  const wait = engine.inbox.wait(
    {
      id: engine.fullPath(handle.path),
      mode: 'take',
      all,
      entries: state.entries,
      open,
      conditional: filters.some((filter) => filter.filter !== undefined),
      accept: (entry, event) => wants(engine, filters[entry]!, event, frame, handle.path),
    },
    (held, entry) => (state.got[entry] = held),
  );
  let leaving = false;
  try {
    await (done() ? engine.inbox.breath() : untilCame(engine, wait, done, durationMs(timeout), handle));
    if (!done())
      throw wait.broken === undefined
        ? fail(
            'timeout',
            `no ${all ? 'event for each of them' : 'such event'} came within ${timeout}`,
            engine.where(handle.path, step.id),
          )
        : fail('runtime', wait.broken, engine.where(handle.path, step.id));
  } catch (err) {
    leaving = err instanceof ContinueLater;
    throw err;
  } finally {
    engine.note(handle.path, undefined);
    if (!leaving) wait.end(done(), done() ? [] : state.got.filter((held) => held !== null));
  }
}

/**
 * A retry starts with what the run before it knew, also of a wait in which that was cancelled or terminated: nobody has
 * waited in this run yet, so neither its time nor what it had counts.
 */
export function beginAnew(engine: Engine, path: string, timeoutMs: number): void {
  const due = engine.remembered.get(`${path}@due`);
  if (typeof due !== 'number' || due - timeoutMs >= engine.startedMs) return;
  engine.remembered.delete(`${path}@due`);
  engine.remembered.delete(path);
}

/** Shows what it waits for, and waits. */
function untilCame(engine: Engine, wait: Wait, done: () => boolean, ms: number, handle: StepHandle): Promise<void> {
  const title = handle.record.title ?? handle.path;
  handle.record.status = 'waiting';
  return engine
    .waitFor(ms, title, handle.record, handle.path, () => done() || wait.broken !== undefined)
    .finally(() => {
      if (handle.record.status === 'waiting') handle.record.status = 'running';
    });
}

export function filtersOf({ one, any, all }: WaitForEventSpec): EventFilter[] {
  return one !== undefined ? [one] : (any ?? all ?? []);
}

/** The part of a filter that is plain data, with what it reads of the flow put in. */
export function entryOf(engine: Engine, filter: EventFilter, frame: Frame): EntryMatch {
  const { type, source, data } = filter;
  const subject = filter.subject === undefined ? undefined : engine.render(filter.subject, frame);
  if (subject !== undefined && typeof subject !== 'string')
    throw fail('expression', `the subject of an event is text, got ${JSON.stringify(subject).slice(0, 100)}`);
  const correlate = filter.correlate === undefined ? undefined : engine.render(filter.correlate, frame);
  if (correlate !== undefined && (correlate === null || typeof correlate !== 'object' || Array.isArray(correlate)))
    throw fail('expression', `correlate needs members of data, got ${JSON.stringify(correlate).slice(0, 100)}`);
  return {
    type,
    ...(source === undefined ? {} : { source }),
    ...(subject === undefined ? {} : { subject }),
    ...(correlate === undefined ? {} : { correlate: correlate as JsonObject }),
    ...(data === undefined ? {} : { data }),
  };
}

/**
 * The condition of a filter. One that cannot be evaluated on this event does not want it: events come from outside in
 * any shape, and a stranger's must not end the flow.
 */
export function wants(engine: Engine, filter: EventFilter, event: FlowEvent, frame: Frame, path: string): boolean {
  if (filter.filter === undefined) return true;
  try {
    return engine.test(filter.filter, frame, { event: toScopeValue(event as unknown as Json) });
  } catch (err) {
    if (!(err instanceof OpsError)) throw err;
    engine.note(path, `event ${event.eventId} was passed over: ${err.detail}`);
    return false;
  }
}
