import { ERRORS, PROBLEM_BASE, isErrorCode, problem } from '@opsloop/contracts';
import type { CatchClause, Problem } from '@opsloop/contracts';

/** `detail` beyond this is cut: a failure over 4 KB is truncated by Temporal while it retries. */
const DETAIL_CHARS_MAX = 1_000;

/** Short name of a problem: what `catch.errors.type` and `nonRetryableErrorTypes` name. */
export function codeOf(p: Pick<Problem, 'type' | 'code'>): string {
  if (p.code) return p.code;
  return p.type.startsWith(PROBLEM_BASE) ? p.type.slice(PROBLEM_BASE.length) : p.type;
}

/** A problem of any short name: of the table, of an atom (`atom/<name>/<code>`), or one that a flow made up. */
export function problemOf(code: string, detail: string | undefined, members: Partial<Problem> = {}): Problem {
  const short = code.startsWith(PROBLEM_BASE) ? code.slice(PROBLEM_BASE.length) : code;
  const cut = detail === undefined ? undefined : detail.slice(0, DETAIL_CHARS_MAX);
  if (isErrorCode(short)) return problem(short, cut, members);
  return {
    type: PROBLEM_BASE + short,
    title: short,
    status: 500,
    code: short,
    ...(cut === undefined ? {} : { detail: cut }),
    ...members,
  };
}

/** Whether trying again may help: what the problem says, else what the table says, else yes. */
export function isRetryable(p: Problem): boolean {
  if (p.retryable !== undefined) return p.retryable;
  const code = codeOf(p);
  return isErrorCode(code) ? ERRORS[code].temporal === 'retry' : true;
}

/** Static part of a catch clause: type (one, or any of a list) and status. `when` is evaluated by the caller. */
export function matchesErrors(clause: CatchClause, p: Problem): boolean {
  const wanted = clause.errors;
  if (wanted === undefined) return true;
  if (wanted.status !== undefined && wanted.status !== p.status) return false;
  if (wanted.type === undefined) return true;
  const types = Array.isArray(wanted.type) ? wanted.type : [wanted.type];
  const code = codeOf(p);
  return types.some((t) => t === '*' || t === code || t === p.type);
}

/** Adds failures that happened while the first one was handled; they never hide it. */
export function withSuppressed(first: Problem, others: Problem[]): Problem {
  return others.length === 0 ? first : { ...first, suppressed: [...(first.suppressed ?? []), ...others] };
}

/** A problem travels in failures, journals and reports, a thousand at a time: it stays below 2 KB as UTF-8. */
const PROBLEM_BYTES_MAX = 2_000;
const LIST_MAX = 5;
const SHORT_CHARS = 120;

function bytesOf(value: unknown): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

/** The head of a problem: what it was, where, and the beginning of why. */
function briefly(p: Problem, chars: number): Problem {
  const { type, code, title, status, detail, instance, retryable } = p;
  return {
    type,
    code,
    title: title.slice(0, chars),
    status,
    ...(detail === undefined ? {} : { detail: detail.slice(0, chars) }),
    ...(instance === undefined ? {} : { instance: instance.slice(0, 2 * SHORT_CHARS) }),
    ...(retryable === undefined ? {} : { retryable }),
  };
}

/** The same problem below 2 KB: long lists keep their first entries, what caused and followed it is told briefly. */
export function fitProblem(p: Problem): Problem {
  if (bytesOf(p) <= PROBLEM_BYTES_MAX) return p;
  const fitted: Problem = { ...p };
  for (const [name, value] of Object.entries(p)) {
    if (Array.isArray(value) && value.length > LIST_MAX) {
      fitted[name] = value.slice(0, LIST_MAX);
      fitted[`${name}Total`] = value.length;
    }
  }
  if (fitted.cause !== undefined) fitted.cause = briefly(fitted.cause, 2 * SHORT_CHARS);
  if (fitted.suppressed !== undefined) {
    fitted.suppressed = fitted.suppressed.slice(0, 2).map((other) => briefly(other, SHORT_CHARS));
    fitted['suppressedTotal'] = p.suppressed!.length;
  }
  if (bytesOf(fitted) <= PROBLEM_BYTES_MAX) return fitted;
  const { step, attempt, timeoutType, cause } = fitted;
  return {
    ...briefly(p, 2 * SHORT_CHARS),
    ...(step === undefined ? {} : { step: String(step).slice(0, SHORT_CHARS) }),
    ...(attempt === undefined ? {} : { attempt }),
    ...(timeoutType === undefined ? {} : { timeoutType }),
    ...(cause === undefined ? {} : { cause: briefly(cause, SHORT_CHARS) }),
  };
}
