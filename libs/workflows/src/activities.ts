/**
 * The activities that the interpreter calls besides atoms. A worker of `opsloop-flows` registers all of them: they run
 * as local activities, in the worker's own process.
 */
import type {
  ApprovalReport,
  AtomContext,
  CachedAnswer,
  Claim,
  CompiledFlow,
  GateContext,
  Json,
  JsonObject,
  RunOutcome,
} from '@opsloop/contracts';

/** Closing report of a root run. Must be idempotent: it is repeated until it is accepted. */
export interface ReportRequest {
  run: string;
  tenant: string;
  outcome: RunOutcome;
}

/** A CloudEvent that a flow publishes. Its id follows from `key`, so that a repeat is the same event. */
export interface EmitRequest {
  context: AtomContext;
  type: string;
  subject?: string;
  data?: Json;
  correlationId: string;
  hops: number;
}

/** Asked before a step of a foreign worker; throws a non-retryable failure of type `halted` under a halt. */
export interface GateRequest {
  run: string;
  step: string;
  gate: GateContext;
}

export interface LoadRequest {
  run: string;
  digest: string;
}

/** Claims of a running run, taken by try. */
export interface ClaimRequest {
  run: string;
  step: string;
  claims: Claim[];
}

export type ClaimAnswer = { granted: true; fence: string } | { granted: false; blockedBy?: unknown[] };

/** Asks for an answer that is kept in the worker's memory, or hands one over to be kept. */
export interface CacheRequest {
  key: string;
  keep?: { output: Json; ttlMs: number };
}

/** What a worker of others answered, to be held against the schema of its atom; throws `validation`. */
export interface OutputRequest {
  atom: string;
  schema: JsonObject;
  output: Json;
}

/** A dry run asks what an atom would answer. */
export interface DryRunRequest {
  run: string;
  step: string;
  /** `name@version`. */
  atom: string;
  input: Json;
}

export interface DryRunAnswer {
  output: Json;
  from: 'example' | 'stub';
}

export interface ReleaseRequest {
  run: string;
  step: string;
}

/** A flow asks people, or has stopped asking. Idempotent by run and path. */
export interface ApprovalRequest {
  run: string;
  tenant: string;
  correlationId: string;
  hops: number;
  report: ApprovalReport;
}

/** Keyed by `TEMPORAL_NAMES`. */
export interface FlowActivities {
  'opsloop.reportOutcome': (request: ReportRequest) => Promise<void>;
  'opsloop.emit': (request: EmitRequest) => Promise<void>;
  'opsloop.gate': (request: GateRequest) => Promise<void>;
  'opsloop.loadFlow': (request: LoadRequest) => Promise<CompiledFlow>;
  'opsloop.dryRun': (request: DryRunRequest) => Promise<DryRunAnswer>;
  'opsloop.claim': (request: ClaimRequest) => Promise<ClaimAnswer>;
  'opsloop.cache': (request: CacheRequest) => Promise<CachedAnswer | null>;
  'opsloop.checkOutput': (request: OutputRequest) => Promise<void>;
  'opsloop.release': (request: ReleaseRequest) => Promise<void>;
  'opsloop.approval': (request: ApprovalRequest) => Promise<void>;
}
