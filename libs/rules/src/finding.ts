import { OpsError } from '@opsloop/contracts';

/** One thing that is wrong, or doubtful, in a document: what editors, `validate` and `plan` show. */
export interface Finding {
  /** Stable code, `OPS1xxx`: it never changes its meaning, so that people can look it up and suppress it. */
  code: string;
  severity: 'error' | 'warning';
  /** RFC 6901 pointer into the document. */
  pointer: string;
  message: string;
  /** What to do about it. */
  hint?: string;
  /** Id of the step that it stands in. */
  step?: string;
  /** Page of the code. */
  url?: string;
}

export function finding(code: string, pointer: string, message: string, hint?: string): Finding {
  return { code, severity: 'error', pointer, message, ...(hint === undefined ? {} : { hint }) };
}

/** Appends one reference token to a JSON pointer. */
export function pointerTo(base: string, token: string | number): string {
  const text = String(token);
  // Asked for every member of a document, and hardly any name has one of the two.
  return `${base}/${/[~/]/.test(text) ? text.replaceAll('~', '~0').replaceAll('/', '~1') : text}`;
}

/** The error of every expression that could not be evaluated: no value, no branch taken, nothing fired. */
export function expressionError(detail: string): OpsError {
  return new OpsError('expression', detail);
}
