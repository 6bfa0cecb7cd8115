import { durationMs, verbOf } from '@opsloop/contracts';
import type { Json, Problem, Step, StepRecord } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { CancellationScope, CancelledFailure, isCancellation, patched } from '@temporalio/workflow';
import { ContinueLater, FlowReturn, StepFailure } from './errors.js';
import { failureOf } from './failures.js';
import { attemptPath, joinPath } from './paths.pure.js';
import { codeOf } from './problems.pure.js';
import { backoffMs, namedRetry, triesAgain } from './retry.pure.js';
import { timeoutProblem } from './engine.js';
import type { Engine } from './engine.js';
import { OUTPUT_BYTES_MAX } from './records.pure.js';
import { isLarger } from './size.pure.js';
import type { Frame, StepHandle, StepView, VerbResult, Walker } from './types.js';
import type { Verb } from '@opsloop/contracts';

/** Executes one verb; `step` is narrowed by the table that maps verbs to functions. */
export type VerbFunction = (engine: Engine, step: never, frame: Frame, handle: StepHandle) => Promise<VerbResult>;

/** One recursion over the flow: every step passes here, whatever its verb. */
export function createWalker(engine: Engine, verbs: Readonly<Record<Verb, VerbFunction>>): Walker {
  const walker: Walker = {
    async sequence(steps, frame) {
      for (const step of steps) {
        if (engine.leaving.asks(frame)) throw new ContinueLater();
        const pause = engine.stepBoundary();
        if (pause !== undefined) await pause;
        await walker.step(step, frame);
      }
    },
    async step(step, frame) {
      const path = joinPath(frame.path, step.id);
      const done = engine.journal.get(path);
      if (done !== undefined) {
        if (done.status === 'failed' && done.problem !== undefined) throw new StepFailure(done.problem);
        if (done.returned !== undefined) throw new FlowReturn(done.returned.output);
        return;
      }
      const resumes = engine.resumes(path);
      // What was under way in the Temporal run before is entered again, so that it can clean up.
      if (!resumes && (CancellationScope.current().consideredCancelled || engine.steering.stops(path, frame.phase)))
        throw new CancelledFailure('the run was cancelled');
      const verb = verbOf(step);
      let record: StepRecord | undefined;
      try {
        record = engine.open(step, verb, path, titleOf(engine, step, frame));
        if (frame.phase === 'forward' && !resumes && engine.steering.holds(path))
          await engine.steering.hold(record, () => engine.steering.holds(path));
        const given = engine.steering.skipped(path);
        if (given !== undefined && !resumes) {
          settle(engine, frame, path, record, 'skipped', { output: given });
          return;
        }
        const doubt = engine.steering.doubtOf(path);
        if (doubt !== undefined) throw new StepFailure(doubt);
        if (!resumes && step.if !== undefined && !engine.test(step.if, frame)) {
          settle(engine, frame, path, record, 'skipped', { output: null });
          return;
        }
        if (BLOCKS.has(verb)) engine.live.add(path);
        const result = await runVerb(engine, verbs[verb], step, frame, { path, record });
        // Skipped while it ran: also when it came to an end all the same, what the operator said counts.
        const said = engine.steering.skipped(path);
        if (said !== undefined) return settle(engine, frame, path, record, 'skipped', { output: said });
        const output =
          step.output === undefined
            ? result.output
            : engine.render(step.output, frame, { result: toScopeValue(result.output) });
        settle(engine, frame, path, record, 'succeeded', { ...result, output });
      } catch (err) {
        const failure = failedBy(engine, step, frame, record, err);
        if (failure === undefined) return;
        if (record !== undefined && isForPerson(step, frame, failure.problem) && patched('unknown-to-operator')) {
          const again = await engine.steering.judge(path, record, failure.problem);
          if (again || engine.steering.skipped(path) !== undefined) return walker.step(step, frame);
        }
        if (record !== undefined) settleFailed(engine, frame, path, record, failure.problem);
        throw failure;
      }
    },
  };
  return walker;
}

/**
 * What an error means for its step: it has failed with this, or an operator has skipped it meanwhile (undefined).
 * A `return`, the cancel of the run, leaving for a new one and bugs of ours go on outward.
 */
function failedBy(
  engine: Engine,
  step: Step,
  frame: Frame,
  record: StepRecord | undefined,
  err: unknown,
): StepFailure | undefined {
  const path = joinPath(frame.path, step.id);
  const skips = (given: Json | undefined): given is Json => {
    if (record === undefined || given === undefined) return false;
    settle(engine, frame, path, record, 'skipped', { output: given });
    return true;
  };
  if (err instanceof FlowReturn) {
    if (record !== undefined) settle(engine, frame, path, record, 'succeeded', { output: null }, err);
    throw err;
  }
  if (isCancellation(err) && record !== undefined) {
    if (!CancellationScope.current().consideredCancelled && skips(engine.steering.skipped(path))) return undefined;
    record.status = 'cancelled';
    record.endedAt = engine.now();
    throw err;
  }
  const failure = failureOf(err, engine.where(path, step.id));
  if (failure === undefined) throw err;
  return skips(engine.steering.skipped(path)) ? undefined : failure;
}

/**
 * Whether the step changed something that must not be changed twice, and nobody knows: its worker was lost or late.
 * Then a person looks at the target and says whether it is done again, skipped or has failed.
 */
function isForPerson(step: Step, frame: Frame, problem: Problem): boolean {
  if (!('call' in step) || frame.phase !== 'forward' || codeOf(problem) !== 'timeout') return false;
  const atom = frame.ir.atoms[step.call];
  if (atom === undefined || atom.idempotency !== 'none' || atom.effect === 'read') return false;
  return problem['timeoutType'] === 'START_TO_CLOSE' || problem['timeoutType'] === 'HEARTBEAT';
}

/** Verbs with steps inside: leaving for a new run may find them half done. */
const BLOCKS: ReadonlySet<Verb> = new Set(['do', 'parallel', 'switch', 'forEach', 'loop', 'reconcile', 'try'] as const);

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
  if ('call' in step) {
    const run = (): Promise<VerbResult> => verb(engine, step as never, frame, handle);
    // A local call answers within seconds; a scope of its own would cost a tenth of it.
    return frame.ir.atoms[step.call]?.execution === 'local' ? run() : engine.steering.cuttable(handle.path, run);
  }
  const plain = (h: StepHandle): Promise<VerbResult> =>
    'run' in step
      ? engine.steering.cuttable(h.path, () => verb(engine, step as never, frame, h))
      : verb(engine, step as never, frame, h);
  const bounded = (h: StepHandle): Promise<VerbResult> =>
    typeof step.timeout === 'string'
      ? engine.withDeadline(
          durationMs(step.timeout),
          () => timeoutProblem(`the step took longer than ${String(step.timeout)}`, engine.where(h.path, step.id)),
          () => plain(h),
          h.path,
        )
      : plain(h);
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
      await engine.wait(backoffMs(retry, attempt), `retry of ${handle.path}`, handle.record, path);
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
  returned?: FlowReturn,
): void {
  record.status = status;
  record.endedAt = engine.now();
  const value = toScopeValue(result.output);
  // A large output stands in the scope alone; the list of records is for people, and there are thousands of them.
  if (result.output !== null && !isLarger(result.output, OUTPUT_BYTES_MAX)) record.output = result.output;
  frame.steps[record.id] = viewOf(record, value, null, result.failed);
  engine.prune(path);
  engine.forget(path);
  engine.journal.set(path, {
    status,
    ...(frame.late === true ? { late: true } : {}),
    ...(returned === undefined ? {} : { returned: { output: returned.output } }),
  });
}

function settleFailed(engine: Engine, frame: Frame, path: string, record: StepRecord, problem: Problem): void {
  record.status = 'failed';
  record.endedAt = engine.now();
  record.problem = problem;
  if (typeof problem.attempt === 'number') record.attempts = problem.attempt;
  frame.steps[record.id] = viewOf(record, null, toScopeValue(problem as unknown as Json), undefined);
  // What stands below is kept: a retry of the run goes on from there.
  engine.live.delete(path);
  engine.resumed.delete(path);
  engine.journal.set(path, { status: 'failed', problem, ...(frame.late === true ? { late: true } : {}) });
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
