/** What a person on call asks first: what is wrong, and what to type. */

/** Why a run does not go on, in the order in which a person should care. */
export const DIAGNOSIS_CODES = [
  'temporal-unreachable',
  'workflow-failing',
  'no-worker',
  'atom-unknown',
  'retrying',
  'history-near-limit',
  'workers-busy',
  'silent',
  'lock-wait',
  'halted',
  'held',
  'paused',
  'approval-waiting',
] as const;
export type DiagnosisCode = (typeof DIAGNOSIS_CODES)[number];

export interface Diagnosis {
  code: DiagnosisCode;
  /** Somebody has to do something; otherwise it only says what is waited for. */
  stuck: boolean;
  says: string;
  /** What helps, in a sentence. */
  suggest: string;
  /** The command to type. */
  next: string;
  /** Instance path of the step, where it is about one. */
  path?: string;
  since?: string;
}

export type StatusLevel = 'down' | 'stopped' | 'stuck' | 'failing' | 'waiting' | 'ok';

export interface StatusItem {
  level: StatusLevel;
  /** Stable, for scripts: `halt`, `brake`, `stuck.no-worker`, `failed`, … */
  code: string;
  title: string;
  /** The command that looks closer or mends it. */
  next: string;
  /** How many it is about. */
  count?: number;
  since?: string;
}

/** `GET /v1/status`. */
export interface StatusView {
  /** Nothing is down, stopped, stuck or failing. */
  ok: boolean;
  at: string;
  counts: {
    queued: number;
    held: number;
    running: number;
    failed1h: number;
    succeeded1h: number;
    locks: number;
    halts: number;
    approvals: number;
  };
  /** Worst first; never empty. */
  items: StatusItem[];
}
