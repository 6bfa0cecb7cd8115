import type { EventMessage, Json, RuleDocument } from '@opsloop/contracts';
import { decisionId } from '@opsloop/contracts/ids';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventOf } from '../decision-app.spec-kit.js';
import { RulePlay } from '../play-rules/rule-play.pure.js';
import type { LiveRule, RuleTrace } from '../store/model.js';

/** Raised by hand when the stages of a rule change: `OPSLOOP_INDEX_RUNS=20000`. */
const RUNS = 300;
const START = Date.parse('2026-03-01T08:00:00.000Z');

/** Every feature that remembers something between events, alone and together. */
const features = fc.record(
  {
    when: fc.constantFrom<Json>(
      { '==': [{ var: 'event.data.s' }, 'bad'] },
      { and: [{ in: [{ var: 'event.data.k' }, ['a', 'b']] }, { '>=': [{ var: 'event.data.n' }, 1] }] },
      { '==': [{ var: 'resource.state.s' }, 'bad'] },
    ),
    for: fc.constant('1m'),
    atLeast: fc.constant({ count: 2, within: '2m' }),
    dedupe: fc.constant({ by: '${event.data.k}', within: '2m' }),
    throttle: fc.constantFrom({ count: 1, within: '3m' }, { by: '${event.subject}', count: 1, within: '3m' }),
    flapping: fc.constant({ changes: 2, within: '4m', quiet: '1m' }),
    group: fc.constant({ by: 'all', within: '1m' }),
    incident: fc.constant({ by: '${event.data.k}', within: '5m' }),
    goal: fc.constant({ state: { '==': [{ var: 'resource.state.s' }, 'good'] }, stableFor: '30s' }),
    budget: fc.constant([{ runs: 2, within: '10m' }]),
    stale: fc.constant(true),
    cooldown: fc.constant('2m'),
  },
  { requiredKeys: [] },
);
const pattern = fc.record(
  {
    type: fc.constantFrom('fleet.state', 'fleet.*', 'fleet.alert'),
    subject: fc.constantFrom('host/a', 'host/*'),
    data: fc.constantFrom<Record<string, Json>>({ s: 'bad' }, { k: ['a', 'b'] }, { s: 'bad', k: 'a' }),
  },
  { requiredKeys: [] },
);
const rule = fc.record({ on: fc.array(pattern, { minLength: 1, maxLength: 2 }), more: features });
const event = fc.record({
  type: fc.constantFrom('fleet.state', 'fleet.state', 'fleet.alert', 'other.state'),
  subject: fc.constantFrom('host/a', 'host/b'),
  data: fc.record({ s: fc.constantFrom('bad', 'good'), k: fc.constantFrom('a', 'b', 'c'), n: fc.constantFrom(0, 1) }),
  afterMs: fc.constantFrom(0, 1_000, 20_000, 61_000, 200_000),
  lateMs: fc.constantFrom(0, 0, 0, 90_000),
});

function ruleOf({ on, more }: { on: RuleDocument['on']; more: object }, i: number): LiveRule {
  const name = `a/r${i}`;
  const branches: RuleDocument['branches'] = [{ id: 'default', ladder: [{ id: 'go', run: 'fleet/go@1' }] }];
  const doc = { dsl: 'opsloop/v1', kind: 'rule', name, version: '1.0.0', on, branches, ...more } as RuleDocument;
  return { name, version: '1.0.0', digest: '', mode: 'active', doc };
}

/** All that an observer could tell: decisions in order, what is open, what waits, and the state of the hosts. */
function play(rules: LiveRule[], events: EventMessage[], scan: boolean): object {
  const decisions: object[] = [];
  const verdicts = new Map<string, RuleTrace>();
  const one = new RulePlay({
    rules,
    configs: {},
    resources: [],
    decided: ({ id, rule: name, targets, at }) => decisions.push({ id, name, targets, at }),
    verdict: (eventId, name, trace) => verdicts.set(`${eventId} ${name}`, trace),
    ...(scan ? { candidates: () => rules } : {}),
  });
  for (const message of events) one.send(message);
  one.advance(Date.parse(events.at(-1)!.receivedAt) + 3_600_000);
  const waits = one.store.dueWaits(Infinity);
  const hosts = ['host/a', 'host/b'].map((path) => one.store.resource(path));
  const notable = [...verdicts].filter(([, { verdict }]) => !['no-match', 'false', 'stale'].includes(verdict));
  return { decisions, waits, live: one.store.live(), hosts, notable };
}

describe('the index and a scan of all rules', () => {
  it('decide the same of any sequence of events, whatever rules remember between them', () => {
    let decided = 0;
    fc.assert(
      fc.property(
        fc.array(rule, { minLength: 1, maxLength: 5 }),
        fc.array(event, { minLength: 2, maxLength: 12 }),
        (made, given) => {
          const rules = made.map(ruleOf);
          let at = START;
          const events = given.map(({ afterMs, lateMs, type, subject, data }, i) => {
            at += afterMs;
            const eventId = decisionId('t', 'event', String(i), '', '');
            const base = eventOf({ eventId, type, subject, data, correlationId: eventId });
            const { state: _state, ...rest } = base;
            return {
              ...rest,
              ...(type.endsWith('.state') ? { state: data } : {}),
              time: new Date(at - lateMs).toISOString(),
              receivedAt: new Date(at).toISOString(),
            };
          });
          const scanned = play(rules, events, true);
          decided += (scanned as { decisions: object[] }).decisions.length;
          expect(play(rules, events, false)).toEqual(scanned);
        },
      ),
      { numRuns: Number(process.env['OPSLOOP_INDEX_RUNS'] ?? RUNS) },
    );
    // Sequences that decide nothing would prove nothing.
    expect(decided).toBeGreaterThan(RUNS / 2);
  });
});
