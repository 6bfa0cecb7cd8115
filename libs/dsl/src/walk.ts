import type { CatchClause, FlowDocument, Step } from '@opsloop/contracts';
import { pointerTo } from '@opsloop/rules';

/** One step with where it stands. Lists are `do`, `try`, `finally`, branches and handlers alike. */
export interface PlacedStep {
  step: Step;
  pointer: string;
  /** Pointer of the list that holds it; undefined for `observe` and `gate`. */
  list?: string;
  /** Verb of the step whose body it is, or `flow`. */
  parent: string;
}

/** Every step of a flow, outer ones first. The nesting was bounded before. */
export function* stepsOf(flow: FlowDocument): Generator<PlacedStep> {
  yield* listOf(flow.do, '/do', 'flow');
  yield* catchOf(flow.catch, '/catch');
  yield* listOf(flow.finally, '/finally', 'flow');
}

function* listOf(steps: readonly Step[] | undefined, pointer: string, parent: string): Generator<PlacedStep> {
  if (!Array.isArray(steps)) return;
  for (const [i, step] of (steps as readonly Step[]).entries())
    yield* one(step, pointerTo(pointer, i), parent, pointer);
}

function* catchOf(clauses: readonly CatchClause[] | undefined, pointer: string): Generator<PlacedStep> {
  for (const [i, clause] of (clauses ?? []).entries()) yield* listOf(clause.do, `${pointer}/${i}/do`, 'catch');
}

function* one(step: Step, pointer: string, parent: string, list?: string): Generator<PlacedStep> {
  yield { step, pointer, parent, ...(list === undefined ? {} : { list }) };
  if ('switch' in step)
    for (const [i, branch] of step.switch.entries()) yield* listOf(branch.do, `${pointer}/switch/${i}/do`, 'switch');
  if ('try' in step) {
    yield* listOf(step.try, `${pointer}/try`, 'try');
    yield* catchOf(step.catch, `${pointer}/catch`);
    yield* listOf(step.finally, `${pointer}/finally`, 'try');
  }
  if ('forEach' in step && step.forEach.batch?.gate !== undefined)
    yield* one(step.forEach.batch.gate, `${pointer}/forEach/batch/gate`, 'gate');
  if ('observe' in step) yield* one(step.observe, `${pointer}/observe`, 'observe');
  if ('do' in step) {
    const parentVerb = ['parallel', 'forEach', 'loop', 'reconcile'].find((verb) => verb in step) ?? 'do';
    yield* listOf(step.do, `${pointer}/do`, parentVerb);
  }
}
