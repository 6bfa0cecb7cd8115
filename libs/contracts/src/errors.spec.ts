import { describe, expect, it } from 'vitest';
import { ERRORS, isAtomErrorCode, isErrorCode, OpsError, problem, PROBLEM_BASE } from './errors.js';

describe('the table of errors', () => {
  it.each(Object.entries(ERRORS))('%s says what it means everywhere', (code, meaning) => {
    expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(meaning.http).toBeGreaterThanOrEqual(400);
    expect(meaning.title.length).toBeGreaterThan(0);
    // What nobody can do anything about by waiting must not be tried again for ever.
    if (meaning.http < 500 && ![408, 423, 429].includes(meaning.http) && code !== 'lock-busy')
      expect(meaning.bus).toBe('dead');
  });

  it('is never 422: wrong input is 400', () => {
    expect(Object.values(ERRORS).map((m) => Number(m.http))).not.toContain(422);
  });

  it('knows codes of its own and of atoms apart, and no inherited names', () => {
    expect(isErrorCode('validation')).toBe(true);
    expect(isErrorCode('constructor')).toBe(false);
    expect(isAtomErrorCode('atom/http.request/status')).toBe(true);
  });

  it('becomes a problem document', () => {
    const error = new OpsError('validation', 'The rule', {
      errors: [{ pointer: '/name', message: 'is missing' }],
      extensions: { hint: 'x' },
    });
    expect(error.toProblem('/v1/rules')).toEqual({
      type: `${PROBLEM_BASE}validation`,
      title: ERRORS.validation.title,
      status: 400,
      code: 'validation',
      detail: 'The rule',
      instance: '/v1/rules',
      errors: [{ pointer: '/name', message: 'is missing' }],
      hint: 'x',
    });
    expect(problem('timeout').status).toBe(408);
  });
});
