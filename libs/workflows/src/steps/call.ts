import { TEMPORAL_NAMES, digestOf, durationMs, stepKey } from '@opsloop/contracts';
import type {
  AtomCall,
  CachedAnswer,
  CallStep,
  GateContext,
  Json,
  JsonObject,
  PinnedAtom,
  StepRecord,
} from '@opsloop/contracts';
import { templatePaths, toScopeValue } from '@opsloop/rules';
import {
  ActivityCancellationType,
  ActivityFailure,
  TimeoutFailure,
  patched,
  scheduleActivity,
  scheduleLocalActivity,
} from '@temporalio/workflow';
import { RetryState, TimeoutType } from '@temporalio/common';
import type { CacheRequest, GateRequest, OutputRequest } from '../activities.js';
import type { Engine } from '../engine/engine.js';
import { StepFailure, fail } from '../engine/errors.js';
import { failureOf, isFirstAttempt, isHaltRefusal } from '../engine/failures.js';
import { undoPath } from '../engine/paths.pure.js';
import { secretPlaces } from '../engine/secrets.pure.js';
import { checkSize } from '../engine/size.pure.js';
import { callRetry, callTimeouts, temporalRetry } from '../engine/retry.pure.js';
import type { FullRetry } from '../engine/retry.pure.js';
import { withNames } from '../engine/scope.js';
import { surelyFits } from './answers.pure.js';
import { isPretended, noteDryRun, pretend } from './dry-run.js';
import { runJob } from './job.js';
import { OWN_HEARTBEAT_MS } from './limits.js';
import type { JobPlan } from './job.js';
import type { UndoEntry } from '../engine/undo.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';

/** Answers of the gate come from memory or one HTTP call. */
const GATE_TIMEOUT_MS = 10_000;
/** A local step keeps the workflow task open: whatever takes longer than this belongs into an activity. */
const LOCAL_MS_MAX = 5_000;
/** Markers of histories: an answer is judged by an activity, and later inside the workflow first. */
const OUTPUT_PATCH = 'check-output';
const ANSWERS_PATCH = 'check-answers';

/** `call`: one atom. */
export async function callStep(engine: Engine, step: CallStep, frame: Frame, handle: StepHandle): Promise<VerbResult> {
  const atom = atomOf(frame, step.call);
  const input = engine.render(step.with ?? {}, frame);
  checkSize(input, 'the input of the step', engine.where(handle.path, step.id));
  const secrets = step.with === undefined ? [] : secretPlaces(step.with);
  const undo = registerUndo(engine, { step, atom, input, secrets }, frame, handle);
  const output = await invoke(engine, { step, atom, input, secrets, frame, handle, path: handle.path, undo });
  // Ours refuse what is too large themselves; a worker in another language may not.
  if (atom.queue !== undefined) checkSize(output, `the output of ${atom.name}`, engine.where(handle.path, step.id));
  return { output };
}

export function atomOf(frame: Frame, ref: string): PinnedAtom {
  const atom = frame.ir.atoms[ref];
  if (atom === undefined) throw fail('configuration', `the flow has no pinned atom "${ref}"`);
  return atom;
}

export interface Invocation {
  step: Pick<CallStep, 'id' | 'call' | 'timeout' | 'retry' | 'queue' | 'priority' | 'execution'>;
  atom: PinnedAtom;
  input: Json;
  /** Places of the input that hold secrets. */
  secrets: readonly string[];
  frame: Frame;
  handle: StepHandle;
  path: string;
  undo?: UndoEntry | undefined;
}

/**
 * Runs an atom as an activity, or as a local one, and waits through halts. Hot path: the SDK takes a stack trace for
 * every promise of a workflow (about 0.1 ms), so this is one async function and not five small ones.
 */
export async function invoke(engine: Engine, call: Invocation): Promise<Json> {
  const { step, atom, frame, handle, path } = call;
  handle.record.atom = `${atom.name}@${atom.version}`;
  const retry = callRetry(step.retry, frame.ir.flow, atom);
  const argument = argumentOf(engine, call);
  const mark = engine.haltMark;
  const local = (step.execution ?? atom.execution) === 'local';
  const queue = local ? undefined : queueOf(engine, call);
  // Workers of others know no cache of ours: the flow's own worker keeps it for them.
  const cache = queue === undefined || queue === TEMPORAL_NAMES.atomQueue ? undefined : cacheOf(engine, call);
  /** Whether the target may have seen the step: decides whether there is something to undo. */
  let reached = false;
  const begin = (): Promise<unknown> => {
    reached = true;
    if (queue === undefined) return engine.locals.run(() => callLocally(call, argument, retry));
    const id = `${path}#${engine.steering.epochOf(path)}`;
    return atom.job === undefined
      ? callQueued(call, argument, retry, queue, id)
      : runJob(engine, call, jobPlan(call, argument, retry, queue, id));
  };
  const { schema } = atom.output ?? {};
  const start =
    schema === undefined || argument.context.dryRun ? begin : () => checkedAnswer(engine, atom, schema, begin);
  engine.busy(1);
  try {
    if (argument.context.dryRun) {
      if (isPretended(engine, atom)) return await pretend(engine, atom, argument, handle);
      if (atom.check === true && atom.effect !== 'read') noteDryRun(handle, 'check');
    }
    const boundary = queue === undefined ? engine.localBoundary() : undefined;
    if (boundary !== undefined) await boundary;
    // Workers of others know no halts: ask before they get the task.
    if (queue !== undefined && queue !== TEMPORAL_NAMES.atomQueue && argument.gate !== undefined)
      await passGate(engine, call, argument);
    if (cache !== undefined) return await throughCache(engine, call, cache, start);
    return outputOf(call, argument, await start());
  } catch (first) {
    let err = first;
    if (isHaltRefusal(first)) {
      // A refusal of a later attempt says nothing about the attempts before it.
      let before = !isFirstAttempt(first);
      reached = before;
      const refused = (later: unknown): boolean => {
        if (!isHaltRefusal(later)) return false;
        before ||= !isFirstAttempt(later);
        reached = before;
        return true;
      };
      try {
        return outputOf(call, argument, await engine.afterHalt(handle.record, mark, start, refused));
      } catch (later) {
        err = later;
      }
    }
    const failure = failureOf(err, engine.where(path, step.id));
    if (call.undo !== undefined && (!reached || wasNeverTaken(err))) call.undo.dropped = true;
    if (failure === undefined) throw err;
    const attempt = attemptsOf(err, retry) ?? failure.problem.attempt;
    throw attempt === undefined ? failure : new StepFailure({ ...failure.problem, attempt });
  } finally {
    engine.busy(-1);
  }
}

/** Nobody took the task from its queue, and no attempt came before. */
function wasNeverTaken(err: unknown): boolean {
  const cause = err instanceof ActivityFailure ? err.cause : undefined;
  return (
    cause instanceof TimeoutFailure && cause.timeoutType === TimeoutType.SCHEDULE_TO_START && cause.cause === undefined
  );
}

async function passGate(engine: Engine, { handle }: Invocation, argument: AtomCall): Promise<void> {
  const request: GateRequest = { run: argument.context.run, step: argument.context.step, gate: argument.gate! };
  const ask = (): Promise<unknown> =>
    engine.locals.run(() =>
      scheduleLocalActivity<unknown>(TEMPORAL_NAMES.gateActivity, [request], {
        startToCloseTimeout: GATE_TIMEOUT_MS,
        retry: { initialInterval: 500, backoffCoefficient: 2, maximumInterval: 5_000 },
      }),
    );
  const mark = engine.haltMark;
  try {
    await ask();
  } catch (err) {
    if (!isHaltRefusal(err)) throw err;
    await engine.afterHalt(handle.record, mark, ask, isHaltRefusal);
  }
}

/**
 * A worker of others may answer anything: what does not match the schema of its atom must fail here, as it does in ours,
 * and not three steps later. What is not plainly right is judged by the services' own validator, in a local activity,
 * which has the last word and says what is wrong.
 */
async function checkedAnswer(
  engine: Engine,
  atom: PinnedAtom,
  schema: JsonObject,
  begin: () => Promise<unknown>,
): Promise<unknown> {
  const output = ((await begin()) ?? null) as Json;
  // Steps that ran before either existed were not checked, or by the activity alone, and a replay does the same.
  if (patched(ANSWERS_PATCH) ? surelyFits(schema, output) : !patched(OUTPUT_PATCH)) return output;
  const request: OutputRequest = { atom: `${atom.name}@${atom.version}`, schema, output };
  await engine.locals.run(() =>
    scheduleLocalActivity(TEMPORAL_NAMES.outputActivity, [request], { startToCloseTimeout: GATE_TIMEOUT_MS }),
  );
  return output;
}

/** Temporal keeps no count of attempts in the failure; the retry state says when all were used. */
function attemptsOf(err: unknown, retry: FullRetry): number | undefined {
  if (!(err instanceof ActivityFailure)) return undefined;
  return err.retryState === RetryState.MAXIMUM_ATTEMPTS_REACHED ? retry.attempts : undefined;
}

function callLocally(
  { step, atom, frame, handle }: Invocation,
  argument: AtomCall,
  retry: FullRetry,
): Promise<unknown> {
  const { startToCloseTimeout, scheduleToCloseTimeout } = callTimeouts(
    step.timeout,
    frame.ir.flow.defaults?.timeout,
    atom.timeout,
  );
  return scheduleLocalActivity(atom.activity, [argument], {
    retry: temporalRetry(retry),
    startToCloseTimeout: Math.min(startToCloseTimeout ?? LOCAL_MS_MAX, LOCAL_MS_MAX),
    ...(scheduleToCloseTimeout === undefined ? {} : { scheduleToCloseTimeout }),
    summary: summaryOf(handle.record),
  });
}

function callQueued(
  { step, atom, frame, handle }: Invocation,
  argument: AtomCall,
  retry: FullRetry,
  taskQueue: string,
  activityId: string,
): Promise<unknown> {
  return scheduleActivity(atom.activity, [argument], {
    activityId,
    taskQueue,
    summary: summaryOf(handle.record),
    retry: temporalRetry(retry),
    ...(taskQueue === TEMPORAL_NAMES.atomQueue ? { heartbeatTimeout: OWN_HEARTBEAT_MS } : {}),
    ...callTimeouts(step.timeout, frame.ir.flow.defaults?.timeout, atom.timeout),
    // A change that is still going on must end before its lock is freed; a read may be left alone.
    cancellationType:
      atom.effect === 'read'
        ? ActivityCancellationType.TRY_CANCEL
        : ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    ...(step.priority === undefined ? {} : { priority: { priorityKey: step.priority } }),
  });
}

function queueOf(engine: Engine, { step, atom, input, frame }: Invocation): string {
  const template = step.queue ?? atom.queue;
  if (template === undefined) return TEMPORAL_NAMES.atomQueue;
  if (!template.includes('${')) return template;
  const names = step.queue === undefined ? { input: toScopeValue(input) } : {};
  const queue = engine.render(template, frame, names);
  if (typeof queue !== 'string' || queue === '') throw fail('expression', `the queue "${template}" gives no text`);
  return queue;
}

function summaryOf(record: StepRecord): string {
  // Temporal cuts nothing: above 400 bytes it refuses. 100 characters are at most 400 bytes.
  return (record.title ?? record.path).slice(0, 100);
}

function argumentOf(engine: Engine, call: Invocation): AtomCall {
  const { atom, input, frame, path } = call;
  const { context } = engine.facts;
  const step = engine.fullPath(path);
  const { secrets } = call;
  const gate = atom.effect === 'read' ? undefined : gateOf(engine, call);
  const cache = atom.queue === undefined && call.step.queue === undefined ? cacheOf(engine, call) : undefined;
  return {
    input,
    context: {
      run: context.run,
      step,
      key: stepKey(context.run, step, engine.steering.epochOf(path)),
      ...(frame.fence === undefined ? {} : { fence: frame.fence }),
      tenant: context.tenant,
      dryRun: context.dryRun ?? false,
    },
    ...(atom.manifest === undefined ? {} : { atom: atom.manifest, ...configOf(engine, atom.manifest) }),
    ...(secrets.length === 0 ? {} : { secrets: [...secrets] }),
    ...(gate === undefined ? {} : { gate }),
    ...(cache === undefined ? {} : { cache }),
    correlationId: context.correlationId,
    hops: context.hops,
  };
}

/** Under which key, and for how long, an answer may come from memory. */
function cacheOf(engine: Engine, { atom, input, frame }: Invocation): AtomCall['cache'] {
  const { cache } = atom;
  if (cache === undefined || atom.effect !== 'read') return undefined;
  const key = cache.key === undefined ? input : engine.render(cache.key, frame, { input: toScopeValue(input) });
  return {
    key: digestOf([engine.facts.context.tenant, atom.name, atom.version, key]),
    ttlMs: durationMs(cache.ttl),
  };
}

/** What the step's worker answered; from memory when it says so. */
function outputOf({ handle }: Invocation, argument: AtomCall, result: unknown): Json {
  if (argument.cache === undefined) return result as Json;
  const { output, cachedAt } = result as CachedAnswer;
  if (cachedAt !== undefined) handle.record.cachedAt = cachedAt;
  return output;
}

/** A read of a worker of others through the memory of this one: 3 ms for an answer that is known. */
async function throughCache(
  engine: Engine,
  { handle }: Invocation,
  cache: NonNullable<AtomCall['cache']>,
  start: () => Promise<unknown>,
): Promise<Json> {
  const ask = (request: CacheRequest): Promise<CachedAnswer | null> =>
    engine.locals.run(() =>
      scheduleLocalActivity<CachedAnswer | null>(TEMPORAL_NAMES.cacheActivity, [request], {
        startToCloseTimeout: GATE_TIMEOUT_MS,
      }),
    );
  const known = await ask({ key: cache.key });
  if (known !== null) {
    if (known.cachedAt !== undefined) handle.record.cachedAt = known.cachedAt;
    return known.output;
  }
  const output = (await start()) as Json;
  await ask({ key: cache.key, keep: { output, ttlMs: cache.ttlMs } });
  return output;
}

function jobPlan(
  call: Invocation,
  argument: AtomCall,
  retry: FullRetry,
  taskQueue: string,
  activityId: string,
): JobPlan {
  const { step, atom, frame, handle } = call;
  const own = typeof step.timeout === 'string' ? undefined : step.timeout;
  const defaults = frame.ir.flow.defaults?.timeout;
  return {
    argument,
    retry,
    taskQueue,
    activityId,
    title: summaryOf(handle.record),
    timeouts: callTimeouts(step.timeout, defaults, atom.timeout),
    callLimit: [own, defaults, atom.timeout].some((t) => t?.startToClose !== undefined),
  };
}

/** The configs that an http or script atom names: its worker has no other way to know what was pinned at the start. */
function configOf(engine: Engine, manifest: NonNullable<PinnedAtom['manifest']>): Pick<AtomCall, 'config'> {
  let names = configNames.get(manifest);
  if (names === undefined) configNames.set(manifest, (names = namesOfConfigs(manifest)));
  const config = engine.facts.config as Record<string, JsonObject>;
  const named = names.filter((name) => Object.hasOwn(config, name));
  return named.length === 0 ? {} : { config: Object.fromEntries(named.map((name) => [name, config[name]!])) };
}

/** A manifest never changes during a run, and a loop may call it a thousand times. */
const configNames = new WeakMap<object, readonly string[]>();

function namesOfConfigs(manifest: NonNullable<PinnedAtom['manifest']>): string[] {
  const templates = {
    ...manifest.http,
    ...manifest.script,
    job: { ...manifest.job, poll: { ...manifest.job?.poll, done: null, failed: null } },
    expect: null,
    interpreter: null,
    source: null,
  } as unknown as Json;
  const names = templatePaths(templates)
    .map((path) => /^config\.([a-z0-9-]+)/.exec(path)?.[1] ?? /^config\["([^"]+)"\]/.exec(path)?.[1])
    .filter((name) => name !== undefined);
  return [...new Set(names)].sort();
}

function gateOf(engine: Engine, { atom, input, frame }: Invocation): GateContext {
  const { context } = engine.facts;
  return {
    flow: context.flow,
    ...(context.within === undefined ? {} : { within: context.within }),
    ...(context.rule === undefined ? {} : { rule: context.rule }),
    tier: context.tier,
    atom: atom.name,
    effect: atom.effect,
    targets: targetsOf(engine, atom, input, frame),
    phase: frame.phase,
  };
}

/** What this call changes: the manifest's targets over its input, else what the whole run changes. */
function targetsOf(engine: Engine, atom: PinnedAtom, input: Json, frame: Frame): string[] {
  if (atom.targets === undefined) return frame.targets;
  const value = engine.render(atom.targets, frame, { input: toScopeValue(input) });
  const list = Array.isArray(value) ? value.flat() : [value];
  return list.filter((path): path is string => typeof path === 'string' && path !== '');
}

/** Registers the compensation before the action runs; the step's own wins over the manifest's, `null` switches it off. */
function registerUndo(
  engine: Engine,
  { step, atom, input, secrets }: { step: CallStep; atom: PinnedAtom; input: Json; secrets: readonly string[] },
  frame: Frame,
  handle: StepHandle,
): UndoEntry | undefined {
  if (frame.phase !== 'forward') return undefined;
  const own = step.compensate;
  const spec = own === undefined ? atom.compensate : own;
  if (spec === null || spec === undefined) return undefined;
  const entry: UndoEntry = {
    path: undoPath(handle.path),
    title: `Undo ${step.title ?? step.id}`,
    call: spec.call,
    input: () => {
      const result = frame.steps[step.id]?.output ?? null;
      const names = own === undefined ? { input: toScopeValue(input), result } : { result };
      return engine.render(spec.with ?? {}, { ...frame, names: withNames(frame.names, names) });
    },
    secrets: secretPlaces(spec.with ?? {}, own === undefined ? secrets : []),
    dropped: false,
  };
  frame.undo.push(entry);
  return entry;
}
