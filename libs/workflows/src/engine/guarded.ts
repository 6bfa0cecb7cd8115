/** A guarded block, `try` or a whole flow: body → catch → compensation → finally → outward. */
import { OpsError } from '@opsloop/contracts';
import type { CatchClause, Json, Problem, Step } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { CancelledFailure, isCancellation } from '@temporalio/workflow';
import { compensate, runFinally } from './compensate.js';
import type { Engine } from './engine.js';
import { ContinueLater, FlowReturn, StepFailure } from './errors.js';
import { failureOf } from './failures.js';
import { attemptPath } from './paths.pure.js';
import { matchesErrors, withSuppressed } from './problems.pure.js';
import { backoffMs, namedRetry, triesAgain } from './retry.pure.js';
import { withNames } from './scope.js';
import type { Frame } from './types.js';

export interface Guarded {
  /** Path of the block; its children add to it. '' for a flow. */
  path: string;
  /** Step id for problems. */
  id: string;
  body: (frame: Frame) => Promise<void>;
  catches: readonly CatchClause[] | undefined;
  finally: readonly Step[] | undefined;
}

/** How a block ended whose clean-up is still under way: what a continue-as-new remembers of it. */
interface Ending {
  failed?: Problem;
  cancelled?: true;
  returned?: { output: Json };
  suppressed: Problem[];
}

/** Runs the block. `frame.undo` must be the block's own stack; the caller merges it outward when the block ended well. */
export async function runGuarded(engine: Engine, frame: Frame, block: Guarded): Promise<void> {
  const known = engine.remembered.get(`${block.path}!`) as Ending | undefined;
  let first: unknown = known === undefined ? undefined : revive(known);
  if (known === undefined) {
    try {
      await bodyWithCatch(engine, frame, block);
    } catch (err) {
      first = err;
      if (!endsBlock(err)) throw err;
    }
  }
  const suppressed: Problem[] = known?.suppressed ?? [];
  const late: Problem[] = [];
  const around = { ...frame, path: block.path };
  try {
    if (first !== undefined && !(first instanceof FlowReturn)) await compensate(engine, around, frame.undo, suppressed);
    await runFinally(engine, around, block.finally, late);
  } catch (err) {
    if (err instanceof ContinueLater)
      engine.remembered.set(`${block.path}!`, endingOf(engine, first, suppressed, block) as unknown as Json);
    throw err;
  }
  if (first === undefined || first instanceof FlowReturn) {
    if (late[0] !== undefined) throw new StepFailure(late[0]);
    if (first !== undefined) throw first;
    return;
  }
  suppressed.push(...late);
  const failure = failureOf(first, engine.where(block.path, block.id));
  if (failure !== undefined) throw new StepFailure(withSuppressed(failure.problem, suppressed));
  engine.suppressed.push(...suppressed);
  throw first;
}

function endingOf(engine: Engine, first: unknown, suppressed: Problem[], block: Guarded): Ending {
  if (first instanceof FlowReturn) return { returned: { output: first.output }, suppressed };
  const failure = first === undefined ? undefined : failureOf(first, engine.where(block.path, block.id));
  if (failure !== undefined) return { failed: failure.problem, suppressed };
  return { ...(first === undefined ? {} : { cancelled: true }), suppressed };
}

function revive(ending: Ending): unknown {
  if (ending.failed !== undefined) return new StepFailure(ending.failed);
  if (ending.returned !== undefined) return new FlowReturn(ending.returned.output);
  return ending.cancelled === true ? new CancelledFailure('the run was cancelled') : undefined;
}

/** Bugs and leaving for a new run pass by catch, compensation and `finally`. */
function endsBlock(err: unknown): boolean {
  return err instanceof StepFailure || err instanceof FlowReturn || err instanceof OpsError || isCancellation(err);
}

async function bodyWithCatch(engine: Engine, frame: Frame, block: Guarded): Promise<void> {
  const cursor = block.catches?.some((clause) => clause.retry !== undefined)
    ? engine.cursor(`${block.path}~`)
    : { turn: 1 };
  for (let attempt = cursor.turn; ; attempt += 1) {
    cursor.turn = attempt;
    const path = attemptPath(block.path, attempt);
    try {
      await block.body({ ...frame, path });
      return;
    } catch (err) {
      const failure = failureOf(err, engine.where(path, block.id));
      if (failure === undefined) throw err;
      const chosen = engine.remember(`${path}@catch`, () => findCatch(engine, frame, block.catches, failure.problem));
      const clause = block.catches?.[chosen];
      if (clause === undefined) throw failure;
      if (clause.retry !== undefined) {
        const retry = namedRetry(clause.retry, frame.ir.flow);
        if (triesAgain(retry, attempt, failure.problem, false)) {
          await engine.wait(backoffMs(retry, attempt), `retry of ${block.path || block.id}`, undefined, path || '~1');
          continue;
        }
      }
      if (clause.do === undefined) {
        // A clause with a retry alone lets the error go on when the retries are used up; an empty one swallows it.
        if (clause.retry !== undefined) throw failure;
        return;
      }
      const names = withNames(frame.names, { [clause.as ?? 'err']: problemValue(failure.problem) });
      await engine.walker.sequence(clause.do, { ...frame, path, names, late: true });
      return;
    }
  }
}

function problemValue(p: Problem): unknown {
  return toScopeValue(p as unknown as Json);
}

/** Index of the first clause that matches, −1 when none does. */
function findCatch(engine: Engine, frame: Frame, clauses: readonly CatchClause[] | undefined, p: Problem): number {
  return (clauses ?? []).findIndex(
    (clause) =>
      matchesErrors(clause, p) &&
      (clause.when === undefined || engine.test(clause.when, frame, { [clause.as ?? 'err']: problemValue(p) })),
  );
}
