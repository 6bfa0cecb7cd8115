import { OpsError, TEMPORAL_NAMES } from '@opsloop/contracts';
import type {
  AnswerRequest,
  AnswerResult,
  CompiledFlow,
  EventsSignal,
  Json,
  JsonObject,
  Problem,
  RunInput,
  SteerAnswer,
  SteerRequest,
  StepRecord,
} from '@opsloop/contracts';
import {
  CancellationScope,
  CancelledFailure,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  isCancellation,
  patched,
  scheduleLocalActivity,
  setHandler,
  setWorkflowOptions,
} from '@temporalio/workflow';
import type { LoadRequest, ReportRequest } from './activities.js';
import { bytesOf, carry, restore, restoreAsked, stateOf } from './engine/carry.js';
import { Engine } from './engine/engine.js';
import { ContinueLater, StepFailure, fail } from './engine/errors.js';
import { failureOf, workflowFailure } from './engine/failures.js';
import type { Where } from './engine/failures.js';
import type { InboxSignal, OfferSignal } from './engine/inbox.js';
import { fitProblem, withSuppressed } from './engine/problems.pure.js';
import { listRecords, outcomeOf } from './engine/records.pure.js';
import type { End } from './engine/records.pure.js';
import { runFlow } from './engine/run-flow.js';
import type { CarriedSteering } from './engine/steering.js';
import { createWalker } from './engine/walker.js';
import { runBatchFlow } from './steps/batch-flow.js';
import { VERB_TABLE } from './steps/table.js';

/** The report is repeated this long; after that control's reconciler closes the run by what Temporal says. */
const REPORT_TOTAL_MS = 3_600_000;
/** One try is one HTTP call. */
const REPORT_ATTEMPT_MS = 10_000;
const REPORT_INTERVAL_MAX_MS = 10_000;
const LOAD_TOTAL_MS = 600_000;
/** Kept in the database with every run that failed; a run may carry more, but few do. */
const JOURNAL_BYTES_MAX = 1_000_000;

const stepsQuery = defineQuery<StepRecord[]>(TEMPORAL_NAMES.stepsQuery);
const haltSignal = defineSignal<[unknown?]>(TEMPORAL_NAMES.haltSignal);
const eventsSignal = defineSignal<[EventsSignal]>(TEMPORAL_NAMES.eventsSignal);
const inboxSignal = defineSignal<[InboxSignal]>(TEMPORAL_NAMES.inboxSignal);
const offerSignal = defineSignal<[OfferSignal]>(TEMPORAL_NAMES.offerSignal);
const steerUpdate = defineUpdate<SteerAnswer, [SteerRequest]>(TEMPORAL_NAMES.steerUpdate);
const steerSignal = defineSignal<[SteerRequest]>(TEMPORAL_NAMES.steerSignal);
const heldSignal = defineSignal<[{ workflowId: string; held: boolean }]>(TEMPORAL_NAMES.heldSignal);
const journalQuery = defineQuery<JsonObject>(TEMPORAL_NAMES.journalQuery);
const approvalUpdate = defineUpdate<AnswerResult, [AnswerRequest]>(TEMPORAL_NAMES.approvalUpdate);

/** The interpreter: every flow runs as a workflow of its own name, and this function answers for all of them. */
export async function interpret(input: RunInput): Promise<Json> {
  const engine = new Engine({
    context: input.context,
    config: input.config,
    input: input.input,
    continueAfter: input.continueAfter,
    isolated: input.isolated !== undefined,
  });
  engine.walker = createWalker(engine, VERB_TABLE);
  engine.steering.ir = input.ir;
  restoreAsked(engine, input.carried);
  const restored = restoresFirst(input) ? takenOver(engine, input) : undefined;
  // Before the first await, so that no signal finds nobody.
  setHandler(stepsQuery, () => listRecords(engine.records.values()));
  setHandler(haltSignal, (payload) => engine.onHaltSignal(payload));
  setHandler(eventsSignal, (signal) => engine.inbox.onEvents(signal));
  setHandler(inboxSignal, (signal) => engine.inbox.onInbox(signal));
  setHandler(offerSignal, (offer) => engine.inbox.onOffer(offer));
  setHandler(approvalUpdate, (request) => engine.approvals.answer(request, engine.now()), {
    validator: (request) => engine.approvals.validate(request),
  });
  setHandler(steerUpdate, (request) => engine.steer(request), { validator: (request) => engine.mayBeSteered(request) });
  setHandler(steerSignal, (request) => void engine.steered(request));
  setHandler(heldSignal, ({ workflowId, held }) => engine.onChildHeld(workflowId, held));
  setHandler(journalQuery, () => stateOf(engine) as unknown as JsonObject);
  const end = await runToEnd(engine, input, restored);
  await engine.inbox.settled();
  if (input.context.parentPath === undefined && input.isolated === undefined) await report(engine, end);
  if (end.status === 'failed') throw workflowFailure(end.problem!);
  if (end.status === 'cancelled')
    throw new CancelledFailure('the run was cancelled', end.problem === undefined ? [] : [end.problem]);
  return end.output ?? null;
}
// What an expression or a document does wrong fails the run; every other error is ours and waits for a deploy.
setWorkflowOptions({ failureExceptionTypes: [OpsError, StepFailure] }, interpret);

/**
 * Signals and updates of the first task are handled the moment their handler is set: what they are judged by must stand
 * before. A pause that came with the task was forgotten by what was restored after it.
 */
function restoresFirst(input: RunInput): boolean {
  return (input.carried !== undefined || input.steering !== undefined) && patched('restore-first');
}

/** Takes over what the run, or the one that it belongs to, already knows; an error of it is the run's, not the task's. */
function takenOver(engine: Engine, input: RunInput): { error?: unknown } {
  try {
    restore(engine, input.carried);
    // What was in force when this sub-flow began; later it carries its own.
    if (input.carried?.['startedMs'] === undefined)
      engine.steering.restore(input.steering as CarriedSteering | undefined);
    return {};
  } catch (error) {
    return { error };
  }
}

async function runToEnd(engine: Engine, input: RunInput, restored?: { error?: unknown }): Promise<End> {
  const where = { instance: engine.fullPath(''), step: input.context.flow };
  let ir: CompiledFlow | undefined;
  try {
    const { error } = restored ?? takenOver(engine, input);
    if (error !== undefined) throw error;
    const flow = (ir = input.ir ?? (await load(input)));
    engine.begin(flow);
    const walk = (): Promise<Json> => walkOf(engine, flow, input);
    return { status: 'succeeded', output: await (engine.cancelled ? inCancelledScope(walk) : walk()) };
  } catch (err) {
    if (err instanceof ContinueLater) return leave(engine, input, ir!, where);
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
async function leave(engine: Engine, input: RunInput, ir: CompiledFlow, where: Where): Promise<End> {
  await engine.inbox.settled();
  const cancelled = engine.cancelled || CancellationScope.current().consideredCancelled;
  let next: RunInput;
  try {
    next = carry(engine, input, cancelled);
  } catch (err) {
    const failure = failureOf(err, where);
    if (failure === undefined) throw err;
    return cleanUpHere(engine, () => walkOf(engine, ir, input), failure.problem);
  }
  return continueAsNew<typeof interpret>(next);
}

/** What the run knows fits no payload: it fails here, and cleans up as a cancelled one does. */
async function cleanUpHere(engine: Engine, walk: () => Promise<Json>, problem: Problem): Promise<End> {
  engine.stay();
  try {
    await inCancelledScope(walk);
  } catch (err) {
    if (!isCancellation(err) && failureOf(err, engine.where('', engine.facts.context.flow)) === undefined) throw err;
  }
  return { status: 'failed', problem: fitProblem(withSuppressed(problem, engine.suppressed)) };
}

/** The whole flow, or one batch of it. */
function walkOf(engine: Engine, ir: CompiledFlow, input: RunInput): Promise<Json> {
  return input.isolated === undefined ? runFlow(engine, ir) : runBatchFlow(engine, ir, input.isolated);
}

/** Nothing new begins; blocks that were under way are entered again, so that they compensate and run their `finally`. */
function inCancelledScope<T>(work: () => Promise<T>): Promise<T> {
  const scope = new CancellationScope({ cancellable: true });
  scope.cancel();
  return scope.run(work);
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

/** What a retry would start with, of a run that did not succeed; a larger one is not kept, and a retry says so. */
function journalFor(engine: Engine, end: End): { journal?: JsonObject } {
  if (end.status === 'succeeded' || engine.root === undefined) return {};
  const state = stateOf(engine);
  return bytesOf(state) > JOURNAL_BYTES_MAX ? {} : { journal: state as unknown as JsonObject };
}

/** Exactly one closing report, of the root run alone; the children's ends are part of it. */
async function report(engine: Engine, end: End): Promise<void> {
  const { context } = engine.facts;
  const request: ReportRequest = {
    run: context.run,
    tenant: context.tenant,
    outcome: { ...outcomeOf(end, context, engine.records.values(), engine.itemEnds), ...journalFor(engine, end) },
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
