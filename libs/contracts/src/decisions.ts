/** What decision answers about rules, decisions, episodes and incidents: as it writes it and as clients read it. */
import type { Consulted, Verdict } from './messages.js';
import type { Tier } from './documents.js';
import type { Json } from './json.js';
import type { TimelineEntry } from './internal.js';

export const VERDICTS = [
  'decided',
  'no-match',
  'false',
  'stale',
  'waiting',
  'deduped',
  'grouped',
  'maintenance',
  'halted',
  'episode-open',
  'own-effect',
  'cooldown',
  'goal-met',
  'budget',
  'no-branch',
  'shadow',
  'rollout',
  'hop-limit',
  'error',
] as const;

export type RuleVerdict = (typeof VERDICTS)[number];

export interface Because {
  text: string;
  path?: string;
  expected?: Json;
  actual?: Json;
}

/** Why this version acted, or only watched. */
export interface Side {
  acts: boolean;
  percent: number;
  /** 0 to 99; below `percent` the tried version acts. */
  bucket?: number;
  /** The other version. */
  beside: string;
}

/** What one rule made of one event. */
export interface RuleLine {
  rule: string;
  version: string;
  verdict: string;
  stage: string;
  because?: Because;
  decisionId?: string;
  /** While two versions judge. */
  side?: Side;
}

export interface AdmissionOfDecision {
  id: string;
  /** `pending` until control has answered. */
  verdict: Verdict | 'pending';
  consulted: Consulted[];
  /** Set when there is a run to look at; of a coalesced start the other one. */
  runId?: string;
  status?: string;
  reason?: string;
}

export interface DecisionView {
  id: string;
  rule: string;
  version: string;
  branch: string;
  rung: string;
  tier: Tier;
  cause: string;
  eventId?: string;
  ref: string;
  targets: string[];
  batches: string[][];
  episodes: { id: string; resource: string }[];
  at: string;
  admissions: AdmissionOfDecision[];
}

export interface EpisodeView {
  id: string;
  rule: string;
  version: string;
  resource: string;
  state: string;
  branch: string;
  rung: string;
  attempts: number;
  starts: number;
  refusals: number;
  openedAt: string;
  changedAt: string;
  eventId: string;
  startId?: string;
  nextAt?: string;
  blockedUntil?: string;
  reason?: string;
  incidentId?: string;
  event?: Json;
}

/** Episodes that belong together. */
export interface IncidentSummary {
  id: string;
  title: string;
  state: 'open' | 'closed';
  /** Of a closed one: healed, or somebody has to look. */
  outcome?: 'converged' | 'exhausted' | 'withdrawn';
  key?: string;
  tier: Tier;
  openedAt: string;
  closedAt?: string;
  rules: string[];
  /** At most twenty of them. */
  resources: string[];
  counts: {
    resources: number;
    episodes: number;
    open: number;
    converged: number;
    exhausted: number;
    withdrawn: number;
  };
}

export interface IncidentView extends IncidentSummary {
  episodeList: EpisodeView[];
  decisions: DecisionView[];
  story: TimelineEntry[];
}

// ---------------------------------------------------------------- what a change of rules would have changed
/** A decision as it is compared: without ids, which hold the version. */
export interface PlayedDecision {
  rule: string;
  eventId: string;
  /** 1 for what the event itself started, more for later attempts and rungs. */
  start: number;
  at: string;
  branch: string;
  rung: string;
  tier: Tier;
  targets: string[];
  batches: string[][];
  ref: string;
  input: Json;
}

export interface ChangedDecision {
  /** Members that differ. */
  members: (keyof PlayedDecision)[];
  before: PlayedDecision;
  after: PlayedDecision;
}

export interface CountedByTier<T> {
  count: number;
  byTier: Partial<Record<Tier, number>>;
  items: T[];
}

export type VerdictCounts = Partial<Record<RuleVerdict, number>>;

export interface BacktestResult {
  from: string;
  until: string;
  events: number;
  /** More events than one backtest reads; the oldest of them were compared. */
  cut: boolean;
  decisions: { before: number; after: number };
  gained: CountedByTier<PlayedDecision>;
  lost: CountedByTier<PlayedDecision>;
  changed: CountedByTier<ChangedDecision>;
  rules: Record<string, { before: VerdictCounts; after: VerdictCounts }>;
  /** Of everything above and of all that is not shown: equal digests, equal outcome. */
  digest: string;
}

export interface BacktestView {
  id: string;
  status: 'queued' | 'running' | 'done' | 'failed';
  at: string;
  by: string;
  progress: { done: number; total: number };
  result?: BacktestResult;
  problem?: string;
}
