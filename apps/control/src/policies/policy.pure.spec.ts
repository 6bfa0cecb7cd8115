import type { Json, JsonObject, ResourceView } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import { describe, expect, test } from 'vitest';
import { stretchAt } from './calendar.pure.js';
import { counterOf, needsOf, weigh, type Weighed, type World } from './demand.pure.js';
import { mismatch } from './match.pure.js';
import { policyErrors, readPolicy } from './policy.pure.js';
import { decidePolicies, type PolicyFacts } from './policy-verdict.pure.js';

const doc = (body: JsonObject): JsonObject => ({ dsl: 'opsloop/v1', kind: 'policy', name: 'ops/x', ...body });
const freeze = { type: 'freeze', during: { rrule: 'FREQ=DAILY', start: '18:00', for: '2h', zone: 'Asia/Shanghai' } };
const ask = (more: JsonObject): JsonObject => ({ type: 'approval', approvers: { groups: ['sre'] }, ...more });

test.each<[JsonObject, string[]]>([
  [{ type: 'mutex', match: { targets: 'host/*', flows: 'a/*' }, onConflict: 'reject', description: 'why' }, []],
  [{ type: 'mutex', onConflict: 'coalesce' }, []],
  [{ type: 'mutex', locks: [{ path: 'x/${resource.labels.a}', mode: 'shared' }] }, []],
  [{ type: 'mutex', locks: [{ path: 'x/${event.a}', mode: 'shared' }] }, ['/locks/0/path']],
  [{ type: 'mutex', locks: [{ path: 'x//y', mode: 'shared' }] }, ['/locks/0/path']],
  [{ type: 'mutex', match: { lables: {} } }, ['/match/lables']],
  [{ type: 'quota' }, ['/runs']],
  [{ type: 'quota', runs: 3, windows: [{ runs: 7, within: '1d' }] }, []],
  [{ type: 'blast-radius', by: '${resource.labels.rack}' }, ['/max']],
  [{ type: 'blast-radius', percent: 10 }, ['/match/targets']],
  [{ type: 'blast-radius', percent: 10, match: { targets: ['host/*', '*'] } }, ['/match/targets']],
  [{ type: 'blast-radius', percent: 10, match: { targets: 'host/*' }, by: '${resource.state.up}' }, ['/by']],
  [freeze, []],
  [{ type: 'freeze', during: { rrule: 'FREQ=DAILY', for: '2h', zone: 'Mars/Olympus' } }, ['/during/zone']],
  [{ type: 'freeze', during: { rrule: 'FREQ=SOMETIMES', for: '2h' } }, ['/during/rrule']],
  [{ type: 'freeze', during: { rrule: 'FREQ=DAILY' } }, ['/during/for']],
  [{ type: 'freeze', during: { from: '2026-02-01T00:00:00Z', until: '2026-01-01T00:00:00Z' } }, ['/during/until']],
  [{ type: 'approval', approvers: { users: ['ann'], min: 2 } }, ['/approvers/min']],
  [ask({ onTimeout: 'escalate' }), ['/escalateTo']],
  [ask({ timeout: '10m', remind: '10m' }), ['/remind']],
  [ask({ timeout: '1h', remind: '10m', onTimeout: 'escalate', escalateTo: { groups: ['leads'] } }), []],
  [{ type: 'storm', by: '${resource.labels.rack}', unhealthy: '40%', then: { run: 'a/b@1' } }, ['/match/targets']],
])('%j is refused at %j', (body, pointers) => {
  const { findings } = validateDocument('policy', doc(body));
  const found = findings.filter((f) => f.severity === 'error').map((f) => f.pointer);
  expect(found.length > 0 ? found : policyErrors(doc(body)).map((e) => e.pointer)).toEqual(pointers);
});

const subject: Weighed = {
  id: 'run-1',
  tenant: 'default',
  flow: 'fleet/restart',
  effect: 'mutate',
  atoms: ['fleet.service.restart'],
  targets: ['host/r7/a', 'host/r7/b', 'host/r8/c'],
  tier: 'P2',
  rule: 'fleet/down',
  initiator: { kind: 'rule', name: 'fleet/down', team: 'team-fleet' },
  input: { hosts: 3 },
  caused: true,
  turns: false,
};

test.each<[JsonObject, RegExp | undefined]>([
  [{}, undefined],
  [{ targets: 'host/r8/*' }, undefined],
  [{ targets: 'host/r9' }, /a target host\/r9 is wanted/],
  [{ effect: ['destroy'] }, /effect destroy is wanted, it has mutate/],
  [{ tier: ['P0', 'P1'] }, /tier P0 or P1/],
  [{ flows: 'fleet/*', domain: 'fleet' }, undefined],
  [{ domain: 'web' }, /domain web is wanted, it has fleet/],
  [{ rules: ['other/*'] }, /rule other/],
  [{ atoms: 'k8s.*' }, /an atom/],
  [{ initiator: { kind: 'rule', team: 'team-*' } }, undefined],
  [{ initiator: { kind: 'token' } }, /initiator.kind token is wanted, it has rule/],
])('match %j → %s', (match, why) => {
  const said = mismatch(readPolicy('ops/x', doc({ type: 'mutex', match })).match, subject);
  if (why === undefined) expect(said).toBeUndefined();
  else expect(said).toMatch(why);
});

const labels: Record<string, Record<string, string>> = {
  'host/r7/a': { rack: 'r7', service: 'pay' },
  'host/r7/b': { rack: 'r7', service: 'web' },
  'host/r8/c': { rack: 'r8', service: 'pay' },
};
const resources = Object.entries(labels).map(([path, l]): ResourceView => ({
  path,
  kind: 'host',
  labels: l,
  state: {},
  stateAt: {},
  memberOf: [],
  dependsOn: [],
}));
const more = Array.from({ length: 27 }, (_, i) => ({ ...resources[0]!, path: `host/r7/x${i}` }));
const world: World = {
  resources: new Map(resources.map((r) => [r.path, r])),
  ofKind: (kind) => (kind === 'host' ? [...resources, ...more] : undefined),
};
const NOW = new Date('2026-03-10T11:00:00Z');
const of = (body: JsonObject, s: Partial<Weighed> = {}, w: World = world) =>
  weigh([readPolicy('ops/x', doc(body), 'd1')], { ...subject, ...s }, w, NOW);
const rack = '${resource.labels.rack}';

describe('what policies ask', () => {
  test('nothing when none matches, and only claims of a plain mutex', () => {
    expect(of({ type: 'quota', runs: 1, match: { tier: ['P0'] } })).toBeUndefined();
    const effect = of({ type: 'mutex', locks: [{ path: 'service/${resource.labels.service}', mode: 'shared' }] });
    expect(effect!.claims.map((c) => c.path)).toEqual(['service/pay', 'service/web', 'service/pay']);
    expect(effect!.demand).toBeUndefined();
  });

  test('targets by failure domain, counted and in percent of the inventory, at least one', () => {
    const policy = { type: 'blast-radius', match: { targets: 'host/*' }, by: rack, max: 5, percent: 10 };
    expect(of(policy)!.demand!.budgets).toMatchObject([
      {
        key: 'r7',
        counter: 'budget/ops/x/r7',
        units: ['host/r7/a', 'host/r7/b'],
        rooms: [{ max: 2, of: '10% of 29' }],
      },
      { key: 'r8', units: ['host/r8/c'], rooms: [{ max: 1, of: '10% of 1' }] },
    ]);
    expect(needsOf([readPolicy('ops/x', doc(policy))], subject)).toEqual({ resources: true, kinds: ['host'] });
    expect(of(policy, { effect: 'read' })).toBeUndefined();
    expect(of(policy, { turns: true })!.demand).toMatchObject({ budgets: [], later: ['ops/x'] });
  });

  test('without the inventory nothing is guessed', () => {
    const policy = { type: 'blast-radius', match: { targets: 'host/*' }, by: rack, percent: 10 };
    expect(of(policy, {}, { resources: undefined, ofKind: () => undefined })!.demand).toMatchObject({
      unknown: [{ policy: 'ops/x' }],
    });
    expect(of(policy, {}, { ...world, ofKind: () => undefined })!.demand).toMatchObject({
      budgets: [],
      unknown: [{}, {}],
    });
    expect(of(policy, { targets: ['host/z'] })!.demand!.refused[0]!.saw).toMatch(
      /host\/z is not in the inventory.*rack/,
    );
  });

  test('labels choose targets; quotas count the run once per key', () => {
    const policy = {
      type: 'quota',
      match: { labels: { service: ['pay'] } },
      by: rack,
      windows: [{ runs: 3, within: '1h' }],
    };
    expect(of(policy)!.demand!.budgets).toMatchObject([
      { key: 'r7', units: ['run-1'], rooms: [{ max: 3, withinMs: 3_600_000 }] },
      { key: 'r8', units: ['run-1'] },
    ]);
    expect(of({ type: 'quota', runs: 5, by: '${initiator.team}' })!.demand!.budgets[0]!.key).toBe('team-fleet');
  });

  test('those that ask the same people ask once, as the strictest of them wants', () => {
    const one = readPolicy('ops/a', doc(ask({ timeout: '2h' })), 'a');
    const two = readPolicy(
      'ops/b',
      doc({ type: 'approval', approvers: { groups: ['sre'], min: 2, excludeInitiator: true }, timeout: '1h' }),
      'b',
    );
    expect(weigh([one, two], subject, world, NOW)!.demand!.approvals).toMatchObject([
      { policy: 'ops/a, ops/b', timeoutMs: 3_600_000, approvers: { groups: ['sre'], min: 2, excludeInitiator: true } },
    ]);
  });

  test('keys become one part of a path', () => {
    expect(counterOf('ops/x', 'a/b%')).toBe('budget/ops/x/a%2Fb%25');
    expect(counterOf('ops/x', '..')).toBe('budget/ops/x/%..');
    expect(counterOf('ops/x', `${'ü'.repeat(300)}a`)).not.toBe(counterOf('ops/x', `${'ü'.repeat(300)}b`));
  });
});

describe('calendars', () => {
  const at = (text: string): Date => new Date(text);
  const until = (during: object, when: string): string | undefined => stretchAt(during, at(when))?.until?.toISOString();
  const nightly = { rrule: 'FREQ=DAILY', start: '22:00', for: '6h', zone: 'Europe/Berlin' };
  test.each<[object, string, string | undefined]>([
    [nightly, '2026-01-10T20:59:59Z', undefined],
    [nightly, '2026-01-10T21:00:00Z', '2026-01-11T03:00:00.000Z'],
    [nightly, '2026-01-11T02:59:59Z', '2026-01-11T03:00:00.000Z'],
    [nightly, '2026-01-11T03:00:00Z', undefined],
    // Summer time: the wall clock counts for the beginning, the hours for the length.
    [nightly, '2026-07-10T20:30:00Z', '2026-07-11T02:00:00.000Z'],
    [nightly, '2026-03-28T21:30:00Z', '2026-03-29T03:00:00.000Z'],
    [
      { rrule: 'FREQ=MONTHLY;BYMONTHDAY=-1', start: '18:00', for: '12h', zone: 'Asia/Shanghai' },
      '2026-02-28T11:00:00Z',
      '2026-02-28T22:00:00.000Z',
    ],
    [
      { rrule: 'FREQ=MONTHLY;BYMONTHDAY=-1', start: '18:00', for: '12h', zone: 'Asia/Shanghai' },
      '2026-02-27T11:00:00Z',
      undefined,
    ],
    [{ rrule: 'FREQ=WEEKLY;BYDAY=SA,SU', for: '1d', zone: 'UTC' }, '2026-03-07T12:00:00Z', '2026-03-09T00:00:00.000Z'],
    [
      { from: '2026-12-24T00:00:00', until: '2026-12-27T00:00:00', zone: 'America/New_York' },
      '2026-12-24T04:00:00Z',
      undefined,
    ],
    [
      { from: '2026-12-24T00:00:00', until: '2026-12-27T00:00:00', zone: 'America/New_York' },
      '2026-12-24T05:00:00Z',
      '2026-12-27T05:00:00.000Z',
    ],
  ])('%j at %s → %s', (during, when, expected) => expect(until(during, when)).toBe(expected));
});

const none: PolicyFacts = { refused: [], unknown: [], later: [], budgets: [], freezes: [], approvals: [], storms: [] };
const budget = (room: object, act = 'queue'): Json => ({
  policy: 'ops/b',
  digest: '',
  key: 'r7',
  counter: 'c',
  act,
  noun: 'targets',
  holders: [],
  rooms: [{ max: 2, used: 0, fresh: 1, ahead: 0, ...room }],
});
const held = { policy: 'ops/f', digest: '', until: '2026-01-01T00:00:00.000Z', then: 'hold', perMinute: 60 };
const question = (state: string): Json => ({
  policy: 'ops/a',
  digest: '',
  approvers: { groups: ['sre'], min: 2 },
  timeoutMs: 1,
  onTimeout: 'reject',
  asked: { state, by: ['ann', 'bob'] },
});

test.each<[string, object, string, RegExp | undefined]>([
  ['nothing', {}, 'ok', undefined],
  ['room', { budgets: [budget({})] }, 'ok', undefined],
  ['the last room', { budgets: [budget({ used: 1 })] }, 'ok', undefined],
  ['no room', { budgets: [budget({ used: 2 })] }, 'queued', /r7: 2 of 2 targets at once/],
  ['somebody waits for the last room', { budgets: [budget({ used: 1, ahead: 1 })] }, 'queued', /1 wait before it/],
  ['what is counted already needs none', { budgets: [budget({ used: 2, fresh: 0 })] }, 'ok', undefined],
  ['more than ever fits', { budgets: [budget({ fresh: 3 })] }, 'rejected', /never fits/],
  ['no room and reject', { budgets: [budget({ used: 2 }, 'reject')] }, 'rejected', /r7/],
  ['a freeze', { freezes: [held] }, 'held', /frozen until 2026/],
  ['a freeze that rejects', { freezes: [{ ...held, then: 'reject' }] }, 'rejected', /frozen/],
  [
    'an exception',
    { freezes: [{ ...held, exceptions: {}, asked: { state: 'approved', by: ['ann'] } }] },
    'ok',
    undefined,
  ],
  ['a freeze outranks a full room', { freezes: [held], budgets: [budget({ used: 2 })] }, 'held', /frozen/],
  ['a question', { approvals: [question('none')] }, 'needs-approval', /2 of sre must approve/],
  ['approved', { approvals: [question('approved')] }, 'ok', undefined],
  ['refused', { approvals: [question('rejected')] }, 'rejected', /rejected/],
  ['drift', { approvals: [question('drifted')] }, 'rejected', /not what would run/],
  ['a refusal outranks all', { refused: [{ policy: 'ops/r', saw: 'no' }], freezes: [held] }, 'rejected', /ops\/r: no/],
  ['no inventory', { unknown: [{ policy: 'ops/u', saw: 'no answer' }] }, 'queued', /no answer/],
  ['workers behind', { behind: '900 tasks wait' }, 'queued', /back-pressure: 900/],
])('%s', (_, facts, said, reason) => {
  const verdict = decidePolicies({ ...none, ...facts } as PolicyFacts);
  expect(verdict.said).toBe(said);
  if (reason === undefined) expect(verdict.reason).toBeUndefined();
  else expect(verdict.reason).toMatch(reason);
});
