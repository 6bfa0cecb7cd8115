/** What the reference interpreter speaks of: ends of steps, what it notes, and the numbers both sides share. */
import type { FlowDocument, Json, RetryPolicy } from '@opsloop/contracts';

export interface RefRecord {
  status: string;
  attempts?: number;
  output?: Json;
}

export interface RefResult {
  status: 'succeeded' | 'failed' | 'cancelled';
  output?: Json;
  code?: string;
  records: Map<string, RefRecord>;
  /** Undone steps with the time at which their undoing began. */
  undone: { path: string; at: number }[];
  emitted: string[];
  /** Two things that decide happened at about the same time: either order is right. */
  ambiguous: boolean;
}

export type End =
  | { at: number; kind: 'ok'; output: Json }
  | { at: number; kind: 'failed'; code: string; retryable: boolean }
  | { at: number; kind: 'cancelled' }
  | { at: number; kind: 'return'; output: Json }
  /** A branch that never started, since one that it needs did not end well. */
  | { at: number; kind: 'unmet' };

/** Undo of one step, or of branches side by side. */
export type Undo = { path: string; ref: string } | { branches: Undo[][] };

export interface Log {
  records: [string, RefRecord][];
  undone: { path: string; at: number }[];
  emitted: string[];
}

export interface Env {
  flow: FlowDocument;
  flows: Record<string, FlowDocument>;
  vars: Record<string, Json>;
  /** Outputs of calls by id, innermost scope last. */
  seen: Record<string, Json>;
  names: Record<string, Json>;
  prefix: string;
  undo: Undo[];
  forward: boolean;
}

export const NEVER = Infinity;
/** Bookkeeping takes some ms that are not worth telling exactly; what is nearer than this may go either way. */
export const NEAR_MS = 60;
export const UNDONE_BY: Readonly<Record<string, string>> = {
  'a.one@1': 'u.undo@1',
  'a.two@1': 'u.undo@1',
  'j.job@1': 'u.undo@1',
};
/** Codes that the table of errors never tries again. */
export const FINAL = new Set(['policy', 'batch-threshold', 'goal-not-met', 'approval-rejected', 'approval-timeout']);
export const ATOM_RETRY: RetryPolicy = { maximumAttempts: 2, initialInterval: '50ms', backoffCoefficient: 2 };

export const ms = (text: string): number => Number(text.slice(0, -2));
export const join = (a: string, b: string): string => (a === '' ? b : `${a}/${b}`);
export const repeat = (path: string, n: number): string => (n === 1 ? path : `${path}~${n}`);
export const pauseOf = (retry: RetryPolicy, attempt: number): number =>
  Math.round(ms(retry.initialInterval ?? '1000ms') * (retry.backoffCoefficient ?? 2) ** (attempt - 1));
