import { expressionError } from './finding.js';
import type { Scope } from './scope-value.js';

/**
 * What one expression may cost: 100,000 node visits (about 10 ms) and 1 MB of text and lists made. Iterators over data
 * are the only way to spend much, and data comes from outside.
 */
export const STEPS_MAX = 100_000;
export const SIZE_MAX = 1_000_000;

/** The state of one evaluation. json-logic-js operations are plain functions, so they find it in `current`. */
export class Evaluation {
  private steps = 0;
  private size = 0;
  constructor(readonly scope: Scope) {}

  step(count = 1): void {
    this.steps += count;
    if (this.steps > STEPS_MAX) throw expressionError(`the expression takes more than ${STEPS_MAX} steps on this data`);
  }

  add(size: number): void {
    this.size += size;
    if (this.size > SIZE_MAX) throw expressionError(`the expression makes more than ${SIZE_MAX} characters of data`);
  }
}

let current: Evaluation | undefined;

/** Evaluation is synchronous, so the one slot is never shared; it is restored even when the expression fails. */
export function runWith<T>(evaluation: Evaluation, run: () => T): T {
  const before = current;
  current = evaluation;
  try {
    return run();
  } finally {
    current = before;
  }
}

export function here(): Evaluation {
  if (current === undefined) throw expressionError('an operator was called outside an evaluation');
  return current;
}
