import type { EventMessage, EventPattern, Json, RuleDocument } from '@opsloop/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aim } from '../decide/aim.pure.js';
import { decideEvents } from '../decide/batch.pure.js';
import { World } from '../decide/world.pure.js';
import { eventOf } from '../decision-app.spec-kit.js';
import { unknownResource } from '../resources/merge.pure.js';
import type { LiveRule, RuleTrace } from '../store/model.js';
import { CandidateIndex } from './candidate-index.pure.js';
import { unjudged } from './unjudged.pure.js';

const BRANCHES: RuleDocument['branches'] = [{ id: 'default', ladder: [{ id: 'go', run: 'fleet/go@1' }] }];

function ruleOf(name: string, on: EventPattern[], more: Partial<RuleDocument> = {}): LiveRule {
  const doc = { dsl: 'opsloop/v1', kind: 'rule', name, version: '1.0.0', on, branches: BRANCHES, ...more } as const;
  return { name, version: '1.0.0', digest: '', mode: 'shadow', doc };
}

function verdictOf(rule: LiveRule, event: EventMessage): RuleTrace {
  const none = { resources: [], episodes: [], blocked: [], waits: [], budgets: [], holds: [], siblings: [], halts: [] };
  const world = new World('default', Date.now(), {}, { id: 'set', rules: [rule] }, new Map(), none);
  const one = aim({ event, rule, configs: {}, resource: unknownResource, members: () => [] });
  decideEvents(world, [event], new Map([[event, [one]]]));
  return world.traces[0]!.verdicts[rule.name]!;
}

// Few values, so that they meet; among them what a look-up could mistake: numbers as texts, null, lists, nested members.
const scalar = fc.constantFrom<Json>('a', 'b', '1', 1, 0, true, 'true', null);
const value = fc.oneof({ weight: 4, arbitrary: scalar }, fc.constant<Json>(['a']), fc.record({ x: scalar }));
const data = fc.record({ k: value, l: value, 'm.n': scalar }, { requiredKeys: [] });
const text = fc.constantFrom('fleet.a', 'fleet.b', 'fleet.*', '*', 'opsloop.run.closed', 'fl*.a');
const path = fc.constantFrom('host/a', 'host/b', 'host/*', 'host/*/x', '*', 'host/a/x');
const pattern = fc.record(
  {
    type: text,
    source: fc.constantFrom('s', 't', 's*'),
    subject: path,
    data: fc.record(
      { k: fc.oneof(value, fc.array(scalar, { maxLength: 3 })), l: value, 'm.n': scalar },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);
const read = fc.constantFrom('event.data.k', 'event.data.l', 'event.data["m.n"]', 'event.type', 'event.data.k[0]');
const comparison = fc.oneof(
  fc.tuple(read, scalar).map(([at, constant]): Json => ({ '==': [{ var: at }, constant] })),
  fc.tuple(read, scalar).map(([at, constant]): Json => ({ '==': [constant, { var: at }] })),
  fc.tuple(read, fc.array(scalar, { maxLength: 3 })).map(([at, list]): Json => ({ in: [{ var: at }, list] })),
  fc.constant<Json>({ '<': [{ var: 'event.data.k' }, 1] }),
);
const when = fc.option(
  fc.oneof(
    comparison,
    fc.array(comparison, { minLength: 1, maxLength: 3 }).map((all): Json => ({ and: all })),
  ),
  { nil: undefined },
);
const rule = fc.record({
  on: fc.array(pattern, { minLength: 1, maxLength: 2 }),
  when,
  span: fc.constantFrom(undefined, undefined, '1m'),
});
const event = fc.record({
  type: fc.constantFrom('fleet.a', 'fleet.b', 'flat.a', 'opsloop.run.closed'),
  source: fc.constantFrom('s', 't', 'st'),
  subject: fc.constantFrom('host/a', 'host/b', 'host/a/x', undefined),
  data,
  hops: fc.constantFrom(0, 16),
});

describe('the index of rules', () => {
  it('leaves out only rules whose verdict follows from the event alone, and that verdict is the same', () => {
    fc.assert(
      fc.property(fc.array(rule, { minLength: 1, maxLength: 12 }), event, (made, given) => {
        const rules = made.map(({ on, when: condition, span }, i) =>
          ruleOf(`a/r${String(i).padStart(2, '0')}`, on, {
            ...(condition === undefined ? {} : { when: condition }),
            ...(span === undefined ? {} : { for: span }),
          }),
        );
        const { subject, ...rest } = given;
        const { subject: _subject, ...base } = eventOf(rest);
        const message = subject === undefined ? base : { ...base, subject };
        const candidates = new CandidateIndex(rules).candidates(message);
        expect(candidates).toEqual(rules.filter((one) => candidates.includes(one)));
        for (const one of rules) {
          const judged = verdictOf(one, message);
          if (!candidates.includes(one)) expect(unjudged(one, { event: message, notes: {} })).toEqual(judged);
          // What does something is never left out.
          else continue;
          expect(['no-match', 'false', 'hop-limit', 'error']).toContain(judged.verdict);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('tries ten of 10,000 rules that differ in a value, a prefix or a condition', () => {
    for (const make of [
      (i: number) => ruleOf(`a/r${i}`, [{ type: 'fleet.state', data: { service: `s${i % 1_000}` } }]),
      (i: number) => ruleOf(`a/r${i}`, [{ type: 'fleet.state', subject: `host/s${i % 1_000}/*` }]),
      (i: number) => ruleOf(`a/r${i}`, [{ type: 'fleet.state', source: `s${i % 1_000}` }]),
      (i: number) =>
        ruleOf(`a/r${i}`, [{ type: 'fleet.state' }], {
          when: { and: [{ '==': [{ var: 'event.data.service' }, `s${i % 1_000}`] }, { '!!': { var: 'resource' } }] },
        }),
    ]) {
      const index = new CandidateIndex(Array.from({ length: 10_000 }, (_, i) => make(i)));
      const found = index.candidates(
        eventOf({ type: 'fleet.state', source: 's7', subject: 'host/s7/a', data: { service: 's7' } }),
      );
      expect(found.map((one) => one.name)).toEqual(Array.from({ length: 10 }, (_, i) => `a/r${i * 1_000 + 7}`));
    }
  });
});
