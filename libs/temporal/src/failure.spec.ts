import { AtomError, OpsError, problem } from '@opsloop/contracts';
import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  ChildWorkflowFailure,
  TerminatedFailure,
  TimeoutFailure,
} from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import { problemOfFailure, toApplicationFailure } from './failure.js';

describe('toApplicationFailure', () => {
  it.each([
    ['communication', new OpsError('communication', 'reset'), false],
    ['validation', new OpsError('validation', 'no url'), true],
    ['halted', new OpsError('halted', 'stop'), true],
    ['atom/http.request/status', new AtomError('atom/http.request/status', '404'), true],
    ['atom/x.y/exit', new AtomError('atom/x.y/exit', 'exit 1', { retryable: true }), false],
    ['runtime', new TypeError('nobody foresaw this'), false],
    ['runtime', 'thrown text', false],
  ])('%s', (type, error, nonRetryable) => {
    const failure = toApplicationFailure(error) as ApplicationFailure;
    expect(failure).toBeInstanceOf(ApplicationFailure);
    expect(failure).toMatchObject({ type, nonRetryable });
    expect(failure.details).toMatchObject([{ code: type, retryable: !nonRetryable }]);
  });

  it('keeps the problem below 2 KB', () => {
    const errors = Array.from({ length: 100 }, (_, i) => ({
      pointer: `/a/${i}/${'x'.repeat(500)}`,
      message: 'm'.repeat(500),
    }));
    const failure = toApplicationFailure(
      new OpsError('validation', 'd'.repeat(10_000), { errors, extensions: { big: 'e'.repeat(9_000) } }),
    );
    expect(JSON.stringify((failure as ApplicationFailure).details).length).toBeGreaterThan(1_000);
    expect(JSON.stringify((failure as ApplicationFailure).details).length).toBeLessThan(3_000);
  });

  it('lets cancellation and ready-made failures pass', () => {
    const cancelled = new CancelledFailure('stop');
    const made = ApplicationFailure.nonRetryable('x', 'y');
    expect(toApplicationFailure(cancelled)).toBe(cancelled);
    expect(toApplicationFailure(made)).toBe(made);
  });

  it('hands on how long the target asked to wait', () => {
    const failure = toApplicationFailure(
      new OpsError('rate-limit', 'slow down', { retryAfterSec: 7 }),
    ) as ApplicationFailure;
    expect(failure.nextRetryDelay).toBe(7_000);
  });
});

describe('problemOfFailure', () => {
  const inner = problem('goal-not-met', 'still down');
  const application = ApplicationFailure.nonRetryable('still down', 'goal-not-met', inner);
  const activity = (cause: Error): ActivityFailure =>
    new ActivityFailure('activity failed', 'a', '1', 'NON_RETRYABLE_FAILURE', undefined, cause);

  it.each([
    ['the problem in the details', application, { code: 'goal-not-met', detail: 'still down' }],
    [
      'through activity and child',
      new ChildWorkflowFailure(
        'default',
        { workflowId: 'w', runId: 'r' },
        'f',
        'NON_RETRYABLE_FAILURE',
        activity(application),
      ),
      { code: 'goal-not-met' },
    ],
    [
      'what a client wraps',
      new Error('Workflow execution failed', { cause: activity(application) }),
      { code: 'goal-not-met' },
    ],
    [
      'a timeout',
      activity(new TimeoutFailure('late', undefined, 'HEARTBEAT')),
      { code: 'timeout', timeoutType: 'HEARTBEAT' },
    ],
    ['a cancellation', new Error('x', { cause: new CancelledFailure('stop') }), { code: 'cancelled' }],
    [
      'a termination',
      new Error('x', { cause: new TerminatedFailure('by an operator') }),
      { code: 'cancelled', title: 'Terminated' },
    ],
    [
      'a foreign failure',
      ApplicationFailure.retryable('boom', 'java.lang.IllegalStateException'),
      { code: 'runtime', failureType: 'java.lang.IllegalStateException' },
    ],
    ['an OpsError', new OpsError('unavailable', 'gone'), { code: 'unavailable' }],
    ['anything', 'text', { code: 'runtime', detail: 'text' }],
  ])('%s', (_name, failure, expected) => {
    expect(problemOfFailure(failure)).toMatchObject(expected);
  });
});
