/** What this app keeps, as its code sees it. Rows come and go through `decision.load` and `decision.save`. */
import type {
  Because,
  EventMessage,
  HaltView,
  Json,
  JsonObject,
  ResourceView,
  Retired,
  RuleDocument,
  RuleMode,
  RuleVerdict,
  Side,
  StartRequest,
  Tier,
  TierHit,
} from '@opsloop/contracts';
import type { Episode } from '../episodes/machine.pure.js';

/** A rule as it judges events: the live version and its operational state. */
export interface LiveRule {
  name: string;
  version: string;
  digest: string;
  mode: RuleMode;
  rollout?: RuleDocument['rollout'];
  doc: RuleDocument;
  /** While another version is tried: the two of them. */
  pair?: Pair;
  /** Of a version that only watches beside the one that acts: its windows and verdicts are kept under `name@version`. */
  slot?: string;
  side?: Side;
}

/** Two versions of a rule that judge the same events: one acts, by the subject, and the other only says what it would do. */
export interface Pair {
  live: LiveRule;
  tried: LiveRule;
  /** Of the subjects, on which the tried one acts; 0: it only watches. */
  percent: number;
  by?: Json;
}

export interface Ruleset {
  id: string;
  /** Active and shadow rules, by name: the live version of each. */
  rules: LiveRule[];
  /** Versions that are tried beside them. */
  tried?: readonly LiveRule[];
}

/** What a rule that only watches would have started for one target. */
export interface Would {
  rule: string;
  version: string;
  eventId: string;
  path: string;
  ref: string;
  branch: string;
  tier: Tier;
}

/** What was seen after a run of a version that is tried. */
export interface TrialResult {
  rule: string;
  version: string;
  run: string;
  resource: string;
  fixed: boolean;
}

export interface Resource extends ResourceView {
  /** Time of the last observation per key; also of keys that were deleted, so that a late event cannot bring them back. */
  seenAt: Record<string, string>;
  /** Types of the events that have reported its state: by them a rule without a subject knows its own. */
  reportedBy: readonly string[];
  declared: boolean;
  lastRunEnd?: string;
  checkAt?: string;
  retired?: Retired;
}

/** Verdict of one rule on one event, as stored in the trace. */
export interface RuleTrace {
  version: string;
  verdict: RuleVerdict;
  stage: string;
  because?: Because;
  decisionIds?: string[];
  /** While two versions judge. */
  side?: Side;
}

export type WaitKind = 'for' | 'atLeast' | 'dedupe' | 'group' | 'throttle' | 'flap' | 'incident' | 'debt';

export interface WaitRow {
  rule: string;
  kind: WaitKind;
  key: string;
  doc: WaitDoc;
  dueAt?: string;
  expiresAt: string;
}

export interface WaitDoc {
  ruleVersion: string;
  /** for, group: the first event, which stands for all; dedupe: the one that counted; atLeast: none. */
  events: EventMessage[];
  /** for, group: the events that joined later; their traces tell how the window ended. Bounded, see `EVENTS_MAX`. */
  joined?: string[];
  /** group: targets collected. */
  targets?: string[];
  /** atLeast: times of the events that counted; throttle: of the decisions; flap: of the turns. */
  times?: string[];
  /** flap: whether the subject matched when it was last heard of. */
  matches?: boolean;
  /** incident: its id. */
  incident?: string;
}

/** An episode with what its ladder needs later: the event that caused it and the origin it shares with its siblings. */
export interface EpisodeRow {
  episode: Episode;
  /** Cause of the first start; episodes with the same origin are decided together. */
  origin: string;
  event: EventMessage;
  tier: Tier;
  incident?: IncidentRef;
  /** What the tier said of the work, kept for the attempts to come. */
  work?: Omit<TierHit, 'tier'>;
}

export interface IncidentRef {
  id: string;
  /** What its episodes have in common, where the rule says so. */
  key?: string;
}

export interface DecisionRow {
  id: string;
  rule: string;
  ruleVersion: string;
  branch: string;
  rung: string;
  tier: Tier;
  cause: string;
  eventId?: string;
  targets: string[];
  batches: string[][];
  episodes: { id: string; resource: string }[];
  start: StartRequest;
  at: string;
}

export interface TraceRow {
  eventId: string;
  ruleset: string;
  subject?: string;
  event: EventMessage;
  notes: JsonObject;
  verdicts: Record<string, RuleTrace>;
  at: string;
}

export interface BudgetKey {
  rule: string;
  slot: number;
  key: string;
}

export interface Hold {
  path: string;
  runId: string;
  /** ISO: what happened before is no effect of that run. */
  since: string;
}

export type Halt = HaltView;
export type Configs = Record<string, JsonObject>;

/** What a world is loaded for. */
export interface LoadRequest {
  paths: readonly string[];
  waits: readonly { rule: string; kind: WaitKind; key: string }[];
  budgets: readonly (BudgetKey & { doc: RuleDocument })[];
}
