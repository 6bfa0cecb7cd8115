/**
 * How an error crosses Temporal: one reading of any error for every worker, so that a flow's `catch` sees the same
 * codes whoever failed (flow-language section 3). Pure, so that atoms, adapters and workflows can share it.
 */
import { ERRORS, isErrorCode, OpsError, PROBLEM_BASE, problem, type Problem } from './errors.js';

/** Members of a failure's problem that grow with their input are cut, since Temporal cuts failures above 4 KB and we promise < 2 KB. */
const DETAIL_CHARS_MAX = 800;
const FIELD_ERRORS_MAX = 5;
const EXTENSION_CHARS_MAX = 400;

export interface AtomErrorOptions {
  /** Whether the step's retry policy applies. Default false: the atom said what is wrong, so a repeat says it again. */
  retryable?: boolean;
  /** Status of the problem; default 500. */
  status?: number;
  title?: string;
  /** Further members of the problem document, such as `exitCode`. */
  extensions?: Record<string, unknown>;
  cause?: unknown;
}

/** A failure that only this atom knows: `new AtomError('atom/http.request/status', 'the target answered 404')`. */
export class AtomError extends Error {
  override readonly name = 'AtomError';
  constructor(
    readonly code: `atom/${string}`,
    readonly detail: string,
    readonly options: AtomErrorOptions = {},
  ) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
  }
}

export interface FailureParts {
  /** ApplicationFailure.type: the short name that `catch` and `nonRetryableErrorTypes` match. */
  type: string;
  message: string;
  nonRetryable: boolean;
  /** details[0], below 2 KB. */
  problem: Problem;
  retryAfterMs?: number;
}

const cut = (text: string, max: number): string => (text.length <= max ? text : `${text.slice(0, max - 1)}…`);

function cutExtensions(members: Record<string, unknown> = {}): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(members)) {
    if (typeof value === 'string') kept[name] = cut(value, EXTENSION_CHARS_MAX);
    else if ((JSON.stringify(value) ?? '').length <= EXTENSION_CHARS_MAX) kept[name] = value;
  }
  return kept;
}

/** Reads any thrown value as type, retryability and problem. An error that nobody foresaw is `runtime`, retryable. */
export function failureParts(error: unknown): FailureParts {
  if (error instanceof OpsError) {
    const nonRetryable = ERRORS[error.code].temporal === 'final';
    const { errors, extensions, retryAfterSec } = error.options;
    return {
      type: error.code,
      message: cut(error.detail, DETAIL_CHARS_MAX),
      nonRetryable,
      problem: problem(error.code, cut(error.detail, DETAIL_CHARS_MAX), {
        retryable: !nonRetryable,
        ...(errors === undefined
          ? {}
          : {
              errors: errors
                .slice(0, FIELD_ERRORS_MAX)
                .map((e) => ({ pointer: cut(e.pointer, 100), message: cut(e.message, 150) })),
            }),
        ...cutExtensions(extensions),
      }),
      ...(retryAfterSec === undefined ? {} : { retryAfterMs: retryAfterSec * 1_000 }),
    };
  }
  if (error instanceof AtomError) {
    const retryable = error.options.retryable ?? false;
    const detail = cut(error.detail, DETAIL_CHARS_MAX);
    return {
      type: error.code,
      message: detail,
      nonRetryable: !retryable,
      problem: {
        type: PROBLEM_BASE + error.code,
        title: error.options.title ?? 'The action failed',
        status: error.options.status ?? 500,
        code: error.code,
        detail,
        retryable,
        ...cutExtensions(error.options.extensions),
      },
    };
  }
  const text = cut(error instanceof Error ? error.message : String(error), DETAIL_CHARS_MAX);
  return {
    type: 'runtime',
    message: text,
    nonRetryable: false,
    problem: problem('runtime', text, { retryable: true }),
  };
}

/** True for a value that has the members every problem has. */
export function isProblem(value: unknown): value is Problem {
  if (typeof value !== 'object' || value === null) return false;
  const { code, type, title, status } = value as Record<string, unknown>;
  return (
    typeof code === 'string' && typeof type === 'string' && typeof title === 'string' && typeof status === 'number'
  );
}

/** A problem as an error again: the same code where the table knows it. */
export function errorOfProblem(p: Problem): OpsError | AtomError {
  const { type: _type, title: _title, status, code, detail, errors, ...extensions } = p;
  if (isErrorCode(code))
    return new OpsError(code, detail ?? p.title, { ...(errors === undefined ? {} : { errors }), extensions });
  return new AtomError(
    code.startsWith('atom/') ? (code as `atom/${string}`) : `atom/unknown/${code}`,
    detail ?? p.title,
    {
      status,
      retryable: p.retryable ?? false,
    },
  );
}
