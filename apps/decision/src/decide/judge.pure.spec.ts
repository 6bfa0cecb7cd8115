import { VERDICTS } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import type { EventMessage, RuleDocument, RuleVerdict } from '@opsloop/contracts';
import { eventOf } from '../decision-app.spec-kit.js';
import { openFromState } from '../episodes/open-from-state.pure.js';
import { unknownResource } from '../resources/merge.pure.js';
import type { EpisodeRow, LiveRule, Resource } from '../store/model.js';
import { aim } from './aim.pure.js';
import { decideEvents } from './batch.pure.js';
import { EVENTS_MAX, judgeAfterFor, judgeGroup } from './judge.pure.js';
import type { Loaded } from './world.pure.js';
import { World } from './world.pure.js';

const NOW = Date.parse('2026-01-01T12:00:00.000Z');
const HOST = 'host/dc1/r1/a';

const BASE: RuleDocument = {
  dsl: 'opsloop/v1',
  kind: 'rule',
  name: 'fleet/down',
  version: '1.0.0',
  on: [{ type: 'fleet.service.state', subject: 'host/*', data: { state: ['down', 'sick'] } }],
  branches: [
    {
      id: 'default',
      ladder: [{ id: 'restart', run: 'fleet/restart@1', per: 'target', with: { host: '${resource.path}' } }],
    },
  ],
};
const GOAL = { state: { '==': [{ var: 'resource.state.state' }, 'up'] } };

interface Given {
  rule?: Partial<RuleDocument>;
  mode?: LiveRule['mode'];
  rollout?: LiveRule['rollout'];
  event?: Partial<EventMessage>;
  resources?: Partial<Resource>[];
  loaded?: Partial<Loaded>;
}

function ruleOf({ rule, mode, rollout }: Given): LiveRule {
  const doc = { ...BASE, ...rule };
  return {
    name: doc.name,
    version: doc.version,
    digest: 'd',
    mode: mode ?? 'active',
    ...(rollout === undefined ? {} : { rollout }),
    doc,
  };
}

function worldOf(given: Given, rules: LiveRule[] = [ruleOf(given)]): World {
  const resources = (given.resources ?? []).map((one) => ({ ...unknownResource(one.path!), ...one }));
  return new World('default', NOW, {}, { id: 'set', rules }, new Map(), {
    resources,
    episodes: [],
    blocked: [],
    waits: [],
    budgets: [],
    holds: [],
    siblings: [],
    halts: [],
    ...given.loaded,
  });
}

function eventIn(given: Given): EventMessage {
  const at = new Date(NOW).toISOString();
  return eventOf({ subject: HOST, time: at, receivedAt: at, ...given.event });
}

function run(
  given: Given,
  ...more: Partial<EventMessage>[]
): { world: World; verdicts: { verdict: RuleVerdict; stage: string; text?: string | undefined }[] } {
  const rule = ruleOf(given);
  const world = worldOf(given, [rule]);
  const events = [eventIn(given), ...more.map((event) => eventIn({ ...given, event: { ...given.event, ...event } }))];
  const aims = new Map(
    events.map((event) => [
      event,
      [
        aim({
          event,
          rule,
          configs: {},
          resource: (path) => world.resource(path),
          members: () => ['host/a', 'host/b'],
        }),
      ],
    ]),
  );
  decideEvents(world, events, aims);
  return {
    world,
    verdicts: world.traces
      .map((t) => t.verdicts[rule.name]!)
      .map(({ verdict, stage, because }) => ({ verdict, stage, text: because?.text })),
  };
}

/** An episode of the rule, live or blocked, as a world loads it. */
function episodeFrom(given: Given, change: Partial<EpisodeRow['episode']> = {}): EpisodeRow {
  const row = run(given).world.dirty().episodes[0]!;
  return { ...row, episode: { ...row.episode, ...change } };
}

const seen = (state: string, ago = 1_000): Partial<Resource> => {
  const at = new Date(NOW - ago).toISOString();
  return { path: HOST, kind: 'host', state: { state }, stateAt: { state: at }, seenAt: { state: at }, observedAt: at };
};
const hold = { holds: [{ path: 'host/dc1', runId: 'r-1', since: '2026-01-01T00:00:00.000Z' }] };
const halt = (more: object): Partial<Loaded> => ({
  halts: [{ id: 'h', scope: {}, running: 'pause', reason: 'why', by: 'ann', since: '', ...more }],
});
const withGoal = { rule: { goal: GOAL } };

const CASES: [string, Given, RuleVerdict, string][] = [
  ['matches', {}, 'decided', 'decide'],
  ['other data', { event: { data: { state: 'up' } } }, 'no-match', 'on'],
  ['when is false', { rule: { when: { '==': [{ var: 'event.data.state' }, 'sick'] } } }, 'false', 'when'],
  [
    'older than what is known',
    { resources: [seen('up', 0)], event: { time: new Date(NOW - 5_000).toISOString() } },
    'stale',
    'on',
  ],
  [
    'late, but the rule wants it',
    { rule: { stale: true }, resources: [seen('up', 0)], event: { time: new Date(NOW - 5_000).toISOString() } },
    'decided',
    'decide',
  ],
  ['has to last', { rule: { for: '30s' } }, 'waiting', 'for'],
  ['has to come again', { rule: { atLeast: { count: 2, within: '1m' } } }, 'waiting', 'atLeast'],
  ['collected', { rule: { group: { by: '${event.subject}', within: '10s' } } }, 'grouped', 'group'],
  ['halt over everything', { loaded: halt({}) }, 'halted', 'halts'],
  ['halt over the flow', { loaded: halt({ scope: { flows: ['fleet/*'] } }) }, 'halted', 'halts'],
  ['halt over the domain', { loaded: halt({ scope: { domain: 'fleet' } }) }, 'halted', 'halts'],
  ['halt over another rule', { loaded: halt({ scope: { rules: ['db/*'] } }) }, 'decided', 'decide'],
  ['halt over another tier', { loaded: halt({ scope: { paths: ['host/*'], tiers: ['P0'] } }) }, 'decided', 'decide'],
  ['halt over an atom', { loaded: halt({ scope: { atoms: ['*'] } }) }, 'decided', 'decide'],
  ['halt that has ended', { loaded: halt({ until: '2026-01-01T11:59:00Z' }) }, 'decided', 'decide'],
  [
    'maintenance',
    { loaded: halt({ scope: { paths: ['host/dc1'] }, until: '2026-01-02T00:00:00Z' }) },
    'maintenance',
    'halts',
  ],
  ['episode open', { loaded: { episodes: [episodeFrom({})] } }, 'episode-open', 'episode'],
  ['our own run works above it', { loaded: hold }, 'own-effect', 'episode'],
  [
    'it was seen before that run began',
    { loaded: { holds: [{ ...hold.holds[0]!, since: '2026-01-01T23:00:00.000Z' }] } },
    'decided',
    'decide',
  ],
  [
    'rests after exhaustion',
    { ...withGoal, loaded: { blocked: [episodeFrom(withGoal, { state: 'exhausted', blockedUntil: NOW + 1 })] } },
    'cooldown',
    'episode',
  ],
  [
    'rested',
    { ...withGoal, loaded: { blocked: [episodeFrom(withGoal, { state: 'exhausted', blockedUntil: NOW })] } },
    'decided',
    'decide',
  ],
  ['goal met', { rule: { goal: { state: { '==': [{ var: 'resource.state.state' }, 'down'] } } } }, 'goal-met', 'goal'],
  [
    'over budget',
    {
      rule: { budget: [{ runs: 2, within: '1h' }] },
      loaded: { budgets: [{ rule: 'fleet/down', slot: 0, key: 'all', used: 2 }] },
    },
    'budget',
    'budget',
  ],
  [
    'within budget',
    {
      rule: { budget: [{ runs: 2, within: '1h' }] },
      loaded: { budgets: [{ rule: 'fleet/down', slot: 0, key: 'all', used: 1 }] },
    },
    'decided',
    'decide',
  ],
  ['no branch', { rule: { branches: [{ ...BASE.branches[0]!, when: { '==': [1, 2] } }] } }, 'no-branch', 'branch'],
  ['shadow', { mode: 'shadow' }, 'shadow', 'mode'],
  ['outside the rollout', { rollout: { percent: 0 } }, 'rollout', 'rollout'],
  ['inside the rollout', { rollout: { percent: 100 } }, 'decided', 'decide'],
  ['too deep', { event: { hops: 16 } }, 'hop-limit', 'on'],
  ['just not too deep', { event: { hops: 15 } }, 'decided', 'decide'],
  ['condition fails', { rule: { when: { 'no-such-operator': [1] } } }, 'error', 'evaluate'],
  [
    'slot of the rung fails',
    { rule: { branches: [{ id: 'b', ladder: [{ id: 'r', run: 'a/b@1', with: { x: '${event.data.nothing}' } }] }] } },
    'error',
    'evaluate',
  ],
  ['target is no path', { rule: { targets: { paths: ['a//b'] } } }, 'error', 'targets'],
  ['replayed', { event: { replayOf: 'e-0' } }, 'shadow', 'mode'],
  ['replayed for real', { event: { replayOf: 'e-0', replayMode: 'active' } }, 'decided', 'decide'],
];

describe('verdicts', () => {
  it.each(CASES)('%s', (_name, given, verdict, stage) => {
    const [answer] = run(given).verdicts;
    expect({ verdict: answer!.verdict, stage: answer!.stage }).toEqual({ verdict, stage });
    if (verdict !== 'decided') expect(answer!.text).toBeTruthy();
  });

  it('deduped', () => {
    const { verdicts, world } = run(
      { rule: { dedupe: { by: '${event.data.id}', within: '5m' } }, event: { data: { state: 'down', id: 1 } } },
      { subject: 'host/b' },
    );
    expect(verdicts.map((v) => v.verdict)).toEqual(['decided', 'deduped']);
    expect(world.decisions).toHaveLength(1);
  });

  it('has a case for each', () => {
    const covered = new Set([...CASES.map(([, , verdict]) => verdict), 'deduped']);
    expect(VERDICTS.filter((verdict) => !covered.has(verdict))).toEqual([]);
  });
});

describe('windows', () => {
  it('`for` begins once, is cleared by what does not match, and leaves alone what is late', () => {
    const rule = { rule: { for: '30s' } };
    expect(run(rule, {}).world.dirty().waits).toHaveLength(1);
    expect(run(rule, { data: { state: 'up' }, state: { state: 'up' } }).world.dirty().waits).toEqual([]);
    const late = { time: new Date(NOW - 60_000).toISOString(), data: { state: 'up' }, state: { state: 'up' } };
    expect(run(rule, late).world.dirty().waits).toHaveLength(1);
  });

  it.each<[string, string, RuleVerdict]>([
    ['down', 'still down', 'decided'],
    ['up', 'up in between', 'no-match'],
  ])('after `for`: %s', (state, _name, verdict) => {
    const given = { rule: { for: '30s' }, resources: [seen(state)] };
    const world = worldOf(given);
    const event = eventIn(given);
    const one = aim({ event, rule: ruleOf(given), configs: {}, resource: (p) => world.resource(p), members: () => [] });
    expect(judgeAfterFor(world, one).verdict).toBe(verdict);
  });

  it('`atLeast` decides at the count and begins anew', () => {
    const given = { rule: { atLeast: { count: 2, within: '1m' }, goal: GOAL } };
    expect(run(given, {}, {}).verdicts.map((v) => v.verdict)).toEqual(['waiting', 'decided', 'waiting']);
  });

  it('a group is decided as one, by the most critical tier, in the batches of the rule', () => {
    const given: Given = {
      rule: {
        group: { by: 'all', within: '10s' },
        batch: { canary: 1, max: 2 },
        tier: [{ when: { '==': [{ var: 'resource.path' }, 'host/b'] }, tier: 'P0' }, { tier: 'P2' }],
      },
    };
    const { world, verdicts } = run(given, { subject: 'host/b' }, { subject: 'host/c' }, { subject: 'host/d' });
    expect(verdicts.map((v) => v.verdict)).toEqual(['grouped', 'grouped', 'grouped', 'grouped']);
    const [wait] = world.dirty().waits;
    const one = aim({
      event: wait!.doc.events[0]!,
      rule: ruleOf(given),
      configs: {},
      resource: (p) => world.resource(p),
      members: () => [],
    });
    const verdict = judgeGroup(world, one, wait!.doc.targets!, 'g-1');
    expect(verdict.verdict).toBe('decided');
    const [decision, ...more] = world.decisions;
    expect(more).toEqual([]);
    expect(decision).toMatchObject({ tier: 'P0', cause: 'g-1', targets: ['host/b', 'host/c', 'host/d', HOST] });
    expect(decision!.batches.map((b) => b.length)).toEqual([1, 2, 1]);
    expect(decision!.start.perTarget).toMatchObject({
      items: [{ path: 'host/b', input: { host: 'host/b' } }, {}, {}, {}],
      batches: decision!.batches,
    });
    expect(world.dirty().episodes.map((row) => row.episode.startId)).toEqual(Array(4).fill(decision!.id));
  });

  it('`for` that clears tells it to every event that waited', () => {
    const { world } = run({ rule: { for: '30s' } }, {}, { data: { state: 'up' }, state: { state: 'up' } });
    const [first, second, clearing] = world.traces.map((trace) => trace.eventId);
    expect(world.traceUpdates.map((update) => update.eventId)).toEqual([first, second]);
    expect(world.traceUpdates[0]!.verdicts['fleet/down']).toMatchObject({
      verdict: 'no-match',
      stage: 'for',
      because: { text: `it cleared before it had lasted for 30s, by event ${clearing}` },
    });
  });

  it('a host that flaps in a group lets its row grow to a bound, then the group is due', () => {
    const { world } = run(
      { rule: { group: { by: 'all', within: '10s' } } },
      ...Array.from({ length: EVENTS_MAX + 50 }, () => ({})),
    );
    const [wait] = world.dirty().waits;
    expect([wait!.doc.events.length, wait!.doc.joined!.length]).toEqual([1, EVENTS_MAX]);
    expect(wait!.dueAt).toBe(new Date(NOW).toISOString());
  });

  it('a full group is due at once', () => {
    const { world } = run({ rule: { group: { by: 'all', within: '10s', max: 2 } } }, { subject: 'host/b' });
    expect(world.dirty().waits[0]!.dueAt).toBe(new Date(NOW).toISOString());
  });
});

describe('decisions', () => {
  it('are the same for the same event, and one per branch', () => {
    const branches = [
      { id: 'a', when: { '==': [{ var: 'resource.path' }, 'host/a'] }, ladder: BASE.branches[0]!.ladder },
      { id: 'b', ladder: [{ id: 'page', call: 'notify.webhook@1', with: { hosts: '${targets}' } }] },
    ];
    const given: Given = {
      rule: { branches, targets: { from: 'members' } },
      event: { eventId: '0199a0f0-0000-7000-8000-000000000001' },
    };
    const first = run(given).world.decisions;
    expect(first.map((d) => [d.branch, d.targets, d.start.ref, d.start.input])).toEqual([
      ['a', ['host/a'], 'fleet/restart@1', { host: 'host/a' }],
      ['b', ['host/b'], 'notify.webhook@1', { hosts: ['host/b'] }],
    ]);
    expect(run(given).world.decisions.map((d) => d.id)).toEqual(first.map((d) => d.id));
    expect(new Set(first.map((d) => d.id)).size).toBe(2);
  });

  it('charge a shared budget once for all targets, and one of each target for itself', () => {
    const given: Given = {
      rule: {
        targets: { from: 'members' },
        budget: [
          { runs: 1, within: '1h' },
          { runs: 1, within: '1h', by: '${resource.path}' },
        ],
      },
    };
    const { world, verdicts } = run(given);
    expect(verdicts[0]!.verdict).toBe('decided');
    expect(world.charges.map((c) => c.key).sort()).toEqual(['all', 'host/a', 'host/b']);
  });

  it('leave the targets that are over budget exhausted and act on the others', () => {
    const given: Given = {
      rule: { goal: GOAL, targets: { from: 'members' }, budget: [{ runs: 1, within: '1h', by: '${resource.path}' }] },
      loaded: { budgets: [{ rule: 'fleet/down', slot: 0, key: 'host/a', used: 1 }] },
    };
    const { world } = run(given);
    expect(world.decisions[0]!.targets).toEqual(['host/b']);
    expect(world.dirty().episodes.map((r) => [r.episode.resource, r.episode.state])).toEqual([
      ['host/a', 'exhausted'],
      ['host/b', 'pending'],
    ]);
  });

  it('leave no episode behind when the start cannot be built', () => {
    const branches = [{ id: 'b', ladder: [{ id: 'r', run: 'a/b@1', with: { x: '${event.data.nothing}' } }] }];
    const { world } = run({ rule: { branches } });
    expect(world.dirty().episodes).toEqual([]);
    expect(world.outgoing).toEqual([]);
  });

  it('see what the event before them changed', () => {
    const { verdicts, world } = run(withGoal, {}, { data: { state: 'up' }, state: { state: 'up' } });
    expect(verdicts.map((v) => v.verdict)).toEqual(['decided', 'episode-open', 'no-match']);
    expect(world.outgoing.map((m) => (m.topic === 'starts' ? (m.body as { kind: string }).kind : m.topic))).toEqual([
      'start',
      'episodes',
      'withdraw',
    ]);
  });

  it('unblock when the goal is seen true', () => {
    const blocked = episodeFrom(withGoal, { state: 'exhausted', blockedUntil: NOW + 1_000 });
    const { verdicts } = run(
      { ...withGoal, loaded: { blocked: [blocked] } },
      { data: { state: 'up' }, state: { state: 'up' } },
      {},
    );
    expect(verdicts.map((v) => v.verdict)).toEqual(['cooldown', 'no-match', 'decided']);
  });
});

describe('a goal without an event', () => {
  const open = (given: Given, used = false, targets = [HOST]): World => {
    const world = worldOf(given);
    openFromState(world, world.ruleset.rules[0]!, HOST, targets, () => used);
    return world;
  };
  it.each<[string, Given, number]>([
    ['is missed', { ...withGoal, resources: [seen('down')] }, 1],
    ['is met', { ...withGoal, resources: [seen('up')] }, 0],
    ['was never observed', withGoal, 0],
    ['is none', { resources: [seen('down')] }, 0],
    ['is about another state', { ...withGoal, resources: [seen('booting')] }, 0],
    [
      'waits in the window of a group',
      { rule: { ...withGoal.rule, group: { by: 'all', within: '10s' } }, resources: [seen('down')] },
      0,
    ],
    [
      'waited longer than the window',
      { rule: { ...withGoal.rule, group: { by: 'all', within: '10s' } }, resources: [seen('down', 12_500)] },
      1,
    ],
    ['is under work', { ...withGoal, resources: [seen('down')], loaded: hold }, 0],
    ['is of a rule in shadow', { ...withGoal, mode: 'shadow', resources: [seen('down')] }, 0],
    [
      'is of a rule on alerts',
      { rule: { ...withGoal.rule, on: [{ type: 'alertmanager.alert' }] }, resources: [seen('down')] },
      0,
    ],
    ['is outside the rollout', { ...withGoal, rollout: { percent: 0 }, resources: [seen('down')] }, 0],
    [
      'is of a rule that counts events',
      { rule: { ...withGoal.rule, atLeast: { count: 3, within: '1m' } }, resources: [seen('down')] },
      0,
    ],
    [
      'has stood for as long as the events would have had to come',
      { rule: { ...withGoal.rule, atLeast: { count: 3, within: '1m' } }, resources: [seen('down', 60_000)] },
      1,
    ],
    [
      'was observed too long ago',
      {
        rule: { goal: { ...GOAL, observe: { call: 'probe.http@1', staleAfter: '1m' } } },
        resources: [seen('down', 61_000)],
      },
      0,
    ],
    [
      'was observed just in time',
      {
        rule: { goal: { ...GOAL, observe: { call: 'probe.http@1', staleAfter: '1m' } } },
        resources: [seen('down', 59_000)],
      },
      1,
    ],
  ])('%s', (_name, given, decisions) => expect(open(given).decisions).toHaveLength(decisions));

  it('of members: those that miss it are worked on together, while the group itself is as bad as the rule says', () => {
    const rule = { ...withGoal.rule, targets: { from: 'members' as const } };
    const members = [
      { ...seen('down'), path: 'host/m1' },
      { ...seen('up'), path: 'host/m2' },
      { ...seen('down'), path: 'host/m3' },
    ];
    const paths = members.map(({ path }) => path);
    const [decision, ...more] = open({ rule, resources: [seen('down'), ...members] }, false, paths).decisions;
    expect([decision!.targets, more]).toEqual([['host/m1', 'host/m3'], []]);
    expect(open({ rule, resources: [seen('up'), ...members] }, false, paths).decisions).toEqual([]);
    expect(open({ rule, resources: [seen('down')] }, false, paths).decisions).toEqual([]);
  });

  it('has the state as its cause, and another one when that was used before', () => {
    const given = { ...withGoal, resources: [seen('down')] };
    const at = new Date(NOW - 1_000).toISOString();
    expect(open(given).decisions[0]!.cause).toBe(`fleet/down/${HOST}/${at}`);
    expect(open(given, true).decisions[0]!.cause).not.toBe(open(given).decisions[0]!.cause);
    // What was known of this cause may be deleted by age, while control still knows its start.
    const old = { ...withGoal, resources: [seen('down', 2 * 86_400_000)] };
    expect(open(old).decisions[0]!.cause).toContain(new Date(NOW).toISOString());
  });
});
