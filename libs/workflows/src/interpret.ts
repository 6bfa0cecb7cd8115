import { OpsError, TEMPORAL_NAMES } from '@opsloop/contracts';
import type { CompiledFlow, Json, RunInput, StepRecord } from '@opsloop/contracts';
import {
  CancellationScope,
  CancelledFailure,
  continueAsNew,
  defineQuery,
  defineSignal,
  isCancellation,
  scheduleLocalActivity,
  setHandler,
  setWorkflowOptions,
} from '@temporalio/workflow';
import type { LoadRequest, ReportRequest } from './activities.js';
import { carry, restore } from './engine/carry.js';
import { Engine } from './engine/engine.js';
import { ContinueLater, StepFailure, fail } from './engine/errors.js';
import { failureOf, workflowFailure } from './engine/failures.js';
import type { Where } from './engine/failures.js';
import { fitProblem, withSuppressed } from './engine/problems.pure.js';
import { listRecords, outcomeOf } from './engine/records.pure.js';
import type { End } from './engine/records.pure.js';
import { runFlow } from './engine/run-flow.js';
import { createWalker } from './engine/walker.js';
import { VERB_TABLE } from './steps/table.js';

/** The report is repeated this long; after that control's reconciler closes the run by what Temporal says. */
const REPORT_TOTAL_MS = 3_600_000;
/** One try is one HTTP call. */
const REPORT_ATTEMPT_MS = 10_000;
const REPORT_INTERVAL_MAX_MS = 10_000;
const LOAD_TOTAL_MS = 600_000;

const stepsQuery = defineQuery<StepRecord[]>(TEMPORAL_NAMES.stepsQuery);
const haltSignal = defineSignal<[unknown?]>(TEMPORAL_NAMES.haltSignal);

/** The interpreter: every flow runs as a workflow of its own name, and this function answers for all of them. */
export async function interpret(input: RunInput): Promise<Json> {
  const engine = new Engine({ context: input.context, config: input.config, input: input.input });
  engine.walker = createWalker(engine, VERB_TABLE);
  // Before the first await, so that no signal finds nobody.
  setHandler(stepsQuery, () => listRecords(engine.records.values()));
  setHandler(haltSignal, (payload) => engine.onHaltSignal(payload));
  const end = await runToEnd(engine, input);
  if (input.context.parentPath === undefined) await report(engine, end);
  if (end.status === 'failed') throw workflowFailure(end.problem!);
  if (end.status === 'cancelled')
    throw new CancelledFailure('the run was cancelled', end.problem === undefined ? [] : [end.problem]);
  return end.output ?? null;
}
// What an expression or a document does wrong fails the run; every other error is ours and waits for a deploy.
setWorkflowOptions({ failureExceptionTypes: [OpsError, StepFailure] }, interpret);

async function runToEnd(engine: Engine, input: RunInput): Promise<End> {
  const where = { instance: engine.fullPath(''), step: input.context.flow };
  try {
    restore(engine, input.carried);
    const ir = input.ir ?? (await load(input));
    return { status: 'succeeded', output: await runFlow(engine, ir) };
  } catch (err) {
    if (err instanceof ContinueLater) return leave(engine, input, where);
    if (isCancellation(err)) {
      const [first, ...others] = engine.suppressed;
      return {
        status: 'cancelled',
        ...(first === undefined ? {} : { problem: fitProblem(withSuppressed(first, others)) }),
      };
    }
    const failure = failureOf(err, where);
    if (failure === undefined) throw err;
    return { status: 'failed', problem: fitProblem(withSuppressed(failure.problem, engine.suppressed)) };
  }
}

/** Goes on in a new Temporal run; a state that no payload can carry ends the run, with its report. */
async function leave(engine: Engine, input: RunInput, where: Where): Promise<End> {
  let next: RunInput;
  try {
    next = carry(engine, input);
  } catch (err) {
    const failure = failureOf(err, where);
    if (failure === undefined) throw err;
    return { status: 'failed', problem: failure.problem };
  }
  return continueAsNew<typeof interpret>(next);
}

async function load(input: RunInput): Promise<CompiledFlow> {
  if (input.irDigest === undefined) throw fail('configuration', 'the run was started without a flow');
  const request: LoadRequest = { run: input.context.run, digest: input.irDigest };
  return scheduleLocalActivity<CompiledFlow>(TEMPORAL_NAMES.loadActivity, [request], {
    startToCloseTimeout: REPORT_ATTEMPT_MS,
    scheduleToCloseTimeout: LOAD_TOTAL_MS,
    retry: { initialInterval: 200, backoffCoefficient: 2, maximumInterval: REPORT_INTERVAL_MAX_MS },
  });
}

/** Exactly one closing report, of the root run alone; the children's ends are part of it. */
async function report(engine: Engine, end: End): Promise<void> {
  const { context } = engine.facts;
  const request: ReportRequest = {
    run: context.run,
    tenant: context.tenant,
    outcome: outcomeOf(end, context, engine.records.values(), engine.itemEnds),
  };
  try {
    await CancellationScope.nonCancellable(() =>
      scheduleLocalActivity<void>(TEMPORAL_NAMES.reportActivity, [request], {
        startToCloseTimeout: REPORT_ATTEMPT_MS,
        scheduleToCloseTimeout: REPORT_TOTAL_MS,
        retry: { initialInterval: 100, backoffCoefficient: 2, maximumInterval: REPORT_INTERVAL_MAX_MS },
      }),
    );
  } catch (err) {
    // Nobody took the report: the run ends as it did, and the reconciler closes it.
    if (failureOf(err, engine.where('', context.flow)) === undefined) throw err;
  }
}
