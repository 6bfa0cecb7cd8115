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
