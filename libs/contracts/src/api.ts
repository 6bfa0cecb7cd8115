/** Answers of the public HTTP API that more than one project reads (design sections 8 and 12). */
import type { Json } from './json.js';
import type { Tier } from './documents.js';
import type { BlockedBy, Consulted, Verdict } from './messages.js';
import type { StepRecord } from './flow.js';
import type { Problem } from './errors.js';

export type RunStatus = 'queued' | 'running' | 'paused' | 'waiting' | 'succeeded' | 'failed' | 'cancelled' | 'terminated';
export const FINAL_RUN_STATUSES: readonly RunStatus[] = ['succeeded', 'failed', 'cancelled', 'terminated'];

export interface AdmissionView {
  verdict: Verdict;
  position?: number;
  blockedBy?: BlockedBy[];
  approvalId?: string;
  consulted?: Consulted[];
  reason?: string;
}

export interface RunView {
  id: string;
  flow: string;
  version: string;
  status: RunStatus;
  input?: Json;
  output?: Json;
  problem?: Problem;
  targets: string[];
  tier: Tier;
  decisionId?: string;
  admission: AdmissionView;
  fence?: string;
  workflowId?: string;
  temporalUrl?: string;
  createdAt: string;
  startedAt?: string;
  endedAt?: string;
  steps?: StepRecord[];
  /** Set when the steps are the last known ones, since the workflow did not answer within 2 s. */
  stale?: boolean;
  initiator: { kind: string; name: string };
  rule?: string;
}

/** Every list: `?limit=&cursor=` (limit ≤ 500, default 50). */
export interface Page<T> {
  items: T[];
  nextCursor?: string;
}
