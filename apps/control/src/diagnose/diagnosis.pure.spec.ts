import { describe, expect, test } from 'vitest';
import { type ActivityFacts, ago, diagnose, diagnoseWaiting, type WorkflowFacts } from './diagnosis.pure.js';

const now = new Date('2026-11-21T03:00:00Z');
const before = (s: number): Date => new Date(now.getTime() - s * 1_000);
const activity = (more: Partial<ActivityFacts> = {}): ActivityFacts => ({
  path: 'each[a]/drain',
  type: 'fleet.drain',
  queue: 'fleet-java',
  state: 'scheduled',
  attempt: 1,
  maximumAttempts: 3,
  scheduledAt: before(60),
  ...more,
});
const workflow = (more: Partial<WorkflowFacts> = {}): WorkflowFacts => ({
  events: 10,
  bytes: 100,
  activities: [],
  ...more,
});
const codes = (w: WorkflowFacts | 'unreachable' | undefined, seen: Record<string, number> = {}): string[] =>
  diagnose({
    id: 'r1',
    now,
    ...(w === undefined ? {} : { workflow: w }),
    pollers: (queue) => (queue in seen ? { lastSeenAt: before(seen[queue]!) } : queue === 'unknown' ? undefined : {}),
  }).map((d) => `${d.stuck ? '!' : ''}${d.code}`);

describe('why a run does not go on', () => {
  test.each<[string, WorkflowFacts | 'unreachable' | undefined, Record<string, number>, string[]]>([
    ['nothing is asked of Temporal', undefined, {}, []],
    ['nothing is wrong', workflow(), {}, []],
    ['Temporal is away', 'unreachable', {}, ['!temporal-unreachable']],
    ['nobody polls the queue of the atom', workflow({ activities: [activity()] }), {}, ['!no-worker']],
    ['who polled last is gone', workflow({ activities: [activity()] }), { 'fleet-java': 120 }, ['!no-worker']],
    [
      'its workers are busy for a while',
      workflow({ activities: [activity({ scheduledAt: before(30) })] }),
      { 'fleet-java': 3 },
      ['workers-busy'],
    ],
    [
      'its workers are busy for long',
      workflow({ activities: [activity({ scheduledAt: before(90) })] }),
      { 'fleet-java': 3 },
      ['!workers-busy'],
    ],
    ['nobody can say who polls', workflow({ activities: [activity({ queue: 'unknown' })] }), {}, ['workers-busy']],
    ['the task is on its way', workflow({ activities: [activity({ scheduledAt: before(2) })] }), {}, []],
    [
      'it waits for its next attempt',
      workflow({ activities: [activity({ attempt: 2, nextAttemptAt: before(-30), failure: { message: 'x' } })] }),
      {},
      [],
    ],
    [
      'the atom is unknown',
      workflow({
        activities: [
          activity({
            attempt: 2,
            failure: {
              message: 'Activity function fleet.drain is not registered on this Worker, available activities: ["a"]',
              type: 'NotFoundError',
            },
          }),
        ],
      }),
      {},
      ['!atom-unknown'],
    ],
    [
      'a Go worker does not know it',
      workflow({
        activities: [
          activity({
            attempt: 2,
            failure: {
              message: 'unable to find activityType=fleet.drain. Supported types: []; activity type is not registered',
            },
          }),
        ],
      }),
      {},
      ['!atom-unknown'],
    ],
    [
      'it fails again and again',
      workflow({ activities: [activity({ attempt: 5, maximumAttempts: 0, failure: { message: 'no route' } })] }),
      { 'fleet-java': 1 },
      ['!retrying'],
    ],
    [
      'a job is looked at again',
      workflow({
        activities: [activity({ attempt: 50, nextAttemptAt: before(-3), failure: { message: 'x', type: 'not-yet' } })],
      }),
      { 'fleet-java': 1 },
      [],
    ],
    [
      'a halt stops it',
      workflow({ activities: [activity({ attempt: 9, failure: { message: 'halt h', type: 'halted' } })] }),
      {},
      ['halted'],
    ],
    [
      'its worker is silent',
      workflow({ activities: [activity({ state: 'started', startedAt: before(300) })] }),
      {},
      ['silent'],
    ],
    [
      'its worker told progress',
      workflow({ activities: [activity({ state: 'started', startedAt: before(300), heartbeatAt: before(2) })] }),
      {},
      [],
    ],
    ['no interpreter runs', workflow({ task: { attempt: 1, scheduledAt: before(20) } }), {}, ['!no-worker']],
    [
      'its code fails',
      workflow({ task: { attempt: 7, scheduledAt: before(20) } }),
      { 'opsloop-flows': 1 },
      ['!workflow-failing'],
    ],
    ['its history is long', workflow({ events: 45_000 }), {}, ['!history-near-limit']],
    [
      'several, worst first',
      workflow({
        bytes: 45 * 2 ** 20,
        activities: [activity({ state: 'started', startedAt: before(300) }), activity()],
      }),
      {},
      ['!no-worker', '!history-near-limit', 'silent'],
    ],
  ])('%s', (_name, w, seen, expected) => {
    expect(codes(w, seen)).toEqual(expected);
  });

  test('what it says names the place and what to type', () => {
    const [one] = diagnose({ id: 'r1', now, workflow: workflow({ activities: [activity()] }), pollers: () => ({}) });
    expect(one).toMatchObject({
      path: 'each[a]/drain',
      says: 'no worker takes tasks of the queue fleet-java; one waits for 1m 0s',
      suggest: 'start the worker that serves fleet-java',
      next: 'opsloop runs cancel r1 --reason "no worker for fleet-java"',
    });
  });

  test('work that waits says for what', () => {
    const base = { id: 'r1', since: before(60), validUntil: before(-600), now };
    const holder = { path: 'host/a', owner: 'demo/slow by rule x', runId: 'r0' };
    expect(diagnoseWaiting({ ...base, state: 'queued', position: 2, blockedBy: [holder] })).toMatchObject({
      code: 'lock-wait',
      says: 'place 2 in the queue for host/a, behind run r0 (demo/slow by rule x); it expires in 10m 0s',
      next: 'opsloop runs show r0',
    });
    expect(diagnoseWaiting({ ...base, state: 'held', reason: 'held by halt h' })).toMatchObject({
      code: 'held',
      says: 'held by halt h',
    });
    expect(diagnoseWaiting({ ...base, state: 'needs-approval' })).toMatchObject({ next: 'opsloop approvals ls' });
  });

  test.each([
    [900, '1s'],
    [61_000, '1m 1s'],
    [3_700_000, '1h 1m'],
    [200_000_000, '2d 7h'],
    [-5, '0s'],
  ])('%i ms is %s', (ms, text) => {
    expect(ago(ms)).toBe(text);
  });
});
