import type { JsonObject, MaintenanceDocument, RuleDocument, TableDocument } from '@opsloop/contracts';
import { expect, test } from 'vitest';
import type { RuleTestGiven, RuleTestSeen } from './play-rule-test.pure.js';
import { playRuleTest } from './play-rule-test.pure.js';

const START = '2026-01-05T09:00:00.000Z';
const TIERS: TableDocument = {
  ...{ dsl: 'opsloop/v1', kind: 'table', name: 'ops/tier', version: '1.2.0', hit: 'first' },
  rows: [{ when: { '==': [{ var: 'resource.labels.service' }, 'pay'] }, tier: 'P0', who: 'pay-team' }, { tier: 'P4' }],
} as TableDocument;
const rule = (more: object): RuleDocument =>
  ({
    ...{ dsl: 'opsloop/v1', kind: 'rule', name: 'play/x', version: '1.0.0' },
    on: [{ type: 'disk.full' }],
    branches: [{ id: 'default', ladder: [{ id: 'go', run: 'fleet/go@1', with: { host: '${resource.path}' } }] }],
    ...more,
  }) as RuleDocument;
const event = (at: string, subject: string, data: JsonObject = {}, type = 'disk.full') => ({
  at,
  event: { type, subject, data },
});

/** Each twice: what is played says the same each time, to the byte. */
function play(given: Partial<RuleTestGiven> & Pick<RuleTestGiven, 'rule' | 'events'>): RuleTestSeen {
  const once = (): RuleTestSeen => playRuleTest({ start: START, configs: {}, resources: [], ...given });
  const seen = once();
  expect(JSON.stringify(once())).toBe(JSON.stringify(seen));
  return seen;
}
const verdicts = (seen: RuleTestSeen): string[] => seen.verdicts.map(({ verdict }) => verdict);

test.each<[string, object, string, ReturnType<typeof event>[], string[]]>([
  [
    'of its subject within a time',
    { recent: { events: { type: 'disk.full' }, within: '10m' } },
    'facts.recent >= 3',
    [event('0s', 'host/a'), event('1m', 'host/b'), event('2m', 'host/a'), event('20m', 'host/a')],
    ['false', 'false', 'false', 'false'],
  ],
  [
    'of its subject, the third one counts',
    { recent: { events: { type: 'disk.full' }, within: '10m' } },
    'facts.recent >= 3',
    [event('0s', 'host/a'), event('1m', 'host/a'), event('2m', 'host/a')],
    ['false', 'false', 'decided'],
  ],
  [
    'of another type, below a path, by what they carry',
    { bad: { events: { type: 'disk.slow', data: { level: ['hot', 'dead'] } }, under: 'host/r1', within: '1h' } },
    'facts.bad == 2',
    [
      event('0s', 'host/r1/a', { level: 'hot' }, 'disk.slow'),
      event('1s', 'host/r1/b', { level: 'cold' }, 'disk.slow'),
      event('2s', 'host/r2/c', { level: 'hot' }, 'disk.slow'),
      event('3s', 'host/r1/d', { level: 'dead' }, 'disk.slow'),
      event('4s', 'host/r9/x'),
    ],
    ['no-match', 'no-match', 'no-match', 'no-match', 'decided'],
  ],
  [
    'distinct subjects anywhere',
    { hosts: { events: { type: 'disk.full' }, any: true, distinct: 'subject', within: '1h' } },
    'facts.hosts >= 2',
    [event('0s', 'host/a'), event('1m', 'host/a'), event('2m', 'host/b')],
    ['false', 'false', 'decided'],
  ],
  [
    'open episodes elsewhere',
    { open: { episodes: { rule: 'play/*' }, any: true, within: '1h' } },
    'facts.open == 0',
    [event('0s', 'host/a'), event('1s', 'host/b')],
    ['decided', 'decided'],
  ],
])('counts %s', (_what, facts, when, events, expected) => {
  expect(verdicts(play({ rule: rule({ facts, when }), events }))).toEqual(expected);
});

test('an episode that is open counts while it lives', () => {
  const goal = { state: "resource.state.state == 'up'" };
  const ladder = [{ id: 'go', run: 'fleet/go@1', within: '10m' }];
  const seen = play({
    rule: rule({
      facts: { open: { episodes: { rule: 'play/*' }, any: true, within: '1h' } },
      when: 'facts.open < 1',
      on: [{ type: 'box.state', data: { state: 'down' } }],
      goal,
      branches: [{ id: 'default', ladder }],
    }),
    events: [
      event('0s', 'host/a', { state: 'down' }, 'box.state'),
      event('1s', 'host/b', { state: 'down' }, 'box.state'),
      event('2s', 'host/a', { state: 'up' }, 'box.state'),
      event('20m', 'host/b', { state: 'down' }, 'box.state'),
    ],
  });
  expect(verdicts(seen)).toEqual(['decided', 'false', 'no-match', 'decided']);
});

test('reads decision tables, for the tier and as a fact', () => {
  const seen = play({
    rule: rule({
      tier: { table: 'ops/tier@1' },
      facts: { row: { table: 'ops/tier@1' } },
      when: "facts.row.tier != 'P3'",
    }),
    tables: { 'ops/tier@1': TIERS },
    resources: [{ path: 'host/a', labels: { service: 'pay' } }],
    events: [event('0s', 'host/a'), event('1s', 'host/b')],
  });
  expect(seen.decisions.map(({ tier }) => tier)).toEqual(['P0', 'P4']);
  const without = play({ rule: rule({ tier: { table: 'ops/other@1' } }), events: [event('0s', 'host/a')] });
  expect(without.verdicts).toMatchObject([
    { verdict: 'error', because: expect.stringContaining('ops/other@1') as string },
  ]);
});

test('leaves alone what is under maintenance, and looks once at its end at what is still bad', () => {
  const window: MaintenanceDocument = {
    ...{ dsl: 'opsloop/v1', kind: 'maintenance', name: 'ops/r1', reason: 'new fans' },
    scope: { paths: ['host/r1/*'] },
    during: { from: START, until: '2026-01-05T10:00:00.000Z' },
  } as MaintenanceDocument;
  const [resolved, open] = ['resolved', 'firing'].map((status) => ({ status }));
  const seen = play({
    rule: rule({ on: [{ type: 'disk.full', data: { status: 'firing' } }] }),
    maintenance: [window],
    until: '2h',
    events: [
      event('0s', 'host/r1/a', open!),
      event('1m', 'host/r1/a', open!),
      event('2m', 'host/r1/b', open!),
      event('5m', 'host/r1/b', resolved!),
      event('6m', 'host/r2/c', open!),
    ],
  });
  // The last event stands for all: it is what the look at the end answers.
  expect(verdicts(seen)).toEqual(['maintenance', 'decided', 'no-match', 'no-match', 'decided']);
  expect(seen.decisions.map(({ targets, at }) => [targets, at])).toEqual([
    [['host/r2/c'], 360],
    [['host/r1/a'], 3_600],
  ]);
});
