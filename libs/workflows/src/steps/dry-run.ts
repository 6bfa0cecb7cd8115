/** Dry runs: reads run, everything else is answered without touching anything. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { AtomCall, DryRunSource, Json, PinnedAtom } from '@opsloop/contracts';
import { patched, scheduleLocalActivity } from '@temporalio/workflow';
import type { DryRunAnswer, DryRunRequest } from '../activities.js';
import type { Engine } from '../engine/engine.js';
import type { StepHandle } from '../engine/types.js';

/** Dry runs that began before sent their calls to the workers, which then did nothing. */
const PATCH = 'dry-run';
/** One look into the catalog. */
const ATTEMPT_MS = 10_000;
const TOTAL_MS = 60_000;

/** Whether this run only pretends. */
export function pretends(engine: Engine): boolean {
  return engine.facts.context.dryRun === true && patched(PATCH);
}

/** Whether a call must not reach its worker: it may change something, and nobody says that it would not. */
export function isPretended(engine: Engine, atom: PinnedAtom): boolean {
  return engine.facts.context.dryRun === true && atom.effect !== 'read' && atom.check !== true && patched(PATCH);
}

/** What the atom would answer: an example of its manifest, else something of the shape of its output. */
export async function pretend(
  engine: Engine,
  atom: PinnedAtom,
  { context, input }: AtomCall,
  handle: StepHandle,
): Promise<Json> {
  const { run, step } = context;
  const request: DryRunRequest = { run, step, atom: `${atom.name}@${atom.version}`, input };
  const answer = await engine.locals.run(() =>
    scheduleLocalActivity<DryRunAnswer>(TEMPORAL_NAMES.dryRunActivity, [request], {
      startToCloseTimeout: ATTEMPT_MS,
      scheduleToCloseTimeout: TOTAL_MS,
      retry: { initialInterval: 200, backoffCoefficient: 2, maximumInterval: 5_000 },
    }),
  );
  noteDryRun(handle, answer.from);
  return answer.output;
}

/** Says in the step's record that nothing real happened. */
export function noteDryRun(handle: StepHandle, from: DryRunSource): void {
  handle.record.dryRun = from;
}
