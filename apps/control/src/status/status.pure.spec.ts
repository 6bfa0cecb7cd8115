import type { Diagnosis, HaltView } from '@opsloop/contracts';
import { describe, expect, test } from 'vitest';
import { statusOf, type StatusFacts } from './status.pure.js';

const now = new Date('2026-11-21T03:00:00Z');
const calm: StatusFacts = {
  now,
  counts: { queued: 0, held: 0, running: 2, failed1h: 0, succeeded1h: 4, locks: 0, halts: 0, approvals: 0 },
  temporal: true,
  interpreter: true,
  halts: [],
  stuck: [],
  unstarted: { count: 0 },
  long: { count: 0 },
  failed: [],
  undone: { count: 0 },
  schedules: [],
  paused: 0,
  approvals: [],
  queued: { count: 0 },
  held: 0,
};
const lines = (facts: Partial<StatusFacts>): string[] =>
  statusOf({ ...calm, ...facts }).items.map((one) => `${one.level} ${one.code}: ${one.next}`);
const halt: HaltView = { id: 'h', scope: {}, running: 'pause', reason: 'r', by: 'anna', since: '2026-11-21T02:00:00Z' };
const noWorker = (queue: string): Diagnosis => ({
  code: 'no-worker',
  stuck: true,
  says: `no worker takes tasks of the queue ${queue}; one waits for 1m 0s`,
  suggest: '',
  next: '',
});
const approval = (id: string, s: number) => ({ id, title: id, expiresAt: new Date(now.getTime() + s * 1_000) });

describe('the one screen', () => {
  test('says that nothing is in the way', () => {
    expect(statusOf(calm)).toMatchObject({
      ok: true,
      items: [{ level: 'ok', title: 'nothing is in the way; 2 running' }],
    });
  });

  test('has the worst first, each with what to type', () => {
    expect(
      lines({
        temporal: false,
        halts: [halt, { ...halt, id: 'b', brake: { subject: 'rule demo/x', cause: 'starts' } }],
        stuck: [
          { run: 'r1', flow: 'f', found: [noWorker('a')] },
          { run: 'r2', flow: 'f', found: [noWorker('b')] },
          { run: 'r3', flow: 'f', found: [noWorker('b')] },
        ],
        unstarted: { count: 1, run: 'r4' },
        long: { count: 2, run: 'r5' },
        failed: ['a', 'b', 'c', 'd', 'e', 'f'].map((flow) => ({ flow, count: 1, run: flow })),
        undone: { count: 1, run: 'r6' },
        schedules: [{ name: 's/x', problem: 'no such flow' }],
        paused: 1,
        approvals: [approval('q1', 60), approval('q2', 3_600)],
        queued: { count: 3, run: 'r7', since: new Date(now.getTime() - 61_000) },
        held: 2,
      }),
    ).toEqual([
      'down temporal: opsloop doctor',
      'stopped halt: opsloop halts lift h --reason "…"',
      'stopped brake: opsloop halts lift b --reason "…"',
      'stuck stuck.no-worker: opsloop runs show r2',
      'stuck stuck.no-worker: opsloop runs show r1',
      'stuck stuck.unstarted: opsloop runs show r4',
      'stuck stuck.long: opsloop runs show r5',
      'failing undone: opsloop runs show r6',
      'failing schedule: opsloop schedules firings s/x',
      ...['a', 'b', 'c', 'd', 'e'].map((run) => `failing failed: opsloop runs show ${run}`),
      'failing failed: opsloop runs ls --status failed',
      'waiting approval.soon: opsloop approvals show q1',
      'waiting approval: opsloop approvals show q2',
      'waiting paused: opsloop runs ls --status paused',
      'waiting held: opsloop halts ls',
      'waiting queued: opsloop runs show r7',
    ]);
  });

  test('is well while somebody only waits, and not when nobody takes work', () => {
    expect(statusOf({ ...calm, paused: 1 }).ok).toBe(true);
    expect(statusOf({ ...calm, interpreter: false })).toMatchObject({ ok: false, items: [{ code: 'interpreter' }] });
    expect(statusOf({ ...calm, interpreter: undefined }).ok).toBe(true);
    expect(
      lines({
        counts: { ...calm.counts, approvals: 9 },
        approvals: [1, 2, 3, 4, 5].map((n) => approval(`q${n}`, 3_600)),
      }).at(-1),
    ).toBe('waiting approval: opsloop approvals ls');
  });
});
