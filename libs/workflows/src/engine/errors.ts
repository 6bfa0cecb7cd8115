import type { Json, Problem } from '@opsloop/contracts';
import { fitProblem, problemOf } from './problems.pure.js';

/** A step failed with a problem. The only error that `catch` clauses see. */
export class StepFailure extends Error {
  override readonly name = 'StepFailure';
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail ?? problem.title);
    this.problem = fitProblem(problem);
  }
}

/** `return`: ends the flow with an output; passes through `finally` but not through `catch` or compensation. */
export class FlowReturn extends Error {
  override readonly name = 'FlowReturn';
  constructor(readonly output: Json) {
    super('return');
  }
}

/** Leaves the walk at a safe point, to go on in a new Temporal run with the journal. */
export class ContinueLater extends Error {
  override readonly name = 'ContinueLater';
}

export function fail(code: string, detail: string, members: Partial<Problem> = {}): StepFailure {
  return new StepFailure(problemOf(code, detail, members));
}
