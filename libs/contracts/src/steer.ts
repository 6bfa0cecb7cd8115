/** What people on call tell a running run, and what comes back. */
import type { Json } from './json.js';

/** Where a pause takes hold: before every next step, before one step, or between two batches of a forEach. */
export type PauseScope = 'flow' | 'step' | 'afterBatch';

/** An act on a running run. Paths are instance paths from the root run. */
export type SteerAct =
  | { act: 'pause'; scope: PauseScope; path?: string }
  | { act: 'resume'; path?: string }
  | { act: 'skip'; path: string; output?: Json }
  | { act: 'retry'; path: string }
  | { act: 'setConcurrency'; path: string; concurrency: number }
  | { act: 'abortItem'; path: string; item: string };

/** An act with who and why; `id` makes a repeat harmless. */
export type SteerRequest = SteerAct & { id: string; by: string; reason: string; at: string };

export interface SteerAnswer {
  /** False: it was so already. */
  applied: boolean;
  /** Whether a pause of an operator is in force. */
  paused: boolean;
}

/** An act as it stands in the run's story. */
export interface OperatorAct {
  at: string;
  act: string;
  by: string;
  reason: string;
  path?: string;
  /** What else it said: scope, item, concurrency. */
  detail?: string;
}
