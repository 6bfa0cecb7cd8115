/** Verbs that hold other steps in order: do, switch, try. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { Claim, DoStep, SwitchStep, TryStep } from '@opsloop/contracts';
import { CancellationScope, scheduleLocalActivity } from '@temporalio/workflow';
import type { ClaimAnswer, ClaimRequest, ReleaseRequest } from '../activities.js';
import type { Engine } from '../engine/engine.js';
import { ContinueLater, fail } from '../engine/errors.js';
import { runGuarded } from '../engine/guarded.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';
import { pretends } from './dry-run.js';

/** One attempt is one HTTP call to control; the whole is patient, since control may be restarting. */
const CLAIM_ATTEMPT_MS = 10_000;
const CLAIM_TOTAL_MS = 600_000;
const CLAIM_RETRY = { initialInterval: 200, backoffCoefficient: 2, maximumInterval: 10_000 };

export async function doStep(engine: Engine, step: DoStep, frame: Frame, handle: StepHandle): Promise<VerbResult> {
  const inner: Frame = { ...frame, path: handle.path };
  if (step.lock === undefined) {
    await engine.walker.sequence(step.do, inner);
    return { output: null };
  }
  const claims = step.lock.claims.map(({ path, mode }): Claim => {
    const text = engine.render(path, frame);
    if (typeof text !== 'string' || text === '')
      throw fail('expression', `a claim needs a path, got ${JSON.stringify(text)}`);
    return { path: text, mode };
  });
  await underClaims(engine, handle.path, claims, (fence) =>
    engine.walker.sequence(step.do, { ...inner, fence, concurrent: true }),
  );
  return { output: null };
}

/** Takes the claims by try, runs `work` under their fence and frees them, also when the run is cancelled. */
export async function underClaims(
  engine: Engine,
  path: string,
  claims: Claim[],
  work: (fence: string) => Promise<void>,
): Promise<void> {
  // A dry run changes nothing, so that it neither needs a lock nor may keep others from theirs.
  if (pretends(engine)) return work('0');
  const { run } = engine.facts.context;
  const step = engine.fullPath(path);
  // Taken by the Temporal run before, which left without giving it back.
  const carried = engine.remembered.get(`${path}@fence`) as string | undefined;
  const request: ClaimRequest = { run, step, claims };
  const release = (): Promise<void> =>
    CancellationScope.nonCancellable(async () => {
      const freed: ReleaseRequest = { run, step };
      await engine.locals.run(() =>
        scheduleLocalActivity(TEMPORAL_NAMES.releaseActivity, [freed], {
          startToCloseTimeout: CLAIM_ATTEMPT_MS,
          scheduleToCloseTimeout: CLAIM_TOTAL_MS,
          retry: CLAIM_RETRY,
        }),
      );
    });
  let answer: ClaimAnswer;
  try {
    answer =
      carried === undefined
        ? await engine.locals.run(() =>
            scheduleLocalActivity<ClaimAnswer>(TEMPORAL_NAMES.claimActivity, [request], {
              startToCloseTimeout: CLAIM_ATTEMPT_MS,
              scheduleToCloseTimeout: CLAIM_TOTAL_MS,
              retry: CLAIM_RETRY,
            }),
          )
        : { granted: true, fence: carried };
  } catch (err) {
    // Whether it was granted is unknown: free it, which is harmless when it was not.
    await release();
    throw err;
  }
  if (!answer.granted) {
    throw fail('lock-conflict', `${claims.map((c) => c.path).join(', ')} is held by somebody else`, {
      ...engine.where(path, path.split('/').at(-1) ?? path),
      retryable: true,
      ...(answer.blockedBy === undefined ? {} : { blockedBy: answer.blockedBy }),
    });
  }
  let leaving = false;
  try {
    await work(answer.fence);
  } catch (err) {
    leaving = err instanceof ContinueLater;
    if (leaving) engine.remembered.set(`${path}@fence`, answer.fence);
    throw err;
  } finally {
    if (!leaving) {
      engine.remembered.delete(`${path}@fence`);
      await release();
    }
  }
}

export async function switchStep(
  engine: Engine,
  step: SwitchStep,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  const chosen = engine.remember(handle.path, () =>
    step.switch.findIndex((entry) => entry.when === undefined || engine.test(entry.when, frame)),
  );
  const entry = step.switch[chosen];
  if (entry !== undefined) await engine.walker.sequence(entry.do, { ...frame, path: handle.path });
  return { output: { case: entry === undefined ? null : chosen } };
}

export async function tryStep(engine: Engine, step: TryStep, frame: Frame, handle: StepHandle): Promise<VerbResult> {
  await engine.withUndo(handle.path, async (undo) => {
    const inner: Frame = { ...frame, path: handle.path, undo };
    await runGuarded(engine, inner, {
      path: handle.path,
      id: step.id,
      body: (f) => engine.walker.sequence(step.try, f),
      catches: step.catch,
      finally: step.finally,
    });
    undo.mergeInto(frame.undo);
  });
  return { output: null };
}
