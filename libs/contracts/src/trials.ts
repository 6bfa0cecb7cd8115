/** A version of a rule that is tried, and how it agrees with what was done: as decision answers and clients read it. */
import type { RuleMode, Tier } from './documents.js';
import type { Json } from './json.js';

/** Somebody started work on a resource, or would have. */
export interface Act {
  at: string;
  path: string;
  ref: string;
  tier?: Tier;
  /** `watched`: it would have; `rule`: a rule did; `person`: a person or a program did by hand. */
  by: 'watched' | 'rule' | 'person';
  version?: string;
  eventId?: string;
  /** Decision or run. */
  id?: string;
}

export type Outcome = 'agreed' | 'differently' | 'more' | 'less';

export interface AgreementCase {
  outcome: Outcome;
  at: string;
  resource: string;
  /** What differs. */
  members?: string[];
  tried?: Act;
  other?: Act;
}

export interface OutcomeCount {
  count: number;
  byTier: Partial<Record<Tier, number>>;
}

export interface Agreement extends Record<Outcome, OutcomeCount> {
  cases: number;
  /** Share of the cases that agree, in percent; without a case there is nothing to agree on. */
  percent?: number;
}

/** Operational state of a rule: which share of the subjects it acts on; with `version` the rest is the live version's. */
export interface RolloutState {
  percent: number;
  by?: Json;
  version?: string;
  /** Taken back when so many of its last `of` verified runs were in vain. */
  failures?: number;
  of?: number;
  /** ISO: results of before do not count. */
  since?: string;
}

export interface TrialFigures {
  /** Verified runs that were looked at. */
  of: number;
  fixed: number;
  notFixed: number;
}

export interface AgreementView extends Agreement {
  rule: string;
  version: string;
  mode: RuleMode;
  /** Of a version that is tried beside the live one. */
  rollout?: RolloutState;
  /** Why it was taken back. */
  returned?: { version: string; at: string; why: string };
  /** Whose acts it is compared with: the live version, or people. */
  against: { rule?: string; version?: string };
  from: string;
  until: string;
  /** More acts than are compared; the newest were. */
  cut: boolean;
  verified?: TrialFigures;
  /** What to type when it has proved itself. */
  next: string;
  items: AgreementCase[];
}
