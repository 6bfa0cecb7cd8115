/** Verbs that repeat: loop and reconcile. */
import { durationMs } from '@opsloop/contracts';
import type { LoopStep, ReconcileStep } from '@opsloop/contracts';
import type { Engine } from '../engine/engine.js';
import { ContinueLater, StepFailure, fail } from '../engine/errors.js';
import { turnPath } from '../engine/paths.pure.js';
import { innerFrame } from '../engine/scope.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';
import { entryOf, wants } from './wait-for-event.js';

/** Pause between two observations when the flow names none. */
const RECONCILE_EVERY_MS = 10_000;

/** `loop`: repeat `until` it holds or `while` it does; each turn has its own scope. */
export async function loopStep(engine: Engine, step: LoopStep, frame: Frame, handle: StepHandle): Promise<VerbResult> {
  const { until, max, every } = step.loop;
  const goOn = step.loop.while;
  const most = max.iterations ?? Infinity;
  const cursor = engine.cursor(handle.path);
  const deadline = max.duration === undefined ? Infinity : cursor.startedAt + durationMs(max.duration);
  let scope = frame;
  let turn = cursor.turn;
  for (; turn <= most; turn += 1) {
    cursor.turn = turn;
    const path = turnPath(handle.path, turn);
    const resumes = engine.resumes(path);
    if (!resumes) {
      if (goOn !== undefined && !engine.test(goOn, scope)) return { output: { iterations: turn - 1 } };
      if (Date.now() >= deadline) break;
      // The scope of a turn lives until the next one begins: `while` and `until` read it.
      if (turn > 1) engine.journal.remove(turnPath(handle.path, turn - 1));
    }
    engine.live.add(path);
    const inner = innerFrame(frame, path, { iteration: turn });
    scope = inner;
    let reached = false;
    await engine.inScope(inner, async () => {
      if (cursor.done !== true) {
        await engine.walker.sequence(step.do, inner);
        cursor.done = true;
        reached = until !== undefined && engine.test(until, inner);
      }
      if (!reached && every !== undefined && turn < most)
        await engine.wait(Math.min(durationMs(every), deadline - Date.now()), 'loop', handle.record, handle.path);
    });
    delete cursor.done;
    if (reached) return { output: { iterations: turn } };
  }
  // Without a condition the loop is a plain repetition, and its maximum is how often.
  if (until === undefined && goOn === undefined) return { output: { iterations: turn - 1 } };
  if (goOn !== undefined && until === undefined && !engine.test(goOn, scope))
    return { output: { iterations: turn - 1 } };
  throw fail(
    'goal-not-met',
    `the loop ended at its maximum of ${describeMax(max)}`,
    engine.where(handle.path, step.id),
  );
}

function describeMax(max: { iterations?: number; duration?: string }): string {
  return [max.iterations === undefined ? '' : `${max.iterations} turns`, max.duration ?? '']
    .filter(Boolean)
    .join(' or ');
}

/** `reconcile`: observe → is the goal met, and for long enough? → else act; level-triggered, until the deadline. */
export async function reconcileStep(
  engine: Engine,
  step: ReconcileStep,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  const { goal, every, stable, deadline } = step.reconcile;
  const everyMs = every === undefined ? RECONCILE_EVERY_MS : durationMs(every);
  const stableMs = stable === undefined ? 0 : durationMs(stable);
  const cursor = engine.cursor(handle.path);
  const end = cursor.startedAt + durationMs(deadline);
  const late = (): StepFailure =>
    fail('goal-not-met', `the goal was not reached within ${deadline}`, engine.where(handle.path, step.id));
  const waker = wakerOf(engine, step, frame, handle);
  /** One look, and what follows from it; gives the output once the goal has held for long enough. */
  const look = async (scope: Frame): Promise<VerbResult | undefined> => {
    const heard = waker?.heard() ?? 0;
    const seen = await observe(engine, step, scope);
    if (seen && engine.test(goal, scope)) {
      cursor.metSince ??= Date.now();
      if (Date.now() - cursor.metSince >= stableMs)
        return { output: (scope.steps[step.observe.id]?.output ?? null) as VerbResult['output'] };
    } else {
      delete cursor.metSince;
      // What could not be seen is unknown, and never a reason to act.
      if (seen && Date.now() < end && step.do !== undefined) await engine.walker.sequence(step.do, scope);
    }
    const left = end - Date.now();
    if (left <= 0) throw late();
    const { metSince } = cursor;
    const pause = metSince === undefined ? everyMs : Math.min(everyMs, metSince + stableMs - Date.now());
    const woken = waker === undefined ? undefined : (): boolean => waker.heard() > heard;
    const ms = Math.min(pause, left);
    // What came while it looked and acted may be news of after the look.
    if (woken?.() !== true) await engine.waitFor(ms, `next look at ${handle.path}`, handle.record, handle.path, woken);
    return undefined;
  };
  try {
    return await looks(engine, frame, handle, look);
  } catch (err) {
    waker?.end(err instanceof ContinueLater);
    throw err;
  } finally {
    waker?.end(false);
  }
}

/** Look after look, until one gives the output. */
async function looks(
  engine: Engine,
  frame: Frame,
  handle: StepHandle,
  look: (scope: Frame) => Promise<VerbResult | undefined>,
): Promise<VerbResult> {
  const cursor = engine.cursor(handle.path);
  for (let turn = cursor.turn; ; turn += 1) {
    cursor.turn = turn;
    const path = turnPath(handle.path, turn);
    engine.live.add(path);
    const scope = innerFrame(frame, path, { iteration: turn });
    const met = await engine.inScope(scope, () => look(scope));
    if (met !== undefined) return met;
    engine.journal.remove(path);
  }
}

interface Waker {
  /** How many events have come so far. */
  heard: () => number;
  /** @param leaving The wait goes on in a new Temporal run. */
  end: (leaving: boolean) => void;
}

/** Events that bring the next look forward; they are only heard of, so that others may wait for them too. */
function wakerOf(engine: Engine, step: ReconcileStep, frame: Frame, handle: StepHandle): Waker | undefined {
  const filters = step.reconcile.wakeOn ?? [];
  if (filters.length === 0) return undefined;
  let heard = 0;
  let ended = false;
  const wait = engine.inbox.wait(
    {
      id: engine.fullPath(handle.path),
      mode: 'wake',
      all: false,
      entries: filters.map((filter) => entryOf(engine, filter, frame)),
      open: [...filters.keys()],
      conditional: true,
      accept: (entry, event) => wants(engine, filters[entry]!, event, frame, handle.path),
    },
    () => (heard += 1),
  );
  return {
    heard: () => heard,
    end: (leaving) => {
      if (!leaving && !ended) wait.end(true);
      ended = true;
    },
  };
}

async function observe(engine: Engine, step: ReconcileStep, scope: Frame): Promise<boolean> {
  try {
    await engine.walker.step(step.observe, scope);
    return true;
  } catch (err) {
    if (err instanceof StepFailure) return false;
    throw err;
  }
}
