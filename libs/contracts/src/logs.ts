/** What steps say while they run: lines of scripts and of atoms, kept beside the run and bounded. */

export const LOG_STREAMS = ['stdout', 'stderr', 'log'] as const;
export type LogStream = (typeof LOG_STREAMS)[number];

/** A longer line is cut: one line is for one screen. */
export const LOG_LINE_CHARS_MAX = 2_000;
/** Lines in one delivery. */
export const LOG_BATCH_MAX = 500;
/** Lines of one attempt of a step, and their characters; what comes after is counted and left out. */
export const LOG_STEP_LINES_MAX = 2_000;
export const LOG_STEP_CHARS_MAX = 256 * 1024;
/** Lines of a whole run: ten steps that say all they may, or ten thousand that say two lines. */
export const LOG_RUN_LINES_MAX = 20_000;
export const LOG_RUN_CHARS_MAX = 4 * 1024 * 1024;

export interface LogLine {
  at: string;
  stream: LogStream;
  text: string;
}

/** Lines of one attempt of one step, in order. */
export interface LogBatch {
  /** Instance path. */
  step: string;
  attempt: number;
  lines: LogLine[];
}

/** A stored line. `seq` rises with every line of a run. */
export interface LogEntry extends LogLine {
  seq: number;
  step: string;
  attempt: number;
}
