import { durationMs, verbOf } from '@opsloop/contracts';
import type { Json, Problem, Step, StepRecord } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { CancellationScope, CancelledFailure, isCancellation } from '@temporalio/workflow';
import { ContinueLater, FlowReturn, StepFailure } from './errors.js';
import { failureOf } from './failures.js';
import { attemptPath, joinPath } from './paths.pure.js';
import { backoffMs, namedRetry, triesAgain } from './retry.pure.js';
import { timeoutProblem } from './engine.js';
import type { Engine } from './engine.js';
import type { Frame, StepHandle, StepView, VerbResult, Walker } from './types.js';
import type { Verb } from '@opsloop/contracts';

/** Executes one verb; `step` is narrowed by the table that maps verbs to functions. */
export type VerbFunction = (engine: Engine, step: never, frame: Frame, handle: StepHandle) => Promise<VerbResult>;

/** One recursion over the flow: every step passes here, whatever its verb. */
export function createWalker(engine: Engine, verbs: Readonly<Record<Verb, VerbFunction>>): Walker {
  const walker: Walker = {
    async sequence(steps, frame) {
      for (const step of steps) {
        if (!frame.concurrent && frame.phase === 'forward' && engine.shouldContinueAsNew()) throw new ContinueLater();
        await walker.step(step, frame);
      }
    },
    async step(step, frame) {
      const path = joinPath(frame.path, step.id);
      const done = engine.journal.get(path);
      if (done !== undefined) {
        if (done.status === 'failed' && done.problem !== undefined) throw new StepFailure(done.problem);
        return;
      }
      if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('the run was cancelled');
      const verb = verbOf(step);
      const where = engine.where(path, step.id);
      let record: StepRecord | undefined;
      try {
        record = engine.open(step, verb, path, titleOf(engine, step, frame));
        if (step.if !== undefined && !engine.test(step.if, frame)) {
          settle(engine, frame, path, record, 'skipped', { output: null });
          return;
        }
        const result = await runVerb(engine, verbs[verb], step, frame, { path, record });
        const output =
          step.output === undefined
            ? result.output
            : engine.render(step.output, frame, { result: toScopeValue(result.output) });
        settle(engine, frame, path, record, 'succeeded', { ...result, output });
      } catch (err) {
        if (err instanceof FlowReturn) {
          if (record !== undefined) settle(engine, frame, path, record, 'succeeded', { output: null });
          throw err;
        }
        if (isCancellation(err) && record !== undefined) {
          record.status = 'cancelled';
          record.endedAt = engine.now();
          throw err;
        }
        const failure = failureOf(err, where);
        // Not a failure of the flow: a bug of ours, or leaving for a new run.
        if (failure === undefined) throw err;
        if (record !== undefined) settleFailed(engine, frame, path, record, failure.problem);
        throw failure;
      }
    },
  };
  return walker;
}

/** Titles may be templates; a title that cannot be rendered never fails a step. */
function titleOf(engine: Engine, step: Step, frame: Frame): string | undefined {
  if (step.title === undefined || !step.title.includes('${')) return step.title;
  try {
    const text = engine.render(step.title, frame);
    return typeof text === 'string' ? text : JSON.stringify(text);
  } catch {
    return step.title;
  }
}

/** Every promise costs a stack trace in the SDK, so plain steps pass here without one. */
/** The verb under the step's own `timeout` and `retry`; a `call` leaves both to Temporal. */
function runVerb(
  engine: Engine,
  verb: VerbFunction,
  step: Step,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  if ('call' in step) return verb(engine, step as never, frame, handle);
  const bounded = (h: StepHandle): Promise<VerbResult> =>
    typeof step.timeout === 'string'
      ? engine.withDeadline(
          durationMs(step.timeout),
          () => timeoutProblem(`the step took longer than ${String(step.timeout)}`, engine.where(h.path, step.id)),
          () => verb(engine, step as never, frame, h),
        )
      : verb(engine, step as never, frame, h);
  return step.retry === undefined ? bounded(handle) : repeat(engine, step, frame, handle, bounded);
}

/** Repeats a block by the step's `retry`; each repeat has paths, and so keys, of its own. */
async function repeat(
  engine: Engine,
  step: Step,
  frame: Frame,
  handle: StepHandle,
  once: (handle: StepHandle) => Promise<VerbResult>,
): Promise<VerbResult> {
  const retry = namedRetry(step.retry!, frame.ir.flow);
  const cursor = engine.cursor(`${handle.path}~`);
  for (let attempt = cursor.turn; ; attempt += 1) {
    cursor.turn = attempt;
    handle.record.attempts = attempt;
    const path = attemptPath(handle.path, attempt);
    try {
      return await once({ ...handle, path });
    } catch (err) {
      const failure = failureOf(err, engine.where(path, step.id));
      if (failure === undefined) throw err;
      if (!triesAgain(retry, attempt, failure.problem, true)) {
        throw new StepFailure({ ...failure.problem, attempt });
      }
      await engine.wait(backoffMs(retry, attempt), `retry of ${handle.path}`, handle.record);
    }
  }
}

function settle(
  engine: Engine,
  frame: Frame,
  path: string,
  record: StepRecord,
  status: 'succeeded' | 'skipped',
  result: { output: Json; failed?: Json },
): void {
  record.status = status;
  record.endedAt = engine.now();
  const value = toScopeValue(result.output);
  if (result.output !== null) record.output = result.output;
  frame.steps[record.id] = viewOf(record, value, null, result.failed);
  engine.journal.set(path, { status });
  engine.forget(path);
}

function settleFailed(engine: Engine, frame: Frame, path: string, record: StepRecord, problem: Problem): void {
  record.status = 'failed';
  record.endedAt = engine.now();
  record.problem = problem;
  if (typeof problem.attempt === 'number') record.attempts = problem.attempt;
  frame.steps[record.id] = viewOf(record, null, toScopeValue(problem as unknown as Json), undefined);
  engine.journal.set(path, { status: 'failed', problem });
  engine.forget(path);
}

function viewOf(record: StepRecord, output: unknown, error: unknown, failed: Json | undefined): StepView {
  return Object.freeze(
    Object.assign(Object.create(null) as object, {
      status: record.status,
      output,
      error,
      attempts: record.attempts,
      startedAt: record.startedAt,
      endedAt: record.endedAt ?? record.startedAt,
      ...(failed === undefined ? {} : { failed: toScopeValue(failed) }),
    }),
  ) as StepView;
}
