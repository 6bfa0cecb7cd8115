/** Answers of the service catalog: secrets, tokens, checks and plans. */
import type { Finding, JsonObject, StepRecord } from '@opsloop/contracts';

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

export interface ValidateAnswer {
  valid: boolean;
  findings: Finding[];
  documents: { kind: string; name: string; valid: boolean; findings: Finding[] }[];
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
