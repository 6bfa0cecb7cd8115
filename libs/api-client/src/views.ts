/** Answers of the API that only its clients read. */
import type {
  AdmissionView,
  BlockedBy,
  DecisionView,
  DocumentView,
  EventView,
  Finding,
  HaltScope,
  HaltView,
  HoldsView,
  Json,
  JsonObject,
  Problem,
  ResourceView,
  RuleLine,
  RunStatus,
} from '@opsloop/contracts';

export interface EventExplanation {
  event: EventView;
  duplicateOf?: string;
  rules: RuleLine[];
  decisions: DecisionView[];
  text: string;
}

export interface ResourceExplanation extends HoldsView {
  resource: ResourceView;
  episodes: JsonObject[];
  decisions: DecisionView[];
  text: string;
}

export interface LockClaim {
  path: string;
  mode: 'shared' | 'exclusive';
}

/** Body of `POST /v1/admissions`: a lock for work that opsloop does not start. */
export interface LockAdmissionBody {
  start: false;
  claims: LockClaim[];
  /** Who does what, as others shall read it. */
  owner: string;
  ttl?: string;
  tier?: string;
  /** How long it may wait. */
  validFor?: string;
  /** How often it is asked for while it waits; silence ends it. */
  heartbeat?: string;
}

/** Answer of `/v1/admissions`. */
export interface AdmissionDetailView extends AdmissionView {
  id: string;
  state: string;
  kind: 'run' | 'lock';
  flow: string;
  targets: string[];
  claims: LockClaim[];
  tier: string;
  fence?: string;
  /** When the lease of a granted lock ends. */
  expiresAt?: string;
  createdAt: string;
  validUntil: string;
}

/** Body of `POST /v1/locks`: the lease of a person. */
export interface LockBody {
  claims: LockClaim[];
  owner: string;
  ttl?: string;
  /** Longest time in the queue; the same request is repeated while it waits. */
  wait?: string;
  /** How long the server may keep the answer back until there is a grant. */
  longPoll?: string;
}

/** Granted with a fence, or waiting with a ticket. */
export interface LockAnswerView {
  fence?: string;
  expiresAt?: string;
  ticket?: string;
  position?: number;
  blockedBy?: BlockedBy[];
}

/** One line of `GET /v1/locks`. */
export interface LockView {
  fence: string;
  path: string;
  mode: 'shared' | 'exclusive';
  owner: string;
  runId?: string;
  since: string;
  expiresAt?: string;
  state: string;
  waiting?: number;
}

export type RunAct = 'pause' | 'resume' | 'cancel' | 'terminate' | 'retry' | 'skip' | 'set-concurrency' | 'abort-item';

/** Answer of an act on a run that goes on. */
export interface SteerView {
  id: string;
  status: string;
  /** False: it was so already. */
  applied: boolean;
  paused: boolean;
}

/** Answer of a retry of a closed run: the new run. */
export interface RetryView {
  id: string;
  status: RunStatus;
  admission: AdmissionView;
  retryOf: string;
}

export type BulkAction = 'pause' | 'resume' | 'cancel' | 'terminate' | 'retry' | 'skip';

export interface BulkBody {
  action: BulkAction;
  filter: {
    ids?: string[];
    flow?: string;
    rule?: string;
    tier?: string;
    under?: string;
    since?: string;
    status?: string;
  };
  reason: string;
  /** Of a skip: the step. */
  path?: string;
  expectedCount?: number;
  dryRun?: boolean;
}

export interface BulkAnswer {
  action: BulkAction;
  count: number;
  runs: { id: string; flow: string }[];
  dryRun: boolean;
  done?: string[];
  failed?: { id: string; problem: Problem }[];
}

export interface StartBody {
  input: Json;
  version?: string;
  wait?: string;
  dryRun?: boolean;
  timeScale?: number;
  coalesce?: boolean;
}

export interface HaltBody {
  scope: HaltScope;
  running: HaltView['running'];
  reason: string;
  until?: string;
  dryRun?: boolean;
  secondPerson?: boolean;
}

export interface HaltAnswer {
  id: string;
  hits?: { rules?: number; queued: number; running: number; targets: number };
}

export interface AutonomyView {
  rule: string;
  flow: string;
  level: 'auto' | 'approval' | 'shadow';
  fixed: number;
  notFixed: number;
  overridden: number;
  lastAt?: string;
  why?: string;
  changedBy?: string;
  since?: string;
}

export interface VersionActAnswer {
  name: string;
  version: string;
  status: string;
  changed: boolean;
  deprecated: string[];
  /** Of a publication: what does not forbid it. */
  warnings?: Finding[];
}

export interface ReadinessView {
  ready: boolean;
  parts: { name: string; ok: boolean; detail?: string }[];
}

export interface MaintenanceView extends DocumentView {
  open?: { from: string; until: string };
  next?: { from: string; until: string };
}

// ---------------------------------------------------------------- rules tried before they act
export interface RuleTestBody {
  rule: Json;
  event: Json;
  resource?: Json;
}

export interface RuleTestView {
  rule: string;
  version: string;
  verdict: string;
  stage: string;
  because?: { text: string; path?: string; expected?: Json; actual?: Json };
  decisions: {
    branch: string;
    rung: string;
    tier: string;
    targets: string[];
    batches: string[][];
    ref: string;
    input: Json;
  }[];
}

export interface BacktestBody {
  rules?: Json[];
  remove?: string[];
  /** A time, or a duration back from now; `until` alike, default now. */
  since: string;
  until?: string;
  under?: string;
}

/** Body of `POST /v1/admissions/forecast`. */
export interface ForecastBody {
  flow: string;
  version?: string;
  input?: Json;
  tier?: string;
  coalesce?: boolean;
}

/** Body of `POST /v1/policies/test`. */
export interface PolicyTestBody {
  flow: string;
  version?: string;
  input?: Json;
  tier?: string;
  initiator?: { kind: string; name: string; team?: string };
  rule?: string;
  at?: string;
  policies?: JsonObject[];
}

export interface PolicyFindingView {
  policy: string;
  other?: string;
  severity: 'error' | 'warning';
  message: string;
}

export interface PolicyTestView {
  said: string;
  reason?: string;
  at: string;
  targets: string[];
  policies: {
    name: string;
    type: string;
    layer: string;
    matches: boolean;
    why?: string;
    lines: { saw: string; said: string }[];
    next?: string;
  }[];
  findings: PolicyFindingView[];
}
