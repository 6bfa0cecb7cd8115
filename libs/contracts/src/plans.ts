/** What a run would do with an input, as verification writes it and clients read it. */
import type { Effect } from './documents.js';
import type { FieldError } from './errors.js';
import type { Finding } from './finding.js';
import type { Claim, Verb } from './flow.js';

export const AT_RUN_TIME = 'known at run time';
export type Known<T> = T | typeof AT_RUN_TIME;

export interface PlanApproval {
  step: string;
  title: string;
  approvers: string[];
  min: number;
  timeout?: string;
  /** Asked only then. */
  if?: string;
}

export interface PlanBatch {
  step: string;
  number: number;
  of: number;
  size: number;
  /** Keys of the items; of a long batch the first ones. */
  items: string[];
}

export interface PlanStep {
  id: string;
  path: string;
  verb: Verb;
  title?: string;
  /** Condition as text: the step may be skipped. */
  if?: string;
  /** The input alone says that the condition is false. */
  skipped?: true;
  /** Of `call` and `run`: what is written and what it is pinned to. */
  ref?: string;
  pinned?: string;
  effect?: Effect;
  /** Runs inside the flow worker. */
  execution?: 'local';
  /** Has a compensation. */
  undo?: string;
  /** Of a `forEach`: how many items, when the input alone says so. */
  items?: Known<number>;
  concurrency?: Known<number>;
  batches?: string[][];
  steps?: PlanStep[];
}

export interface Plan {
  name: string;
  version: string;
  digest: string;
  effect: Effect;
  inputErrors: FieldError[];
  targets: Known<string[]>;
  locks: Known<Claim[]>;
  /** Calls written in the tree by effect; a call inside a loop counts once. */
  effects: Record<Effect, number>;
  /** Calls that change something, repeated as often as the input says. */
  changes: Known<number>;
  blastRadius: { inFlight: Known<number>; total: Known<number> };
  pinned: { kind: 'atom' | 'flow'; ref: string; version: string; effect?: Effect }[];
  batches: PlanBatch[];
  approvals: PlanApproval[];
  secrets: string[];
  /** Paths of the steps that run inside the flow worker. */
  local: string[];
  worst: { duration: Known<string>; events: number; continues: boolean };
  timeout?: string;
  findings: Finding[];
  steps: PlanStep[];
}

export interface RetryPlan {
  /** Kept: these are not executed again. */
  kept: string[];
  /** Executed again, and why. */
  again: { path: string; why: string; effect?: Effect }[];
  /** Written in the flow and never reached by the run. */
  first: { path: string; effect?: Effect }[];
}

/** Of `POST /v1/plan`; with the steps of an earlier run also what a retry of it would execute again. */
export interface PlanAnswer extends Plan {
  retry?: RetryPlan;
}
