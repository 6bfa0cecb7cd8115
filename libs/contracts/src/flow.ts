/**
 * The flow document (flow-language section 1), its compiled form, and what a workflow is started with.
 */
import type { ApprovalSpec, EventFilter, WaitForEventSpec } from './human.js';
import type { Json, JsonObject } from './json.js';
import type {
  AtomDocument,
  CacheSpec,
  CallTimeout,
  Condition,
  Effect,
  Idempotency,
  RetryPolicy,
  Template,
  Tier,
} from './documents.js';
import type { Problem } from './errors.js';

export interface Claim {
  path: string;
  mode: 'shared' | 'exclusive';
}

/** Keys that every step may have. */
export interface StepCommon {
  id: string;
  title?: string;
  if?: Condition;
  /** Only under `parallel`. */
  needs?: string[];
  timeout?: string | CallTimeout;
  /** A policy, or the name of one in `use.retries`. */
  retry?: RetryPolicy | string;
  compensate?: { call: string; with?: Template } | null;
  /** Template over `result`. */
  output?: Template;
  priority?: number;
  meta?: JsonObject;
}

export interface CatchClause {
  errors?: { type?: string | string[]; status?: number };
  when?: Condition;
  as?: string;
  retry?: RetryPolicy;
  do?: Step[];
}

export interface BatchSpec {
  /** Explicit batches of item keys, made by the decision. */
  plan?: Template;
  canary?: number;
  size?: number | string;
  max?: number;
  pause?: string;
  gate?: CallStep & { expect?: Condition };
  /** The batches above are the largest: after one with failures the next is smaller, after one without it grows again. */
  ramp?: { grow?: number; shrink?: number };
}

export interface ForEachSpec {
  in: Template;
  as?: string;
  key?: Template;
  batch?: BatchSpec;
  /** Items in flight inside a batch; a number or a template that gives one. Default 1. */
  concurrency?: number | string;
  tolerate?: { failures?: number; percent?: number };
  onItemError?: 'continue' | 'stop' | 'compensate';
  isolate?: boolean;
  collect?: Template;
}

export type CallStep = StepCommon & {
  call: string;
  with?: Template;
  queue?: string;
  /** Instead of the atom's own. */
  execution?: 'local' | 'activity';
};
export type RunStep = StepCommon & {
  run: string;
  with?: Template;
  onParentClose?: 'cancel' | 'abandon' | 'terminate';
  detach?: boolean;
};
export type DoStep = StepCommon & { do: Step[]; lock?: { claims: { path: Template; mode: 'shared' | 'exclusive' }[] } };
export type ParallelStep = StepCommon & {
  parallel: { join?: 'all' | 'any' | { count: number }; onError?: 'cancel' | 'waitAll'; limit?: number };
  do: Step[];
};
export type SwitchStep = StepCommon & { switch: { when?: Condition; do: Step[] }[] };
export type ForEachStep = StepCommon & { forEach: ForEachSpec; do: Step[] };
export type LoopStep = StepCommon & {
  loop: { until?: Condition; while?: Condition; every?: string; max: { iterations?: number; duration?: string } };
  do: Step[];
};
export type ReconcileStep = StepCommon & {
  reconcile: { goal: Condition; every?: string; stable?: string; deadline: string; wakeOn?: EventFilter[] };
  observe: CallStep;
  do?: Step[];
};
export type WaitStep = StepCommon & { wait: { for?: string; until?: Template } };
export type WaitForEventStep = StepCommon & { waitForEvent: WaitForEventSpec };
export type ApprovalStep = StepCommon & { approval: ApprovalSpec };
export type TryStep = StepCommon & { try: Step[]; catch?: CatchClause[]; finally?: Step[] };
export type SetStep = StepCommon & { set: Record<string, Template> };
export type EmitStep = StepCommon & { emit: { type: string; subject?: Template; data?: Template } };
export type RaiseStep = StepCommon & { raise: { type: string; status?: number; title?: string; detail?: Template } };
export type ReturnStep = StepCommon & { return: Template };

export type Step =
  | CallStep
  | RunStep
  | DoStep
  | ParallelStep
  | SwitchStep
  | ForEachStep
  | LoopStep
  | ReconcileStep
  | WaitStep
  | WaitForEventStep
  | ApprovalStep
  | TryStep
  | SetStep
  | EmitStep
  | RaiseStep
  | ReturnStep;

/** Verb keys in the order in which a step is recognised: `do` is a verb only when it is alone. */
export const VERBS = [
  'call',
  'run',
  'parallel',
  'switch',
  'forEach',
  'loop',
  'reconcile',
  'wait',
  'waitForEvent',
  'approval',
  'try',
  'set',
  'emit',
  'raise',
  'return',
  'do',
] as const;
export type Verb = (typeof VERBS)[number];

export function verbOf(step: Step): Verb {
  const verb = VERBS.find((v) => Object.hasOwn(step, v));
  if (verb === undefined) throw new TypeError(`step "${step.id}" has no verb`);
  return verb;
}

export interface FlowDocument {
  dsl: 'opsloop/v1';
  kind: 'flow';
  name: string;
  version: string;
  title?: string;
  owner?: string;
  labels?: Record<string, string>;
  input?: { schema: JsonObject };
  vars?: JsonObject;
  use?: { secrets?: string[]; retries?: Record<string, RetryPolicy>; errors?: JsonObject };
  defaults?: { timeout?: CallTimeout; retry?: RetryPolicy | string };
  timeout?: string;
  /** Template that gives a path or a list of paths: what this flow changes. */
  targets?: Template;
  lockTargets?: 'all' | 'perItem' | 'none';
  locks?: { path: Template; mode: 'shared' | 'exclusive' }[];
  limit?: { runs: number; by: Template; onConflict?: 'queue' | 'reject' | 'coalesce' };
  do: Step[];
  catch?: CatchClause[];
  finally?: Step[];
  output?: Template;
}

// ---------------------------------------------------------------- compiled

/** What the interpreter needs of an atom; `atom` is the whole manifest for atoms that our own worker executes. */
export interface PinnedAtom {
  name: string;
  version: string;
  effect: Effect;
  idempotency: Idempotency;
  execution: 'activity' | 'local';
  /** Activity type: the atom's name for http, script and bundled atoms; the manifest's for worker atoms. */
  activity: string;
  /** Task queue; absent = `opsloop-atoms`. */
  queue?: string;
  targets?: Template;
  timeout?: CallTimeout;
  retry?: RetryPolicy;
  compensate?: { call: string; with?: Template };
  /** Its worker answers dry runs itself, without changing anything. */
  check?: true;
  /** Present for job atoms: the step is a start, polls every so often, and a cancel where there is one. */
  job?: { every: string; cancels: boolean };
  cache?: CacheSpec;
  /** Present for http and script atoms: sent with the activity, so that a worker needs no catalog. */
  manifest?: Pick<AtomDocument, 'name' | 'version' | 'http' | 'script' | 'job' | 'output'>;
  /** Of an atom in a worker of others, which may check nothing: what it answers is held against this in ours. */
  output?: AtomDocument['output'];
}

/**
 * A flow with every reference resolved and pinned. References are keyed as they are written (`fleet/restart@1`),
 * so the tree itself stays the author's document. Conditions are JSONLogic.
 */
export interface CompiledFlow {
  /** Version of this format. */
  ir: 1;
  flow: FlowDocument;
  /** Digest of the flow document. */
  digest: string;
  atoms: Record<string, PinnedAtom>;
  flows: Record<string, CompiledFlow>;
  /** Event types and patterns that it or a flow inside it waits for; absent: none. */
  waitsFor?: string[];
  /** It or a flow inside it asks people. */
  asks?: true;
}

// ---------------------------------------------------------------- workflow start

export interface Initiator {
  kind: 'rule' | 'user' | 'token' | 'schedule' | 'service';
  /** Rule name, user or token name. */
  name: string;
  /** Owner of the rule, first group of the person; quotas count by it. */
  team?: string;
}

/** Who and what a run is; handed to the interpreter and, cut down, to every atom. */
export interface RunContext {
  /** Run id = admission id. A child carries its root's id. */
  run: string;
  tenant: string;
  flow: string;
  version: string;
  tier: Tier;
  rule?: string;
  decisionId?: string;
  initiator: Initiator;
  /** Decimal string; absent when the run holds no lock. */
  fence?: string;
  /** Paths that this run changes. */
  targets: string[];
  correlationId: string;
  /** Hop count of the causing event, 0 for a start by a person. */
  hops: number;
  /** ISO time of the start, `flow.startedAt` and `flow.now`'s base. */
  startedAt: string;
  dryRun?: boolean;
  /** Of a dry run: what its timers are multiplied with. */
  timeScale?: number;
  /** Instance path of the step of the parent that runs this flow; prefix of every step key of a child. */
  parentPath?: string;
  /** Of a child: the flows around it, outermost first. */
  within?: string[];
  /** The run of which this is an operator's retry. */
  retryOf?: string;
  /** Of every step key; rises with each operator's retry. Absent = 0. */
  epoch?: number;
}

/** The one argument of the interpreter workflow. */
export interface RunInput {
  context: RunContext;
  /** Inline up to 128 KB, else the digest under which control keeps it. */
  ir?: CompiledFlow;
  irDigest?: string;
  input: Json;
  /** `config.<name>.<key>`, pinned at start. */
  config: Record<string, JsonObject>;
  /** Carried over a continue-as-new, or from the run of which this is a retry. */
  carried?: JsonObject;
  /** Of a child that runs one batch of a forEach (`isolate`): what stands around it. */
  isolated?: JsonObject;
  /** Of a sub-flow: acts of operators that are in force when it begins. */
  steering?: JsonObject;
  /** History events after which the run goes on in a new Temporal run, also when Temporal does not ask yet. */
  continueAfter?: number;
}

/** What every atom of every worker receives beside its input. */
export interface AtomContext {
  run: string;
  /** Instance path of the step. */
  step: string;
  /** Step key: send it on as `Idempotency-Key`. */
  key: string;
  fence?: string;
  tenant: string;
  dryRun: boolean;
}

/** The part of the context that the halt gate reads; only our own workers look at it. */
export interface GateContext {
  /** The flow that the step stands in. */
  flow: string;
  /** Of a sub-flow: the flows around it, outermost first; a halt on any of them stops the step too. */
  within?: string[];
  rule?: string;
  tier: Tier;
  atom: string;
  effect: Effect;
  targets: string[];
  /** `pause` stops all three, `cancel` lets compensation and finally through. */
  phase: 'forward' | 'compensation' | 'finally';
}

/** The one argument of every atom activity. */
export interface AtomCall {
  input: Json;
  context: AtomContext;
  atom?: PinnedAtom['manifest'];
  /** The configs that the manifest's templates name (`config.<name>.<key>`), as pinned at the run's start. */
  config?: Record<string, JsonObject>;
  /** JSON pointers into `input` where the flow names a secret (`{ "$secret": name }`); nowhere else is one put in. */
  secrets?: string[];
  gate?: GateContext;
  /** Of a job atom: which part of it this is; `id` from the start on. */
  job?: JobCall;
  /** The worker may answer from its memory, and keeps its answer there: the result is then a {@link CachedAnswer}. */
  cache?: { key: string; ttlMs: number };
  correlationId?: string;
  hops?: number;
}

export interface JobCall {
  phase: 'start' | 'poll' | 'cancel';
  id?: string;
  /** Of a poll: how many failed polls in a row end the step; 0 = none does. */
  attempts?: number;
}

/** Result of an activity that was allowed to answer from memory; `cachedAt` when it did. */
export interface CachedAnswer {
  output: Json;
  cachedAt?: string;
}

/** What a running step says about how far it is. */
export interface StepProgress {
  percent?: number;
  message?: string;
}

export type StepStatus = 'running' | 'waiting' | 'paused' | 'succeeded' | 'failed' | 'skipped' | 'cancelled';

/** `check`: the atom's own worker says what it would do; `example`, `stub`: from its manifest. */
export type DryRunSource = 'check' | 'example' | 'stub' | 'answered' | 'not-sent';

/** One step as a person sees it; the answer of the `steps` query and the list in the outcome. */
export interface StepRecord {
  /** Instance path: `replace[m-17]/drain`. */
  path: string;
  id: string;
  verb: string;
  title?: string;
  status: StepStatus;
  /** Of a call: `name@version`. */
  atom?: string;
  attempts: number;
  startedAt: string;
  endedAt?: string;
  output?: Json;
  problem?: Problem;
  /** Of a `run` step: the child's workflow id. */
  workflowId?: string;
  /** Of a dry run: where the output comes from, when the step did nothing real. */
  dryRun?: DryRunSource;
  /** Of a job atom: the job's id at its target. */
  jobId?: string;
  /** The output was taken from a worker's memory; the time at which the target gave it. */
  cachedAt?: string;
  /** Of a running call: what its last heartbeat said. */
  progress?: StepProgress;
  /** Of a running call that has failed and is tried again: why, and when. */
  retrying?: { why: string; nextAt?: string };
  /** Taken over from the run of which this is a retry: it was not executed again. */
  reused?: true;
}

export type RunEnd = 'succeeded' | 'failed' | 'cancelled' | 'terminated';

/** Body of the closing report (`POST /internal/runs/{id}/outcome`). */
export interface RunOutcome {
  status: RunEnd;
  output?: Json;
  problem?: Problem;
  steps: StepRecord[];
  /** One entry per target; of a per-target run each with its own end. */
  targets: { path: string; status: RunEnd | 'withdrawn' }[];
  /** Of a run that did not succeed: what a retry starts with. Absent when it is too large to keep. */
  journal?: JsonObject;
}

/** Names on the Temporal side, shared by control (client) and the interpreter (worker). */
export const TEMPORAL_NAMES = {
  flowQueue: 'opsloop-flows',
  atomQueue: 'opsloop-atoms',
  /** Query → StepRecord[]. */
  stepsQuery: 'steps',
  /** Signal: a halt was made or lifted; the payload is a hint, the gate is the truth. */
  haltSignal: 'halt-changed',
  /** Update: an operator's act. */
  steerUpdate: 'steer',
  /** Signal: an operator's act on its way to a sub-flow. */
  steerSignal: 'steered',
  /** Signal of a sub-flow to its parent: it is held, or goes on. */
  heldSignal: 'sub-flow-held',
  /** Query → what a retry would start with. */
  journalQuery: 'journal',
  /** Signal of control: events that the run may wait for. */
  eventsSignal: 'events',
  /** Signal of a sub-flow to the run's root: what it waits for, and what it gives back. */
  inboxSignal: 'inbox',
  /** Signal of the root to a sub-flow: an event for one of its waits. */
  offerSignal: 'offer',
  /** Update: a person's answer. */
  approvalUpdate: 'answerApproval',
  /** Built-in flow behind `per: target`. */
  perTargetFlow: 'opsloop/per-target',
  reportActivity: 'opsloop.reportOutcome',
  emitActivity: 'opsloop.emit',
  gateActivity: 'opsloop.gate',
  loadActivity: 'opsloop.loadFlow',
  claimActivity: 'opsloop.claim',
  releaseActivity: 'opsloop.release',
  approvalActivity: 'opsloop.approval',
  cacheActivity: 'opsloop.cache',
  outputActivity: 'opsloop.checkOutput',
  /** Workflow type that makes one attempt of one activity; a flow's name has a slash, so none is called so. */
  tryWorkflow: 'tryActivity',
  dryRunActivity: 'opsloop.dryRun',
  searchAttributes: { OpsTenant: 'Keyword', OpsTier: 'Keyword', OpsPhase: 'Keyword', OpsTargets: 'KeywordList' },
} as const;
