import type { RuleDocument } from '@opsloop/contracts';
import { expect, test } from 'vitest';
import { lintRules } from './lint-rules.js';

function rule(name: string, more: Partial<RuleDocument>): RuleDocument {
  return {
    dsl: 'opsloop/v1',
    kind: 'rule',
    name,
    version: '1.0.0',
    on: [{ type: 'fleet.state', subject: 'host/*', data: { state: 'down' } }],
    branches: [{ id: 'default', ladder: [{ id: 'go', run: `${name}-flow@1` }] }],
    ...more,
  };
}
const run = (flow: string): RuleDocument['branches'][number]['ladder'] => [{ id: 'go', run: flow }];
const goal = (state: string): RuleDocument['goal'] => ({ state: `resource.state.state == '${state}'` });

const CASES: [string, RuleDocument[], string[], object][] = [
  [
    'two rules act on one event',
    [rule('a/x', {}), rule('a/y', { on: [{ type: 'fleet.*', data: { state: ['down', 'sick'] } }] })],
    ['overlap a/x a/y'],
    { event: { type: 'fleet.state', data: { state: 'down' } } },
  ],
  ['other states', [rule('a/x', {}), rule('a/y', { on: [{ type: 'fleet.state', data: { state: 'sick' } }] })], [], {}],
  [
    'conditions exclude each other',
    [rule('a/x', { when: "resource.labels.role == 'db'" }), rule('a/y', { when: "resource.labels.role != 'db'" })],
    [],
    {},
  ],
  [
    'numbers meet at one value',
    [rule('a/x', { when: 'event.data.load >= 5' }), rule('a/y', { when: 'event.data.load <= 5' })],
    ['overlap a/x a/y'],
    { event: { data: { load: 5 } } },
  ],
  [
    'the same work is joined',
    [
      rule('a/x', { branches: [{ id: 'b', ladder: run('a/f@1') }] }),
      rule('a/y', { branches: [{ id: 'b', ladder: run('a/f@1') }] }),
    ],
    [],
    {},
  ],
  [
    'goals that undo each other',
    [rule('a/x', { goal: goal('up') }), rule('a/y', { goal: goal('drained') })],
    ['contradictory a/x a/y'],
    { event: { type: 'fleet.state' } },
  ],
  ['a disabled rule meets nobody', [rule('a/x', {}), rule('a/y', { mode: 'disabled' })], [], {}],
  [
    'a condition against the pattern',
    [rule('a/x', { when: "event.data.state == 'up'" })],
    ['unreachable a/x'],
    { event: { data: { state: 'down' } } },
  ],
  [
    'a branch behind one that takes all',
    [
      rule('a/x', {
        branches: [
          { id: 'all', ladder: run('a/f@1') },
          { id: 'db', when: "resource.labels.role == 'db'", ladder: run('a/g@1') },
        ],
      }),
    ],
    ['shadowed a/x'],
    { resource: { labels: { role: 'db' } } },
  ],
  [
    'a branch behind a wider one',
    [
      rule('a/x', {
        branches: [
          { id: 'hot', when: 'event.data.load > 5', ladder: run('a/f@1') },
          { id: 'hotter', when: 'event.data.load > 9', ladder: run('a/g@1') },
        ],
      }),
    ],
    ['shadowed a/x'],
    { event: { data: { load: 10 } } },
  ],
  [
    'tiers with a hole',
    [rule('a/x', { tier: [{ when: "resource.labels.service == 'pay'", tier: 'P0' }] })],
    ['tier-gap a/x'],
    { event: { type: 'fleet.state' } },
  ],
  [
    'tiers with a default',
    [rule('a/x', { tier: [{ when: "resource.labels.service == 'pay'", tier: 'P0' }, { tier: 'P4' }] })],
    [],
    {},
  ],
];

test.each(CASES)('%s', (_name, rules, found, witness) => {
  const findings = lintRules(rules);
  expect(findings.map((one) => [one.code, one.rule, one.with].filter((part) => part !== undefined).join(' '))).toEqual(
    found,
  );
  if (found.length > 0) expect(findings[0]!.witness).toMatchObject(witness);
});
