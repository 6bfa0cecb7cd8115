/**
 * The closed list of error codes and what each means on every edge of the system.
 *
 * `http` is the status of the problem document, `bus` says whether a handler that fails with it is
 * redelivered or dead-lettered at once, `temporal` says whether an activity that fails with it is
 * retried by its policy. The three edges (exception filter, bus consumer, activity wrapper) read this
 * table and nothing else, so a code means the same everywhere.
 */
export const ERRORS = {
  // what callers get wrong
  'malformed-json': { http: 400, bus: 'dead', temporal: 'final', title: 'The body is not valid JSON' },
  validation: { http: 400, bus: 'dead', temporal: 'final', title: 'The input does not match its schema' },
  configuration: { http: 400, bus: 'dead', temporal: 'final', title: 'The configuration is wrong' },
  expression: { http: 400, bus: 'dead', temporal: 'final', title: 'An expression could not be evaluated' },
  authentication: { http: 401, bus: 'dead', temporal: 'final', title: 'Authentication is missing or wrong' },
  authorization: { http: 403, bus: 'dead', temporal: 'final', title: 'Not allowed' },
  'not-found': { http: 404, bus: 'dead', temporal: 'final', title: 'Not found' },
  'method-not-allowed': { http: 405, bus: 'dead', temporal: 'final', title: 'Method not allowed' },
  'payload-too-large': { http: 413, bus: 'dead', temporal: 'final', title: 'The payload is too large' },
  'unsupported-media-type': { http: 415, bus: 'dead', temporal: 'final', title: 'Content type not supported' },
  // conflicts with what is there
  'event-conflict': { http: 409, bus: 'dead', temporal: 'final', title: 'Another event has this source and id' },
  'version-conflict': { http: 409, bus: 'dead', temporal: 'final', title: 'A published version cannot change' },
  'idempotency-conflict': { http: 409, bus: 'dead', temporal: 'final', title: 'The Idempotency-Key was used before' },
  'admission-rejected': { http: 409, bus: 'dead', temporal: 'final', title: 'Control rejected the request' },
  'run-closed': { http: 409, bus: 'dead', temporal: 'final', title: 'The run has already ended' },
  'lock-busy': { http: 409, bus: 'retry', temporal: 'retry', title: 'The lock is held by somebody else' },
  'lock-lost': { http: 409, bus: 'dead', temporal: 'final', title: 'The lock is lost' },
  'stale-fence': { http: 409, bus: 'dead', temporal: 'final', title: 'A newer fence exists' },
  conflict: { http: 409, bus: 'dead', temporal: 'final', title: 'Conflict with the present state' },
  policy: { http: 409, bus: 'dead', temporal: 'final', title: 'A policy forbids this' },
  // what flows fail with (flow-language, section 3)
  'approval-rejected': { http: 403, bus: 'dead', temporal: 'final', title: 'The approval was rejected' },
  'approval-timeout': { http: 408, bus: 'dead', temporal: 'final', title: 'Nobody answered the approval in time' },
  timeout: { http: 408, bus: 'retry', temporal: 'retry', title: 'Timed out' },
  'goal-not-met': { http: 408, bus: 'dead', temporal: 'final', title: 'The goal was not reached in time' },
  'lock-conflict': { http: 423, bus: 'retry', temporal: 'retry', title: 'A lock could not be taken' },
  halted: { http: 423, bus: 'retry', temporal: 'final', title: 'A halt is in force' },
  cancelled: { http: 499, bus: 'dead', temporal: 'final', title: 'Cancelled' },
  communication: { http: 500, bus: 'retry', temporal: 'retry', title: 'Communication with the target failed' },
  runtime: { http: 500, bus: 'retry', temporal: 'retry', title: 'The action failed' },
  'batch-threshold': { http: 500, bus: 'dead', temporal: 'final', title: 'Too many items failed' },
  'compensation-failed': { http: 500, bus: 'dead', temporal: 'final', title: 'A compensation failed' },
  'run-lost': { http: 500, bus: 'dead', temporal: 'final', title: 'The workflow of this run is gone' },
  internal: { http: 500, bus: 'retry', temporal: 'retry', title: 'Internal error' },
  // the system itself
  'no-worker': { http: 503, bus: 'retry', temporal: 'retry', title: 'No worker took the task' },
  overload: { http: 503, bus: 'retry', temporal: 'retry', title: 'Overloaded, try again later' },
  unavailable: { http: 503, bus: 'retry', temporal: 'retry', title: 'A part this needs is not available' },
  'rate-limit': { http: 429, bus: 'retry', temporal: 'retry', title: 'Rate limit reached' },
} as const satisfies Record<string, ErrorMeaning>;

export interface ErrorMeaning {
  /** Status of the problem document. */
  http: number;
  /** `retry`: redeliver with back-off; `dead`: dead-letter at the first failure. */
  bus: 'retry' | 'dead';
  /** `retry`: the step's retry policy applies; `final`: never retried. */
  temporal: 'retry' | 'final';
  title: string;
}

export type ErrorCode = keyof typeof ERRORS;

/** Base of every problem `type`; the last segment is the code. */
export const PROBLEM_BASE = 'https://opsloop.dev/errors/';

/** One wrong place in an input: an RFC 6901 pointer and what is wrong there, with the remedy. */
export interface FieldError {
  pointer: string;
  message: string;
}

/** RFC 9457 problem details with the members of design section 12.12 and flow-language section 3. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  detail?: string;
  /** Of an HTTP problem: the request path; of a step: its instance path. */
  instance?: string;
  errors?: FieldError[];
  step?: string;
  attempt?: number;
  retryable?: boolean;
  cause?: Problem;
  suppressed?: Problem[];
  [extension: string]: unknown;
}

export interface OpsErrorOptions {
  errors?: FieldError[];
  cause?: unknown;
  /** Further members of the problem document, such as `policies` of a rejected admission. */
  extensions?: Record<string, unknown>;
  /** Seconds for `Retry-After`, where a caller should come back. */
  retryAfterSec?: number;
}

/** The only error that code of this project throws on purpose. Edges turn it into a {@link Problem}. */
export class OpsError extends Error {
  override readonly name = 'OpsError';
  constructor(
    readonly code: ErrorCode,
    readonly detail: string,
    readonly options: OpsErrorOptions = {},
  ) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
  }

  toProblem(instance?: string): Problem {
    return problem(this.code, this.detail, {
      ...(instance === undefined ? {} : { instance }),
      ...(this.options.errors === undefined ? {} : { errors: this.options.errors }),
      ...this.options.extensions,
    });
  }
}

/** Builds a problem document for a code of the table. */
export function problem(code: ErrorCode, detail?: string, members: Partial<Problem> = {}): Problem {
  const meaning = ERRORS[code];
  return {
    type: PROBLEM_BASE + code,
    title: meaning.title,
    status: meaning.http,
    code,
    ...(detail === undefined ? {} : { detail }),
    ...members,
  };
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** An atom fails with a code of the table or with its own, `atom/<name>/<code>` (flow-language section 3). */
export function isAtomErrorCode(code: string): boolean {
  return code.startsWith('atom/');
}
