/** Answers of the public HTTP API that more than one project reads (design sections 8 and 12). */
import type { Json, JsonObject } from './json.js';
import type { DocumentKind, Tier } from './documents.js';
import type { BlockedBy, Consulted, EventMessage, Verdict } from './messages.js';
import type { StepRecord } from './flow.js';
import type { Problem } from './errors.js';
import type { Diagnosis } from './status.js';
import type { OperatorAct } from './steer.js';

export type RunStatus =
  'queued' | 'running' | 'paused' | 'waiting' | 'succeeded' | 'failed' | 'cancelled' | 'terminated';
export const FINAL_RUN_STATUSES: readonly RunStatus[] = ['succeeded', 'failed', 'cancelled', 'terminated'];

export interface AdmissionView {
  verdict: Verdict;
  position?: number;
  blockedBy?: BlockedBy[];
  approvalId?: string;
  consulted?: Consulted[];
  reason?: string;
  /** Of a queued one: when its turn may come, from past durations of the flows before it; absent when unknown. */
  eta?: string;
  /** Of a held one: until when, if that is known. */
  heldUntil?: string;
  /** Of a forecast: the verdict in words. */
  forecast?: string;
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
  /** What it is part of; other runs of the same have it too. */
  incidentId?: string;
  /** What people did to it: pause, resume, skip, retry, concurrency, abort. */
  acts?: OperatorAct[];
  /** The run of which this is an operator's retry. */
  retryOf?: string;
  /** People are asked right now. */
  approvals?: { id: string; path: string; title: string }[];
  /** Of an open run: why it does not go on, worst first; empty when nothing is in its way. */
  diagnosis?: Diagnosis[];
}

/** Every list: `?limit=&cursor=` (limit ≤ 500, default 50). */
export interface Page<T> {
  items: T[];
  nextCursor?: string;
}

/** Answer of PUT of a document: 201 when created, else 200. */
export interface PutAnswer {
  kind: DocumentKind;
  /** Of a resource: its path. */
  name: string;
  version?: string;
  change: 'created' | 'changed' | 'unchanged';
  digest: string;
  /** Of a policy: where it contradicts others, or itself. */
  contradictions?: string[];
}

/** A document as GET answers it; in lists too. */
export interface DocumentView {
  kind: DocumentKind;
  name: string;
  version?: string;
  digest: string;
  status: 'draft' | 'published' | 'deprecated';
  live: boolean;
  createdAt: string;
  createdBy: string;
  body: JsonObject;
  /** Operational state outside the versions, such as a rule's mode. */
  meta?: JsonObject;
}

/** Answer of `POST /v1/events` and of the hooks, in request order. */
export interface AcceptedEvent {
  id: string;
  source: string;
  eventId: string;
  duplicate: boolean;
}

/** An event as the API shows it. In lists `data` above 4 KB is left out and `dataOmitted` set. */
export interface EventView extends Omit<EventMessage, 'data'> {
  data?: Json;
  dataOmitted?: true;
  /** Why no resource path could be found for it. */
  unmapped?: string;
}
