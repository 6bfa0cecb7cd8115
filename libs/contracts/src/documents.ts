/**
 * The documents that people write (design section 5). The JSON Schemas in `dsl-schemas/` are their contract; these
 * types say the same for the compiler. A document has passed its schema before code sees one of these types.
 */
import type { Json, JsonObject } from './json.js';
import type { FlowDocument } from './flow.js';
import type { SourceDocument } from './source.js';

export const DSL_VERSION = 'opsloop/v1';

/** JSONLogic as stored, or the text form that is parsed into it when the document is put. */
export type Condition = Json;
/** A template: any JSON in which `${path}` and `{"$logic": …}` are evaluated (flow-language section 2.3). */
export type Template = Json;
export type Tier = 'P0' | 'P1' | 'P2' | 'P3' | 'P4';
export const TIERS: readonly Tier[] = ['P0', 'P1', 'P2', 'P3', 'P4'];

export type DocumentKind =
  'flow' | 'atom' | 'rule' | 'policy' | 'source' | 'schedule' | 'table' | 'config' | 'resource' | 'maintenance';

export interface DocumentBase {
  dsl: typeof DSL_VERSION;
  name: string;
  owner?: string;
  title?: string;
  labels?: Record<string, string>;
}

// ---------------------------------------------------------------- atom
export type Effect = 'read' | 'mutate' | 'destroy';
export type Idempotency = 'native' | 'probe' | 'none';

/** Temporal's activity timeouts, as durations. */
export interface CallTimeout {
  startToClose?: string;
  scheduleToClose?: string;
  /** Default 10m: a queue that nobody polls becomes `no-worker` instead of waiting for ever. */
  scheduleToStart?: string;
  heartbeat?: string;
}

/** Temporal's retry policy, field for field (flow-language section 4). */
export interface RetryPolicy {
  initialInterval?: string;
  backoffCoefficient?: number;
  maximumInterval?: string;
  /** 0 = unlimited. */
  maximumAttempts?: number;
  nonRetryableErrorTypes?: string[];
}

export interface HttpAtomSpec {
  method: string;
  url: Template;
  /** Added to the address, encoded; null is left out, a list becomes several. */
  query?: Record<string, Template>;
  headers?: Record<string, Template>;
  body?: Template;
  /** Statuses that count as success; default 2xx and 3xx. */
  expect?: number[];
  /** Template over `{ input, response: { status, headers, body } }`; default `{ status, headers, body }`. */
  output?: Template;
}

/** One call of a job: an HTTP call without an output of its own. */
export type JobHttpCall = Omit<HttpAtomSpec, 'output'>;

/**
 * Work that goes on at the target after the call that started it. Without `worker` each part is an HTTP call; with one
 * the parts are its activities `<activity>.start`, `<activity>.poll` and `<activity>.cancel`.
 */
export interface JobSpec {
  /** Only without `worker`. `id` is a template over `{ input, response }`; default `${response.body.id}`. */
  start?: JobHttpCall & { id?: Template };
  /** Templates and conditions see `{ input, job: { id }, response }`. */
  poll: Partial<JobHttpCall> & {
    every?: string;
    done?: Condition;
    failed?: Condition;
    output?: Template;
    progress?: { percent?: Template; message?: Template };
  };
  /** Of a worker: `{}` when it has a cancel activity. */
  cancel?: Partial<JobHttpCall>;
}

/** Answers of a read that later calls with the same key are given. */
export interface CacheSpec {
  /** Template over `{ input }`; default the whole input. */
  key?: Template;
  ttl: string;
}

/** How an atom may be tried without harm. */
export interface VerifySpec {
  input?: Json;
  /** A read atom that tells how often the effect was applied; `with` sees `input`, `value` sees `result`. */
  count?: { call: string; with?: Template; value: Template };
  /** Input whose work takes at least 10 s. */
  slow?: Json;
}

export interface ScriptAtomSpec {
  /** The script's text, ≤ 64 KB. `apply` turns `file` into it. */
  source?: string;
  file?: string;
  /** argv prefix; the path of a file that holds the source is appended. */
  interpreter: string[];
  env?: Record<string, Template>;
  stdin?: Template;
}

export interface WorkerAtomSpec {
  /** Task queue; may be a template over the target's labels. */
  queue: string;
  activity: string;
  /** It answers dry runs itself, without changing anything. */
  check?: boolean;
}

export interface AtomDocument extends DocumentBase {
  kind: 'atom';
  version: string;
  effect: Effect;
  idempotency: Idempotency;
  targets?: Template;
  input?: { schema: JsonObject };
  output?: { schema: JsonObject };
  worker?: WorkerAtomSpec;
  http?: HttpAtomSpec;
  script?: ScriptAtomSpec;
  job?: JobSpec;
  /** Only of the atoms that come with opsloop; documents of users cannot set it. */
  bundled?: true;
  execution?: 'local';
  cache?: CacheSpec;
  timeout?: CallTimeout;
  retry?: RetryPolicy;
  compensate?: { call: string; with?: Template };
  examples?: { input: Json; output?: Json }[];
  verify?: VerifySpec;
}

// ---------------------------------------------------------------- rule
export type RuleMode = 'active' | 'shadow' | 'disabled';

/** One entry of `on`: fields are AND, entries are OR, `*` matches any characters. */
export interface EventPattern {
  type?: string;
  source?: string;
  subject?: string;
  /** Partial match of `data`; a list means any of. */
  data?: JsonObject;
}

export interface Observe {
  call: string;
  with?: Template;
  every?: string;
  /** An observation older than this is unknown and never a reason to act. Default 1m. */
  staleAfter?: string;
}

export interface Rung {
  id: string;
  run?: string;
  call?: string;
  per?: 'target';
  with?: Template;
  /** Default 1. */
  attempts?: number;
  /** Time each attempt has to reach the goal, from its end. A rung without it ends the ladder once it has started. */
  within?: string;
}

export interface Branch {
  id: string;
  when?: Condition;
  ladder: Rung[];
}

/** Batch keys of a rule, the same as `forEach.batch` of a flow. */
export interface RuleBatch {
  by?: Template;
  canary?: number;
  size?: number | string;
  max?: number;
  pause?: string;
  tolerate?: { failures?: number; percent?: number };
  /** Two targets with the same value are never in one batch; a list means each of its members. */
  spread?: Template;
  /** The size of the next batch follows the outcome of the one before. */
  ramp?: BatchRamp;
}

export interface BatchRamp {
  /** Default 2. */
  grow?: number;
  /** Default 2. */
  shrink?: number;
  max?: number;
}

/** People who must agree before the work starts, beside what policies ask. */
export interface TierApproval {
  groups?: string[];
  min?: number;
  timeout?: string;
}

/** What a tier entry or a row of a table may say of the work. */
export interface TierHit {
  tier?: Tier;
  /** Replaces members of the rule's batch. */
  batch?: RuleBatch;
  approval?: TierApproval;
}

/** A window of time that comes again, or one stretch; read by `@opsloop/rules/windows`. */
export interface WindowDocument {
  rrule?: string;
  start?: string;
  for?: string;
  from?: string;
  until?: string;
  zone?: string;
}

/** A named value for conditions; exactly one of events, episodes, clock, during, table. */
export interface FactSpec {
  events?: EventPattern;
  episodes?: { rule?: string; state?: string[] };
  /** Of events and episodes: exactly this subject (the default), all below a path, or any. */
  of?: Template;
  under?: Template;
  any?: true;
  distinct?: 'subject';
  within?: string;
  clock?: string;
  during?: WindowDocument;
  table?: string;
}

export interface RuleDocument extends DocumentBase {
  kind: 'rule';
  version: string;
  mode?: RuleMode;
  rollout?: { percent: number; by?: Template };
  on: EventPattern[];
  when?: Condition;
  facts?: Record<string, FactSpec>;
  for?: string;
  atLeast?: { count: number; within: string };
  /** Whether late events (older than what they would overwrite) may start work. Default false. */
  stale?: boolean;
  dedupe?: { by: Template; within: string };
  /** At most so many decisions of a key in a time; unlike a budget it exhausts nothing. */
  throttle?: { by?: Template; count: number; within: string };
  /** A subject that turns this often is left alone until it stands still for `quiet` (default `within`). */
  flapping?: { changes: number; within: string; quiet?: string };
  group?: { by: Template; within: string; max?: number };
  /** Which episodes of the rules of this domain belong to one incident. Default: those of one cause. */
  incident?: { by: Template; within?: string };
  tier?: ({ when?: Condition; tier: Tier } & TierHit)[] | { table: string };
  targets?: { from: 'event' | 'members' } | { paths: Template };
  batch?: RuleBatch;
  goal?: { state: Condition; observe?: Observe; stableFor?: string };
  branches: Branch[];
  budget?: { runs: number; within: string; by?: Template }[];
  cooldown?: string;
}

// ---------------------------------------------------------------- the others
export interface ResourceDocument {
  dsl?: typeof DSL_VERSION;
  kind?: 'resource';
  path: string;
  owner?: string;
  labels?: Record<string, string>;
  /** Counts as observed now and triggers no rule (design section 12.4). */
  state?: JsonObject;
  memberOf?: string[];
  dependsOn?: string[];
  /** Out of service for good. */
  retired?: Retired;
}

export interface Retired {
  /** What stands in its place. */
  replacedBy?: string;
  reason?: string;
}

/** When automation leaves resources alone; what is still wrong at the end of a window is looked at once. */
export interface MaintenanceDocument extends DocumentBase {
  kind: 'maintenance';
  scope: { paths?: string[]; labels?: Record<string, string>; memberOf?: string[]; rules?: string[] };
  during: WindowDocument;
  reason?: string;
}

export interface ConfigDocument extends DocumentBase {
  kind: 'config';
  values: JsonObject;
}

export interface TableDocument extends DocumentBase {
  kind: 'table';
  version: string;
  hit: 'first' | 'unique' | 'collect';
  rows: ({ when?: Condition } & TierHit & { [member: string]: unknown })[];
}

export interface PolicyDocument extends DocumentBase {
  kind: 'policy';
  type: string;
  match?: JsonObject;
  [member: string]: unknown;
}

export interface ScheduleDocument extends DocumentBase {
  kind: 'schedule';
  /** One of the three says when. */
  cron?: string;
  rrule?: string;
  every?: string;
  /** IANA; default UTC. */
  zone?: string;
  /** One of the two says what. */
  run?: string;
  call?: string;
  with?: Template;
  /** When the last one still runs. Default skip. */
  overlap?: 'skip' | 'queue' | 'allow';
  /** Times that were missed. Default last. */
  catchUp?: 'none' | 'last' | 'all';
  tier?: Tier;
  enabled?: boolean;
}

export type OpsDocument =
  | FlowDocument
  | AtomDocument
  | RuleDocument
  | SourceDocument
  | ConfigDocument
  | TableDocument
  | PolicyDocument
  | ScheduleDocument
  | ResourceDocument
  | MaintenanceDocument;

/** How a kind is addressed over HTTP and whether it has immutable versions. */
export const DOCUMENT_KINDS = {
  flow: { route: 'flows', name: 'domain/name', versioned: true, app: 'service-catalog' },
  atom: { route: 'atoms', name: 'dotted', versioned: true, app: 'service-catalog' },
  rule: { route: 'rules', name: 'domain/name', versioned: true, app: 'decision' },
  policy: { route: 'policies', name: 'domain/name', versioned: false, app: 'control' },
  source: { route: 'sources', name: 'word', versioned: false, app: 'event-ingest' },
  schedule: { route: 'schedules', name: 'domain/name', versioned: false, app: 'service-catalog' },
  table: { route: 'tables', name: 'domain/name', versioned: true, app: 'service-catalog' },
  config: { route: 'configs', name: 'word', versioned: false, app: 'service-catalog' },
  resource: { route: 'resources', name: 'path', versioned: false, app: 'decision' },
  maintenance: { route: 'maintenance', name: 'domain/name', versioned: false, app: 'decision' },
} as const satisfies Record<DocumentKind, { route: string; name: string; versioned: boolean; app: string }>;
