/** What a retry of a run from where it failed would execute again. */
import type { Effect, Plan, PlanStep, RetryPlan, StepRecord } from '@opsloop/contracts';

/** `replace[m-17]/retire~2` → `replace/retire`: the step as it is written. */
export function writtenPath(path: string): string {
  return path.replaceAll(/\[[^\]]*\]|~[^/]*/g, '');
}

/**
 * The journal keeps what has ended well; what failed, was cancelled or undone, and what belongs to the handling of
 * the failure, is executed again, and then what the run never reached.
 */
export function planRetry(plan: Plan, records: readonly StepRecord[]): RetryPlan {
  const written = new Map<string, PlanStep>();
  const visit = (steps: readonly PlanStep[]): void => {
    for (const step of steps) {
      written.set(step.path, step);
      visit(step.steps ?? []);
    }
  };
  visit(plan.steps);
  const undone = new Set(records.filter(({ path }) => path.endsWith('~undo')).map(({ path }) => path.slice(0, -5)));
  const result: RetryPlan = { kept: [], again: [], first: [] };
  const reached = new Set<string>();
  for (const { path, status } of records) {
    if (path.endsWith('~undo')) continue;
    const step = written.get(writtenPath(path));
    for (let at = writtenPath(path); at !== ''; at = at.includes('/') ? at.slice(0, at.lastIndexOf('/')) : '')
      reached.add(at);
    const why = undone.has(path)
      ? 'it was undone'
      : status === 'succeeded' || status === 'skipped'
        ? step === undefined && !written.has(writtenPath(path))
          ? 'this version has no such step'
          : undefined
        : status === 'failed'
          ? 'it failed'
          : `it was ${status}`;
    if (why === undefined) result.kept.push(path);
    else if (step !== undefined) result.again.push({ path, why, ...effectOf(step) });
  }
  for (const [path, step] of written)
    if (!reached.has(path) && step.skipped !== true) result.first.push({ path, ...effectOf(step) });
  return result;
}

function effectOf(step: PlanStep): { effect?: Effect } {
  return step.effect === undefined ? {} : { effect: step.effect };
}
