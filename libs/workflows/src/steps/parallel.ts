import type { ParallelStep, Step } from '@opsloop/contracts';
import type { Engine } from '../engine/engine.js';
import { ContinueLater, StepFailure, fail } from '../engine/errors.js';
import { BranchGroup } from '../engine/group.js';
import type { BranchEnd } from '../engine/group.js';
import { joinPath } from '../engine/paths.pure.js';
import { branchOf } from '../engine/undo.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';

/** `parallel`: children start together, `needs` makes it a DAG, `limit` bounds how many run at once. */
export async function parallelStep(
  engine: Engine,
  step: ParallelStep,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  const { join = 'all', onError = 'cancel', limit } = step.parallel;
  const wanted = join === 'all' ? step.do.length : join === 'any' ? 1 : join.count;
  const group = new BranchGroup();
  const undo = frame.undo.group(handle.path);
  const gate = slots(limit ?? step.do.length);
  const ends = new Map<string, Promise<BranchEnd>>();
  const failures: StepFailure[] = [];
  let done = 0;

  const runBranch = async (child: Step): Promise<BranchEnd> => {
    const needed = await Promise.all((child.needs ?? []).map((id) => ends.get(id)));
    // A branch whose ground did not hold is not started; its own end counts as neither success nor failure.
    if (needed.some((end) => end?.kind === 'left')) return group.leave();
    if (needed.some((end) => end !== undefined && end.kind !== 'done')) return { kind: 'cancelled' };
    await gate.take();
    const branch = branchOf(undo, child.id);
    const path = joinPath(handle.path, child.id);
    const inner: Frame = { ...frame, path: handle.path, undo: branch, concurrent: true };
    const end = await group.run(async () => {
      if (!engine.journal.has(path) && engine.leaving.asks(inner)) throw new ContinueLater();
      await engine.walker.step(child, inner);
    }, engine.resumes(path));
    gate.free();
    if (end.kind === 'done') {
      done += 1;
      if (done >= wanted && join !== 'all') group.cancel();
    }
    if (end.kind === 'failed') {
      failures.push(end.failure);
      const hopeless = step.do.length - failures.length < wanted;
      if (onError === 'cancel' && hopeless) group.cancel();
    }
    return end;
  };
  // `needs` is acyclic and known (checked at plan), but may name a later branch: register all before any looks.
  const starts = step.do.map((child) => {
    let begin!: () => void;
    const started = new Promise<void>((resolve) => (begin = resolve));
    ends.set(
      child.id,
      started.then(() => runBranch(child)),
    );
    return begin;
  });
  for (const begin of starts) begin();
  await Promise.all(ends.values());
  group.rethrow();
  if (done < wanted) {
    throw (
      failures[0] ??
      fail('runtime', `only ${done} of ${wanted} branches ended well`, engine.where(handle.path, step.id))
    );
  }
  return { output: null };
}

/** Admits `count` at a time, first come first served. */
function slots(count: number): { take(): Promise<void>; free(): void } {
  let left = Math.max(1, count);
  const queue: (() => void)[] = [];
  return {
    async take() {
      if (left > 0) left -= 1;
      else await new Promise<void>((resolve) => queue.push(resolve));
    },
    free() {
      const next = queue.shift();
      if (next === undefined) left += 1;
      else next();
    },
  };
}
