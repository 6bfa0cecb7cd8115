/** Answers of the service catalog: secrets, tokens, checks and plans. */
import type { FieldError, JsonObject, StepRecord, Verb } from '@opsloop/contracts';

export interface SecretPut {
  name: string;
  version: number;
  change: 'created' | 'changed';
}

/** What may be known of a secret. */
export interface SecretView {
  name: string;
  version: number;
  updatedAt: string;
  updatedBy: string;
  usedBy: string[];
}

export interface KeyRotation {
  keyId: string;
  /** The platform made the key; otherwise it is the first of the configured ones. */
  made: boolean;
  rewrapped: number;
  /** Keys that nothing needs any more. */
  retired: string[];
}

export interface CreateTokenBody {
  name: string;
  roles: string[];
  groups?: string[];
  secrets?: string[];
  expiresInDays?: number;
  reason?: string;
}

export interface TokenView {
  id: string;
  name: string;
  roles: string[];
  groups: string[];
  secrets: string[];
  createdAt: string;
  createdBy: string;
  expiresAt?: string;
  revokedAt?: string;
}

/** What trying an atom has shown. */
export interface VerifyAnswer {
  atom: string;
  version: string;
  /** No check failed; what was skipped is not known. */
  passed: boolean;
  checks: { check: string; status: 'passed' | 'failed' | 'skipped'; detail: string; remedy?: string }[];
}

/** A finding about a document. */
export interface FindingView {
  code: string;
  severity: 'error' | 'warning';
  pointer: string;
  message: string;
  hint?: string;
  step?: string;
  url?: string;
}

export interface ValidateAnswer {
  valid: boolean;
  findings: FindingView[];
  documents: { kind: string; name: string; valid: boolean; findings: FindingView[] }[];
}

export interface PlanBody {
  /** A flow document, or `name@range` of one that is published. */
  flow?: JsonObject;
  name?: string;
  /** Flows and atoms that count as published. */
  documents?: JsonObject[];
  input?: JsonObject;
  /** Steps of an earlier run. */
  against?: { steps: StepRecord[] };
}

type Effect = 'read' | 'mutate' | 'destroy';
type Known<T> = T | 'known at run time';

export interface PlanStepView {
  id: string;
  path: string;
  verb: Verb;
  title?: string;
  if?: string;
  skipped?: true;
  ref?: string;
  pinned?: string;
  effect?: Effect;
  execution?: 'local';
  undo?: string;
  items?: number | 'known at run time';
  concurrency?: number | 'known at run time';
  batches?: string[][];
  steps?: PlanStepView[];
}

export interface PlanAnswer {
  name: string;
  version: string;
  digest: string;
  effect: Effect;
  inputErrors: FieldError[];
  targets: Known<string[]>;
  locks: Known<{ path: string; mode: 'shared' | 'exclusive' }[]>;
  effects: Record<Effect, number>;
  changes: Known<number>;
  blastRadius: { inFlight: Known<number>; total: Known<number> };
  pinned: { kind: 'atom' | 'flow'; ref: string; version: string; effect?: Effect }[];
  batches: { step: string; number: number; of: number; size: number; items: string[] }[];
  approvals: { step: string; title: string; approvers: string[]; min: number; timeout?: string; if?: string }[];
  secrets: string[];
  local: string[];
  worst: { duration: string; events: number; continues: boolean };
  timeout?: string;
  findings: FindingView[];
  steps: PlanStepView[];
  retry?: {
    kept: string[];
    again: { path: string; why: string; effect?: Effect }[];
    first: { path: string; effect?: Effect }[];
  };
}
