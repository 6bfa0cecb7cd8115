import type { FieldError, Json } from '@opsloop/contracts';

/** One message per value is enough to find it; a body full of mistakes must not make a huge answer. */
const PROBLEMS_MAX = 20;

/**
 * Finds what JSON.parse accepts and PostgreSQL's jsonb refuses: NUL, lone surrogates, numbers beyond double range.
 * Found here they are the sender's mistake; found in the database they would fail a whole group of events.
 */
export function jsonProblems(value: Json, pointer: string): FieldError[] {
  const errors: FieldError[] = [];
  visit(value, pointer, errors);
  return errors;
}

function visit(value: Json, pointer: string, errors: FieldError[]): void {
  if (errors.length >= PROBLEMS_MAX) return;
  if (typeof value === 'string') {
    const problem = textProblem(value);
    if (problem !== undefined) errors.push({ pointer, message: problem });
  } else if (typeof value === 'number') {
    if (!Number.isFinite(value)) errors.push({ pointer, message: 'is beyond the range of a double' });
  } else if (Array.isArray(value)) {
    value.forEach((one, index) => visit(one, `${pointer}/${index}`, errors));
  } else if (value !== null && typeof value === 'object') {
    for (const [key, one] of Object.entries(value)) {
      const problem = textProblem(key);
      if (problem !== undefined) errors.push({ pointer, message: `a member name ${problem}` });
      // Most members are plain, and where they stand is asked only of those that are not.
      else if (!isPlain(one)) visit(one, `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, errors);
    }
  }
}

function isPlain(value: Json): boolean {
  if (typeof value === 'string') return textProblem(value) === undefined;
  return typeof value === 'number' ? Number.isFinite(value) : value === null || typeof value !== 'object';
}

export function textProblem(text: string): string | undefined {
  if (text.includes('\u0000')) return 'holds the character NUL';
  // With the flag u, a surrogate that is part of a pair is no character of its own and does not match; most texts have none.
  return /[\ud800-\udfff]/.test(text) && /\p{Surrogate}/u.test(text) ? 'holds half a surrogate pair' : undefined;
}
