import type { EventMessage, RuleDocument, RunView } from '@opsloop/contracts';
import { schemaErrors } from '@opsloop/dsl';
import { expect, test } from 'vitest';
import { ScenarioAnswers } from './answers.pure.js';
import type { EpisodeRecord } from './record-scenario.pure.js';
import { recordScenario } from './record-scenario.pure.js';

const at = (s: number): string => new Date(Date.UTC(2026, 2, 4, 5, 6, 7) + s * 1_000).toISOString();
const event = (s: number, source: string, state: string): EventMessage => ({
  ...{ eventId: `e${s}`, id: `e${s}`, source, type: 'box.state', subject: 'host/a', time: at(s), receivedAt: at(s) },
  ...{ data: { state }, state: { state }, correlationId: 'e0', hops: 0 },
});
const step = (id: string, s: number, more: object): object => ({
  ...{ path: id, id, verb: 'call', status: 'succeeded', attempts: 1, startedAt: at(s), endedAt: at(s + 2) },
  ...more,
});
const run = (steps: object[]): RunView =>
  ({ id: 'r1', flow: 'fleet/restart', version: '1.0.0', status: 'succeeded', targets: ['host/a'], steps }) as never;
const record = (more: Partial<EpisodeRecord> = {}): EpisodeRecord => ({
  episode: { id: 'x', rule: 'fleet/down', resource: 'host/a', state: 'converged', changedAt: at(40) },
  rule: { goal: { state: {}, observe: { call: 'probe.http@1' } } } as unknown as RuleDocument,
  resources: [
    {
      path: 'host/a',
      kind: 'host',
      labels: { role: 'web' },
      state: { state: 'up' },
      stateAt: {},
      memberOf: [],
      dependsOn: [],
    },
  ],
  events: [
    { event: event(0, '/probe', 'down'), verdicts: { 'fleet/down': { verdict: 'decided', decisionIds: ['d1'] } } },
    { event: event(9, 'opsloop/run/r1', 'told'), verdicts: {} },
    { event: event(30, '/probe', 'up'), verdicts: {} },
  ],
  changes: [
    { path: 'host/a', at: at(0), changes: { state: 'down' }, cause: 'e0' },
    { path: 'host/a', at: at(20), changes: { state: 'up', latencyMs: 3 }, cause: 'observe' },
  ],
  decisions: [
    { rung: 'restart', branch: 'default', tier: 'P1', ref: 'fleet/restart@1', targets: ['host/a'], at: at(0) },
  ],
  runs: [
    run([
      step('second', 5, { atom: 'fleet.start@1.0.0', output: { ok: true }, attempts: 3 }),
      step('first', 1, {
        atom: 'fleet.stop@1.0.0',
        status: 'failed',
        problem: { code: 'timeout', status: 504, title: 't' },
      }),
      step('none', 7, { verb: 'set' }),
    ]),
  ],
  answers: [{ flow: 'fleet/restart', by: 'anna', answer: 'approve', at: at(4), reason: 'go' }],
  ...more,
});

test('an episode becomes a scenario: events in their times, atoms as they answered, people as they did', () => {
  const { test: scenario, notes } = recordScenario(record());
  expect(schemaErrors('scenario', scenario as never)).toEqual([]);
  expect(notes).toEqual([]);
  expect(scenario).toMatchObject({
    start: { at: at(0) },
    resources: [{ path: 'host/a', labels: { role: 'web' } }],
    mocks: {
      'fleet.stop': [{ problem: { type: 'timeout', status: 504 }, delay: '2000ms' }],
      'fleet.start': [
        { problem: { type: 'communication', retryable: true } },
        { problem: { type: 'communication', retryable: true } },
        { result: { ok: true } },
      ],
      'probe.http': [
        { from: '0ms', result: { state: 'down' } },
        { from: '20000ms', result: { state: 'up', latencyMs: 3 } },
      ],
    },
    // What a flow told comes from the flow again.
    events: [
      { at: '0ms', event: { type: 'box.state', subject: 'host/a', data: { state: 'down' } } },
      { at: '30000ms', event: { data: { state: 'up' } } },
    ],
    operator: [{ at: '4000ms', act: 'approve', flow: 'fleet/restart', by: 'anna', reason: 'go' }],
    expect: {
      decisions: [{ rule: 'fleet/down', rung: 'restart', tier: 'P1', run: 'fleet/restart@1', targets: ['host/a'] }],
      verdicts: [{ event: 0, rule: 'fleet/down', verdict: 'decided' }],
      calls: ['...', 'fleet.stop', '...', 'fleet.start', '...'],
      runs: ['...', { flow: 'fleet/restart', status: 'succeeded' }, '...'],
      episodes: ['...', { rule: 'fleet/down', resource: 'host/a', state: 'converged' }, '...'],
    },
  });
});

test('what the record does not tell is said, and what other rules decided is let pass', () => {
  const shadow = record({
    rule: { mode: 'shadow' } as unknown as RuleDocument,
    events: [
      { event: event(0, '/p', 'down'), verdicts: { 'fleet/other': { verdict: 'decided', decisionIds: ['d9'] } } },
    ],
    runs: [{ ...run([step('first', 1, { atom: 'fleet.stop@1' })]), acts: [{}] } as never],
  });
  const { test: scenario, notes } = recordScenario(shadow);
  expect(notes.map((note) => note.split(' ').slice(0, 3).join(' '))).toEqual([
    'fleet/restart first has',
    '1 acts of',
    'the rule is',
  ]);
  expect(scenario.expect.decisions!.filter((one) => one === '...')).toHaveLength(2);
  expect(recordScenario(record({ events: [] })).notes[0]).toContain('no event began it');
});

test('answers that say from when are given by the time, and each time again', () => {
  const answers = new ScenarioAnswers({
    probe: [
      { from: '10s', result: 2 },
      { from: '5s', result: 1 },
    ],
  });
  const ask = (s: number): unknown => answers.next('probe', {}, s * 1_000)?.result;
  expect([0, 5, 9, 10, 11, 6].map(ask)).toEqual([1, 1, 1, 2, 2, 1]);
});
