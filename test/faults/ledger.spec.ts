/** The judge itself: facts of a good run have no finding, and each planted fault has exactly its own. */
import { stepKey } from '@opsloop/contracts';
import { describe, expect, test } from 'vitest';
import { type Facts, violationsOf } from './ledger.pure.js';
import { STEPS } from './workload.js';

function good(): Facts {
  const run = (id: string, decisionId: string, fence: string): Facts['runs'][number] => ({
    id,
    decisionId,
    flow: 'faults/check',
    state: 'closed',
    status: 'succeeded',
    workflowId: `faults.check.${id}`,
    fence,
    target: `unit/${id}`,
  });
  const runs = [run('r1', 'd1', '7'), run('r2', 'd2', '8')];
  return {
    acked: [
      { eventId: 'e1', decisions: 1 },
      { eventId: 'e2', decisions: 1 },
    ],
    traces: [
      { eventId: 'e1', verdicts: ['decided'] },
      { eventId: 'e2', verdicts: ['decided', 'no-match'] },
    ],
    decisions: [
      { id: 'd1', eventId: 'e1' },
      { id: 'd2', eventId: 'e2' },
    ],
    runs,
    executions: runs.map((r) => ({
      workflowId: r.workflowId!,
      runId: `x-${r.id}`,
      decisionId: r.decisionId!,
      status: 'COMPLETED',
    })),
    claims: [],
    waiting: 0,
    dead: 0,
    lag: 0,
    unlocked: [],
    sink: {
      applied: runs.map((r) => ({
        key: stepKey(r.id, 'check', 0),
        step: 'check',
        target: r.target,
        fence: r.fence!,
        deliveries: 2,
      })),
      staleFences: 0,
      overlaps: 0,
      unmarked: 0,
    },
  };
}

test('a good run has no finding', () => {
  expect(violationsOf(good(), STEPS)).toEqual([]);
});

const FAULTS: [string, (facts: Facts) => void, string[]][] = [
  ['an event without a trace', (f) => f.traces.shift(), ['lost: event e1 was acknowledged and has no trace']],
  [
    'a rule that never had its last word',
    (f) => f.traces[0]!.verdicts.push('waiting'),
    ['open: event e1 still has the verdict waiting'],
  ],
  [
    'a second decision for one event, without a run',
    (f) => f.decisions.push({ id: 'd3', eventId: 'e1' }),
    ['decisions: event e1 has 2, expected 1', 'runs: decision d3 has 0'],
  ],
  [
    'a second workflow under its own id',
    (f) => f.executions.push({ ...f.executions[0]!, workflowId: 'copy', runId: 'x3' }),
    ['double start: decision d1 has 2 executions', 'workflows: copy belongs to no run'],
  ],
  [
    'a second execution under the same id',
    (f) => f.executions.push({ ...f.executions[0]!, runId: 'x3' }),
    ['workflows: run r1 has 2 executions', 'double start: decision d1 has 2 executions'],
  ],
  ['a run that Temporal never saw', (f) => f.executions.shift(), ['workflows: run r1 has 0 executions']],
  [
    'a workflow that still runs after its run was closed',
    (f) => (f.executions[1]!.status = 'RUNNING'),
    ['workflows: faults.check.r2 is RUNNING on Temporal'],
  ],
  ['a run that does not end', (f) => (f.runs[1]!.state = 'started'), ['stuck: run r2 is started']],
  ['a run that failed', (f) => (f.runs[1]!.status = 'failed'), ['failed: run r2 ended as failed']],
  [
    'a run of nobody',
    (f) => (f.runs[1]!.decisionId = null),
    ['runs: decision d2 has 0', 'runs: r2 belongs to no decision'],
  ],
  [
    'a step that was applied twice',
    (f) => f.sink.applied.push({ ...f.sink.applied[0]! }),
    ['effects: step check of run r1 was applied 2 times'],
  ],
  [
    'a step that was never applied',
    (f) => f.sink.applied.shift(),
    ['effects: step check of run r1 was applied 0 times'],
  ],
  [
    'a step under another key',
    (f) => (f.sink.applied[0]!.key = 'ops-other'),
    ['effects: step check of run r1 was applied 0 times', 'effects: ops-other is the key of no step'],
  ],
  [
    'a step with the fence of another run',
    (f) => (f.sink.applied[0]!.fence = '8'),
    ['effects: step check of run r1 came to unit/r1 with fence 8, not 7'],
  ],
  ['a stale fence', (f) => (f.sink.staleFences = 1), ['fences: 1 stale ones reached the target']],
  [
    'two runs at once on one target',
    (f) => (f.sink.overlaps = 1),
    ['exclusion: 1 times two runs worked on one target'],
  ],
  ['a call without its key', (f) => (f.sink.unmarked = 1), ['effects: 1 calls had no key or no fence']],
  [
    'a lock that nobody frees',
    (f) => f.claims.push({ path: 'unit/r1', runId: 'r1' }),
    ['claims: unit/r1 is still taken by r1'],
  ],
  ['a forgotten waiter', (f) => (f.waiting = 1), ['claims: 1 still wait']],
  ['a message that was put aside', (f) => (f.dead = 1), ['bus: 1 messages were put aside']],
  ['a message that nobody handled', (f) => (f.lag = 1), ['bus: 1 messages are not handled']],
  [
    'a lock freed while its run was running',
    (f) => f.unlocked.push('r1'),
    ['freed early: run r1 was running without its lock'],
  ],
];

describe('finds', () => {
  test.each(FAULTS)('%s', (_, plant, findings) => {
    const facts = good();
    plant(facts);
    expect(violationsOf(facts, STEPS)).toEqual(findings);
  });
});
