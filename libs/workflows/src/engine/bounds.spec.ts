import { describe, expect, it } from 'vitest';
import type { Json, Problem } from '@opsloop/contracts';
import { fitProblem, problemOf } from './problems.pure.js';
import { secretPlaces } from './secrets.pure.js';
import { isLarger } from './size.pure.js';

describe('secretPlaces', () => {
  it.each<[string, Json, string[], string[]]>([
    ['a member', { h: { token: '${secrets.cmdb-token}' }, x: 1 }, [], ['/h/token']],
    ['the whole', '${ secrets.t }', [], ['']],
    ['quoted, in a list', { l: ['a', '${secrets["t"]}'] }, [], ['/l/1']],
    ['odd keys', { 'a/b~': '${secrets.t}' }, [], ['/a~1b~0']],
    ['not what data brings', { a: '${input.body}', b: { $secret: 't' } }, [], []],
    ['not computed or literal', { a: { $literal: '${secrets.t}' }, b: { $logic: { var: 'secrets.t' } } }, [], []],
    ['a compensation over input', { t: '${input.token}', u: '${input.user}' }, ['/token'], ['/t']],
    ['a compensation over all of it', { all: '${input}' }, ['/h/token'], ['/all/h/token']],
  ])('%s', (_name, template, inherited, places) => {
    expect(secretPlaces(template, inherited)).toEqual(places);
  });
});

describe('isLarger', () => {
  it.each<[Json, number, boolean]>([
    ['x'.repeat(100), 99, true],
    ['x'.repeat(90), 99, false],
    [Array.from({ length: 60 }, () => 1), 99, true],
    [{ a: { b: 'x'.repeat(80) } }, 99, false],
    [{ a: { b: ['x'.repeat(60), 'y'.repeat(60)] } }, 99, true],
  ])('%j', (value, max, larger) => {
    expect(isLarger(value, max)).toBe(larger);
  });
});

describe('fitProblem', () => {
  const cause = problemOf('communication', '目标没有回答'.repeat(200), { instance: 'a/b' });
  it.each<[string, Problem]>([
    [
      'a hundred failed items',
      problemOf('batch-threshold', 'x', { failed: Array.from({ length: 100 }, (_, i) => `host/dc1/rack/${i}`), cause }),
    ],
    ['many failed compensations', problemOf('runtime', 'x', { suppressed: Array.from({ length: 50 }, () => cause) })],
    ['a large extension', problemOf('runtime', 'x'.repeat(1_000), { blockedBy: 'y'.repeat(5_000) })],
    ['Chinese text', cause],
  ])('%s stays below 2 KB and keeps its head', (_name, problem) => {
    const fitted = fitProblem(problem);
    expect(new TextEncoder().encode(JSON.stringify(fitted)).length).toBeLessThan(2_048);
    expect(fitted).toMatchObject({ code: problem.code, status: problem.status, type: problem.type });
  });

  it('leaves a small one alone and counts what it drops', () => {
    const small = problemOf('runtime', 'x');
    expect(fitProblem(small)).toBe(small);
    const many = problemOf('batch-threshold', 'x', {
      failed: Array.from({ length: 100 }, (_, i) => `host/dc1/rack1/web-${i}`),
    });
    expect(fitProblem(many)).toMatchObject({ failed: expect.any(Array) as unknown, failedTotal: 100 });
  });
});
