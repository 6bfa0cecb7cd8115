/** Verbs that repeat: loop and reconcile. */
import { durationMs } from '@opsloop/contracts';
import type { LoopStep, ReconcileStep, Step } from '@opsloop/contracts';
import type { Engine } from '../engine/engine.js';
import { StepFailure, fail } from '../engine/errors.js';
import { turnPath } from '../engine/paths.pure.js';
import { innerFrame } from '../engine/scope.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';

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
    if (goOn !== undefined && !engine.test(goOn, scope)) return { output: { iterations: turn - 1 } };
    if (Date.now() >= deadline) break;
    const inner = innerFrame(frame, turnPath(handle.path, turn), { iteration: turn });
    scope = inner;
    await engine.inScope(inner, () => engine.walker.sequence(step.do, inner));
    if (until !== undefined && engine.test(until, scope)) return { output: { iterations: turn } };
    if (every !== undefined && turn < most)
      await engine.wait(Math.min(durationMs(every), deadline - Date.now()), 'loop', handle.record);
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
  let metSince: number | undefined;
  for (let turn = cursor.turn; ; turn += 1) {
    cursor.turn = turn;
    const scope = innerFrame(frame, turnPath(handle.path, turn), { iteration: turn });
    const act = (steps: readonly Step[]): Promise<void> =>
      engine.inScope(scope, () => engine.walker.sequence(steps, scope));
    const seen = await engine.inScope(scope, () => observe(engine, step, scope));
    if (seen && engine.test(goal, scope)) {
      metSince ??= Date.now();
      if (Date.now() - metSince >= stableMs) {
        return { output: (scope.steps[step.observe.id]?.output ?? null) as VerbResult['output'] };
      }
    } else {
      metSince = undefined;
      // What could not be seen is unknown, and never a reason to act.
      if (seen && Date.now() < end && step.do !== undefined) await act(step.do);
    }
    const left = end - Date.now();
    if (left <= 0) break;
    const pause = metSince === undefined ? everyMs : Math.min(everyMs, metSince + stableMs - Date.now());
    await engine.wait(Math.min(pause, left), `next look at ${handle.path}`, handle.record);
  }
  throw fail('goal-not-met', `the goal was not reached within ${deadline}`, engine.where(handle.path, step.id));
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
