/** A guarded block, `try` or a whole flow: body → catch → compensation → finally → outward. */
import { OpsError } from '@opsloop/contracts';
import type { CatchClause, Json, Problem, Step } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { isCancellation } from '@temporalio/workflow';
import { compensate, runFinally } from './compensate.js';
import type { Engine } from './engine.js';
import { FlowReturn, StepFailure, fail } from './errors.js';
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

/** Runs the block. `frame.undo` must be the block's own stack; the caller merges it outward when the block ended well. */
export async function runGuarded(engine: Engine, frame: Frame, block: Guarded): Promise<void> {
  let first: unknown;
  try {
    await bodyWithCatch(engine, frame, block);
  } catch (err) {
    first = err;
    if (!endsBlock(err)) throw err;
  }
  const suppressed: Problem[] = [];
  if (first !== undefined && !(first instanceof FlowReturn)) {
    suppressed.push(...(await compensate(engine, { ...frame, path: block.path }, frame.undo)));
  }
  const late = await runFinally(engine, { ...frame, path: block.path }, block.finally);
  if (first === undefined || first instanceof FlowReturn) {
    if (late[0] !== undefined) throw new StepFailure(late[0]);
    if (first !== undefined) throw first;
    return;
  }
  suppressed.push(...late);
  if (first instanceof StepFailure) throw new StepFailure(withSuppressed(first.problem, suppressed));
  engine.suppressed.push(...suppressed);
  throw first;
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
      const clause = findCatch(engine, frame, block.catches, failure.problem);
      if (clause === undefined) throw failure;
      if (clause.retry !== undefined) {
        const retry = namedRetry(clause.retry, frame.ir.flow);
        if (triesAgain(retry, attempt, failure.problem, false)) {
          await engine.wait(backoffMs(retry, attempt), `retry of ${block.path || block.id}`);
          continue;
        }
      }
      if (clause.do === undefined) {
        // A clause with a retry alone lets the error go on when the retries are used up; an empty one swallows it.
        if (clause.retry !== undefined) throw failure;
        return;
      }
      const names = withNames(frame.names, { [clause.as ?? 'err']: problemValue(failure.problem) });
      await engine.walker.sequence(clause.do, { ...frame, path, names });
      return;
    }
  }
}

function problemValue(p: Problem): unknown {
  return toScopeValue(p as unknown as Json);
}

function findCatch(
  engine: Engine,
  frame: Frame,
  clauses: readonly CatchClause[] | undefined,
  p: Problem,
): CatchClause | undefined {
  for (const clause of clauses ?? []) {
    if (!matchesErrors(clause, p)) continue;
    if (clause.when === undefined) return clause;
    if (engine.test(clause.when, frame, { [clause.as ?? 'err']: problemValue(p) })) return clause;
  }
  return undefined;
}

export function notAvailable(verb: string): never {
  throw fail('configuration', `"${verb}" is not available yet`);
}
