/** Rows of `control.admission` as pg gives them. */
import type {
  Claim,
  Consulted,
  Effect,
  Initiator,
  Json,
  JsonObject,
  OperatorAct,
  Problem,
  RunEnd,
  RunOutcome,
  StartRequest,
  StepRecord,
  Tier,
  TimelineEntry,
} from '@opsloop/contracts';

export const ADMISSION_STATES = [
  'queued',
  'held',
  'needs-approval',
  'admitted',
  'started',
  'closed',
  'rejected',
  'coalesced',
  'withdrawn',
  'cancelled',
  'expired',
] as const;
export type AdmissionState = (typeof ADMISSION_STATES)[number];

/** States in which a row can still come to life. */
export const WAITING_STATES: readonly AdmissionState[] = ['queued', 'held', 'needs-approval'];

/** A row of control.admission as pg gives it. */
export interface AdmissionRow {
  tenant: string;
  id: string;
  kind: 'run' | 'lock';
  state: AdmissionState;
  request: StartRequest;
  flow: string;
  version: string | null;
  effect: Effect | null;
  ir_digest: string | null;
  atoms: string[];
  targets: string[];
  /** Null while the catalog has not answered yet. */
  claims: Claim[] | null;
  /** Those of them that no policy added. */
  own_claims: Claim[] | null;
  tier: Tier;
  rule: string | null;
  decision_id: string | null;
  initiator: Initiator;
  coalesce_key: string | null;
  into_id: string | null;
  /** bigint: text. */
  ticket: string;
  rank_at: Date;
  valid_until: Date;
  fence: string | null;
  consulted: Consulted[];
  reason: string | null;
  workflow_id: string | null;
  temporal_run_id: string | null;
  created_at: Date;
  started_at: Date | null;
  ended_at: Date | null;
  start_attempts: number;
  status: RunEnd | null;
  output: Json | null;
  problem: Problem | null;
  steps: StepRecord[] | null;
  outcome: RunOutcome['targets'] | null;
  withdrawn: string[];
  dry_run: boolean;
  cancel_reason: string | null;
  /** Of a lock for work outside: its lease, and until when somebody is known to wait for it. */
  alive_until: Date | null;
  lock_ttl: { hours?: number; minutes?: number; seconds?: number; milliseconds?: number } | null;
  /** Its flow waits for events or asks people. */
  waits: boolean;
  history: TimelineEntry[];
  /** Acts of operators on the run while it ran, and retries of it. */
  acts: OperatorAct[];
  /** A pause of an operator is in force. */
  paused: boolean;
  retry_of: string | null;
  /** What its verdict follows from, where policies had a say. */
  facts: JsonObject | null;
  /** It takes room of counters. */
  charged: boolean;
  due_at: Date | null;
  /** Of a freeze or a storm, not of a halt. */
  hold_until: Date | null;
  /** Its time to wait was prolonged. */
  extended: boolean;
  approval_id: string | null;
}

/** What a start needs of an admission. */
export type StartableRow = Pick<
  AdmissionRow,
  | 'tenant'
  | 'id'
  | 'request'
  | 'flow'
  | 'version'
  | 'ir_digest'
  | 'targets'
  | 'tier'
  | 'rule'
  | 'decision_id'
  | 'initiator'
  | 'fence'
  | 'dry_run'
  | 'start_attempts'
  | 'facts'
>;
