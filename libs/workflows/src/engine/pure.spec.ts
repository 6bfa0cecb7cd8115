import type { CompiledFlow } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import type { FlowDocument, PinnedAtom, RunContext, StepRecord } from '@opsloop/contracts';
import { rangesOf, indexesOf } from './each.pure.js';
import { findStep } from './find-step.pure.js';
import { Journal, parentPath } from './journal.js';
import { readSteps } from './reads.pure.js';
import { attemptPath, gatePath, itemPath, joinPath, turnPath, undoPath } from './paths.pure.js';
import { codeOf, isRetryable, matchesErrors, problemOf, withSuppressed } from './problems.pure.js';
import { RECORDS_MAX, listRecords, outcomeOf } from './records.pure.js';
import { backoffMs, callRetry, callTimeouts, namedRetry, temporalRetry, triesAgain } from './retry.pure.js';

describe('paths', () => {
  it.each([
    [joinPath('', 'a'), 'a'],
    [joinPath('a', 'b'), 'a/b'],
    [joinPath('a', ''), 'a'],
    [attemptPath('a', 1), 'a'],
    [attemptPath('a', 2), 'a~2'],
    [itemPath('a', 'host/x'), 'a[host%2Fx]'],
    [itemPath('a', 'x'.repeat(200)).length, 'a[]'.length + 32],
    [turnPath('a', 3), 'a[3]'],
    [gatePath('a', 1), 'a[batch:1]'],
    [undoPath('a/b'), 'a/b~undo'],
  ])('%s', (actual, expected) => expect(actual).toBe(expected));
});

describe('retry', () => {
  const flow = { use: { retries: { named: { maximumAttempts: 7 } } }, do: [] } as unknown as FlowDocument;
  const atom = { idempotency: 'native', retry: { maximumAttempts: 2 } } as PinnedAtom;
  it.each([
    ['step', { maximumAttempts: 9 }, { ...flow, defaults: { retry: 'named' } }, atom, 9],
    ['step by name', 'named', flow, atom, 7],
    ['flow', undefined, { ...flow, defaults: { retry: 'named' } }, atom, 7],
    ['atom', undefined, flow, atom, 2],
    ['system', undefined, flow, { ...atom, retry: undefined }, 5],
    ['not idempotent', undefined, { ...flow, defaults: { retry: 'named' } }, { ...atom, idempotency: 'none' }, 1],
    ['not idempotent, but the step insists', { maximumAttempts: 3 }, flow, { ...atom, idempotency: 'none' }, 3],
  ])('%s wins', (_name, step, f, a, attempts) => {
    expect(callRetry(step, f as FlowDocument, a as PinnedAtom).attempts).toBe(attempts);
  });
  it('an unknown name is a configuration error', () => expect(() => namedRetry('nope', flow)).toThrow('use.retries'));
  it('grows to its maximum', () => {
    const retry = namedRetry({ initialInterval: '1s', maximumInterval: '5s' }, flow);
    expect([1, 2, 3, 4].map((n) => backoffMs(retry, n))).toEqual([1_000, 2_000, 4_000, 5_000]);
  });
  it('0 attempts are unlimited', () => {
    const retry = namedRetry({ maximumAttempts: 0, nonRetryableErrorTypes: ['policy'] }, flow);
    expect(temporalRetry(retry)).toEqual({
      initialInterval: 1_000,
      backoffCoefficient: 2,
      maximumInterval: 60_000,
      nonRetryableErrorTypes: ['policy'],
    });
    expect(triesAgain(retry, 500, problemOf('communication', 'x'), true)).toBe(true);
    expect(triesAgain(retry, 1, problemOf('policy', 'x'), false)).toBe(false);
    expect(triesAgain(retry, 1, problemOf('validation', 'x'), true)).toBe(false);
    expect(triesAgain(retry, 1, problemOf('validation', 'x'), false)).toBe(true);
  });
  it.each([
    [undefined, undefined, undefined, { startToCloseTimeout: 60_000, scheduleToStartTimeout: 600_000 }],
    [
      '5s',
      undefined,
      { heartbeat: '2s' },
      {
        startToCloseTimeout: 5_000,
        scheduleToCloseTimeout: 5_000,
        scheduleToStartTimeout: 600_000,
        heartbeatTimeout: 2_000,
      },
    ],
    [
      { startToClose: '1s' },
      { startToClose: '2s', scheduleToStart: '3s' },
      { startToClose: '4s' },
      { startToCloseTimeout: 1_000, scheduleToStartTimeout: 3_000 },
    ],
  ])('timeouts of %j, %j, %j', (step, defaults, own, expected) =>
    expect(callTimeouts(step, defaults, own)).toEqual(expected),
  );
});

describe('problems', () => {
  it.each([
    ['timeout', 408, true],
    ['validation', 400, false],
    ['atom/x/full', 500, true],
  ])('%s has status %i, retryable %s', (code, status, retryable) => {
    const p = problemOf(code, 'd');
    expect([codeOf(p), p.status, isRetryable(p)]).toEqual([code, status, retryable]);
    expect(isRetryable({ ...p, retryable: !retryable })).toBe(!retryable);
  });
  it.each([
    [{}, true],
    [{ errors: { type: 'timeout' } }, true],
    [{ errors: { type: ['runtime', 'timeout'] } }, true],
    [{ errors: { type: 'runtime' } }, false],
    [{ errors: { status: 408 } }, true],
    [{ errors: { type: 'timeout', status: 500 } }, false],
    [{ errors: { type: '*' } }, true],
  ])('%j catches a timeout: %s', (clause, expected) =>
    expect(matchesErrors(clause, problemOf('timeout', 'x'))).toBe(expected),
  );
  it('keeps the first error first', () => {
    const first = problemOf('runtime', 'a');
    expect(withSuppressed(first, [])).toBe(first);
    expect(withSuppressed(first, [problemOf('timeout', 'b')])).toMatchObject({
      code: 'runtime',
      suppressed: [{ code: 'timeout' }],
    });
  });
});

describe('records', () => {
  const record = (n: number, output?: string): StepRecord => ({
    path: `s${n}`,
    id: `s${n}`,
    verb: 'call',
    status: 'succeeded',
    attempts: 1,
    startedAt: 't',
    ...(output === undefined ? {} : { output }),
  });
  it('keeps the newest, and outputs as far as they fit', () => {
    const list = listRecords(
      Array.from({ length: RECORDS_MAX + 5 }, (_, n) => record(n, 'x'.repeat(n === RECORDS_MAX + 4 ? 5_000 : 1_000))),
    );
    expect([list.length, list[0]!.path]).toEqual([RECORDS_MAX, 's5']);
    expect(list[0]!.output).toHaveLength(1_000);
    expect(list.at(-1)!.output).toBeUndefined();
    expect(JSON.stringify(list).length).toBeLessThan(600_000);
  });
  it('gives every target its end', () => {
    const context = { targets: ['a', 'b'] } as RunContext;
    expect(outcomeOf({ status: 'failed' }, context, [], undefined).targets).toEqual([
      { path: 'a', status: 'failed' },
      { path: 'b', status: 'failed' },
    ]);
    expect(outcomeOf({ status: 'failed' }, context, [], new Map([['a', 'succeeded']])).targets).toEqual([
      { path: 'a', status: 'succeeded' },
      { path: 'b', status: 'cancelled' },
    ]);
  });
});

describe('Journal', () => {
  it('knows what stands under what, and forgets it when the block has ended', () => {
    expect(['a', 'a/b', 'a[k]', 'a/b[k]/c', 'a~2', 'a~2/b'].map(parentPath)).toEqual([
      '',
      'a',
      'a',
      'a/b[k]',
      'a',
      'a~2',
    ]);
    const gone: string[] = [];
    const journal = new Journal((path) => gone.push(path));
    for (const path of ['each[k]/t/a', 'each[k]/t/b', 'each[l]/t', 'u', 'v~2/x'])
      journal.set(path, { status: 'succeeded' });
    expect(journal.covering('each[k]/t/a/deep')).toEqual({ status: 'succeeded' });
    expect(journal.covering('w')).toBeUndefined();
    journal.remove('each[k]');
    expect(gone.sort()).toEqual(['each[k]', 'each[k]/t', 'each[k]/t/a', 'each[k]/t/b']);
    journal.prune('v');
    expect([...journal.entries()].map(([path]) => path)).toEqual(['each[l]/t', 'u']);
  });

  it('writes indexes as ranges', () => {
    for (const [list, text] of [
      [[], ''],
      [[3], '3'],
      [[0, 1, 2, 4, 6, 7], '0-2,4,6-7'],
    ] as const) {
      expect(rangesOf(new Set(list))).toBe(text);
      expect(indexesOf(text)).toEqual(list);
    }
  });
});

describe('what a flow reads and has', () => {
  const ir = (steps: unknown): CompiledFlow =>
    ({ ir: 1, flow: { do: steps }, digest: '', atoms: {}, flows: {} }) as unknown as CompiledFlow;

  it('finds the steps that expressions name', () => {
    expect([
      ...readSteps(ir([{ with: '${steps.a.output.x}', if: { var: 'steps.b-c.status' } }, '${steps["d"].output}']))!,
    ]).toEqual(['a', 'b-c', 'd']);
    expect(readSteps(ir(['${steps}']))).toBeUndefined();
    expect(readSteps(ir([{ var: 'steps' }]))).toBeUndefined();
  });

  it('finds a step by any instance path', () => {
    const flow = ir([
      {
        id: 'each',
        forEach: { in: [], batch: { gate: { id: 'slo', call: 'x@1' } } },
        do: [{ id: 't', try: [{ id: 'a', wait: {} }], finally: [{ id: 'f', wait: {} }] }],
      },
    ]);
    for (const path of ['each', 'each[k]/t~2/a', 'each[k]/t/f', 'each[batch:1]/slo'])
      expect(findStep(flow, path), path).toBeDefined();
    for (const path of ['a', 'each/a', 'each[k]/t/a~undo', '']) expect(findStep(flow, path), path).toBeUndefined();
  });
});
