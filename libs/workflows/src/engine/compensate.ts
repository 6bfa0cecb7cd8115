import type { Problem, Step } from '@opsloop/contracts';
import { CancellationScope } from '@temporalio/workflow';
import { atomOf, invoke } from '../steps/call.js';
import { timeoutProblem } from './engine.js';
import type { Engine } from './engine.js';
import { ContinueLater, FlowReturn } from './errors.js';
import { failureOf } from './failures.js';
import { problemOf } from './problems.pure.js';
import type { Frame } from './types.js';
import type { UndoEntry, UndoStack } from './undo.js';

/** Compensation and `finally` go on when the run is cancelled, but not for ever. */
const CLEANUP_MS = 600_000;

/**
 * Undoes what a scope did, newest first (the branches of one `parallel` side by side), and notes in `suppressed` what
 * went wrong on the way: a failed compensation never hides the first error and never stops the others.
 */
export async function compensate(engine: Engine, frame: Frame, stack: UndoStack, suppressed: Problem[]): Promise<void> {
  if (stack.isEmpty) return stack.clear();
  const inner: Frame = { ...frame, phase: 'compensation' };
  await cleanUp(engine, frame, 'compensation', suppressed, () => undoAll(engine, inner, stack, suppressed));
}

async function undoAll(engine: Engine, frame: Frame, stack: UndoStack, suppressed: Problem[]): Promise<void> {
  for (let entry = stack.entries.at(-1); entry !== undefined; entry = stack.entries.at(-1)) {
    if ('branches' in entry) {
      const ends = await Promise.allSettled(
        [...entry.branches.values()].map((branch) => undoAll(engine, frame, branch, suppressed)),
      );
      const failed = ends.filter((end) => end.status === 'rejected').map((end): unknown => end.reason);
      // Leaving comes first: what another branch met, it meets again in the new run.
      if (failed.length > 0) throw failed.find((err) => err instanceof ContinueLater) ?? failed[0];
    } else if (!entry.dropped) {
      if (engine.leaving.asks(frame)) throw new ContinueLater();
      const problem = await undoOne(engine, frame, entry);
      if (problem !== undefined) suppressed.push(problem);
    }
    stack.entries.pop();
  }
}

async function undoOne(engine: Engine, frame: Frame, entry: UndoEntry): Promise<Problem | undefined> {
  const id = entry.path.split('/').at(-1) ?? entry.path;
  const record = engine.open({ id, call: entry.call } as Step, 'call', entry.path, entry.title);
  const where = engine.where(entry.path, id);
  try {
    const step = { id, call: entry.call };
    const output = await invoke(engine, {
      step,
      atom: atomOf(frame, entry.call),
      input: entry.input(),
      secrets: entry.secrets,
      frame,
      handle: { path: entry.path, record },
      path: entry.path,
    });
    record.status = 'succeeded';
    engine.undone(entry.path);
    if (output !== null && output !== undefined) record.output = output;
    return undefined;
  } catch (err) {
    const failure = failureOf(err, where);
    if (failure === undefined) {
      record.status = err instanceof ContinueLater ? 'waiting' : 'cancelled';
      throw err;
    }
    record.status = 'failed';
    engine.undone(entry.path);
    record.problem = failure.problem;
    return problemOf('compensation-failed', `${entry.title} failed`, { ...where, cause: failure.problem });
  } finally {
    record.endedAt = engine.now();
  }
}

/** Runs `finally` steps; a problem in them is noted, not thrown. */
export async function runFinally(
  engine: Engine,
  frame: Frame,
  steps: readonly Step[] | undefined,
  problems: Problem[],
): Promise<void> {
  if (steps === undefined || steps.length === 0) return;
  const inner: Frame = { ...frame, phase: 'finally', late: true };
  await cleanUp(engine, frame, 'finally', problems, () => engine.walker.sequence(steps, inner));
}

async function cleanUp(
  engine: Engine,
  frame: Frame,
  what: string,
  problems: Problem[],
  work: () => Promise<void>,
): Promise<void> {
  const where = engine.where(frame.path, what);
  const late = (): Problem => timeoutProblem(`${what} took longer than 10m`, where);
  try {
    await CancellationScope.nonCancellable(() => engine.withDeadline(CLEANUP_MS, late, work, `${frame.path}@${what}`));
  } catch (err) {
    // `return` inside `finally` ends only the clean-up: what happened before decides how the flow ends.
    if (err instanceof FlowReturn) return;
    const failure = failureOf(err, where);
    if (failure === undefined) throw err;
    problems.push(failure.problem);
  }
}
