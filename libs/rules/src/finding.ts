import { OpsError } from '@opsloop/contracts';
import type { Finding } from '@opsloop/contracts';

export type { Finding };

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
