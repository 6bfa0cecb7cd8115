import type { HaltScope, StartRequest } from '@opsloop/contracts';
import { describe, expect, test } from 'vitest';
import { type AdmissionFacts, decideVerdict } from './admit/verdict.pure.js';
import { inScope } from './halts/halt-scope.pure.js';
import { claimErrors, coverPaths, isCovered, LOCK_KEYS_MAX, mergeClaims, rankOf } from './lock/lock.pure.js';
import { narrow } from './queue/narrow.pure.js';
import { outcomeOf } from './runs/close-run.service.js';
import { statusOf } from './runs/run-view.pure.js';
import { attributeTargets } from './start/start.pure.js';

const halt = { id: 'h1', scope: {}, running: 'pause' as const, reason: 'storm', by: 'me', since: '' };
const holder = { path: 'a', owner: 'x', fence: '7' };

describe('decideVerdict', () => {
  const facts = (f: Partial<AdmissionFacts>): AdmissionFacts => ({
    coalesce: true,
    halts: [],
    claims: 1,
    fence: '8',
    holders: [],
    ahead: [],
    validForMs: 1_000,
    ...f,
  });
  test.each<[string, Partial<AdmissionFacts>, string, string[]]>([
    ['free', {}, 'admitted', ['coalesce', 'halts', 'mutex', 'validFor']],
    ['nothing to lock', { claims: 0, fence: undefined }, 'admitted', ['coalesce', 'halts', 'mutex', 'validFor']],
    ['held by another', { fence: undefined, holders: [holder] }, 'queued', ['coalesce', 'halts', 'mutex', 'validFor']],
    ['behind another', { fence: undefined, ahead: [holder] }, 'queued', ['coalesce', 'halts', 'mutex', 'validFor']],
    [
      'a halt comes before busy claims',
      { fence: undefined, halts: [halt], holders: [holder] },
      'held',
      ['coalesce', 'halts', 'validFor'],
    ],
    [
      'a twin comes before a halt',
      { fence: undefined, twin: 't', halts: [halt] },
      'coalesced',
      ['coalesce', 'validFor'],
    ],
    [
      'a refusal comes before everything',
      { twin: 't', halts: [halt], refused: { policy: 'p', reason: 'no' } },
      'rejected',
      ['p', 'validFor'],
    ],
    [
      'a policy that rejects conflicts',
      { fence: undefined, holders: [holder], onConflict: { policy: 'p', act: 'reject' } },
      'rejected',
      ['coalesce', 'halts', 'p', 'validFor'],
    ],
  ])('%s', (_name, f, verdict, consulted) => {
    const result = decideVerdict(facts(f));
    expect([result.verdict, result.consulted.map((c) => c.policy)]).toEqual([verdict, consulted]);
  });
  const limit = { flow: 'f/l', paths: ['limit/f/l/k'], act: 'queue' as const, holders: [], ahead: [] };
  const run = { path: 'limit/f/l/k', owner: 'o', runId: 'r1' };
  const taken = { ...limit, holders: [run] };
  const blocked = { claims: 2, fence: undefined, holders: [run] };
  test.each<[string, Partial<AdmissionFacts>, string, string[]]>([
    ['free', { claims: 2, limit }, 'admitted', ['limit ok', 'mutex ok']],
    ['taken', { ...blocked, limit: taken }, 'queued', ['limit queue']],
    [
      'taken, and the host too',
      { ...blocked, holders: [holder, run], limit: taken },
      'queued',
      ['limit queue', 'mutex queue'],
    ],
    [
      'free, and the host taken',
      { ...blocked, holders: [holder], limit: { ...limit, act: 'reject' } },
      'queued',
      ['limit ok', 'mutex queue'],
    ],
    ['taken, reject', { ...blocked, limit: { ...taken, act: 'reject' } }, 'rejected', ['limit reject']],
    [
      'taken, coalesce',
      { ...blocked, limit: { ...taken, act: 'coalesce', into: 'r1' } },
      'coalesced',
      ['limit coalesce'],
    ],
    ['taken by what cannot be joined', { ...blocked, limit: { ...taken, act: 'coalesce' } }, 'queued', ['limit queue']],
    [
      'taken, and a policy that rejects other conflicts',
      { ...blocked, limit: taken, onConflict: { policy: 'p', act: 'reject' } },
      'queued',
      ['limit queue'],
    ],
  ])('a limit: %s', (_name, f, verdict, said) => {
    const result = decideVerdict(facts(f));
    const asked = result.consulted.filter((c) => c.policy === 'limit' || c.policy === 'mutex' || c.policy === 'p');
    expect([result.verdict, asked.map((c) => `${c.policy} ${c.said}`)]).toEqual([verdict, said]);
  });
  test('says the place and who is in the way', () => {
    expect(decideVerdict(facts({ fence: undefined, holders: [holder], ahead: [holder, holder] }))).toMatchObject({
      position: 3,
      blockedBy: [holder, holder, holder],
    });
  });
});

test.each<[HaltScope, boolean]>([
  [{}, true],
  [{ rules: ['fleet/*'] }, true],
  [{ rules: ['db/*'] }, false],
  [{ flows: ['fleet/restart'] }, true],
  [{ atoms: ['fleet.*'] }, true],
  [{ atoms: ['db.*'] }, false],
  [{ paths: ['host/dc1'] }, true],
  [{ paths: ['host/dc1/r1/a/disk'] }, true],
  [{ paths: ['host/dc1/r1/ab'] }, false],
  [{ paths: ['host/*/a'] }, true],
  [{ tiers: ['P0'] }, false],
  [{ tiers: ['P1'], domain: 'fleet' }, true],
  [{ tiers: ['P1'], domain: 'db' }, false],
])('halt %j stops the subject: %s', (scope, expected) => {
  expect(
    inScope(scope, {
      rule: 'fleet/down',
      flow: 'fleet/restart',
      atoms: ['fleet.service.restart'],
      targets: ['host/dc1/r1/a'],
      tier: 'P1',
    }),
  ).toBe(expected);
});

test('critical work passes only what came within the difference of the tiers', () => {
  const at = (minutes: number): Date => new Date(minutes * 60_000);
  expect(rankOf('P0', at(14)) < rankOf('P3', at(0))).toBe(true);
  expect(rankOf('P0', at(16)) < rankOf('P3', at(0))).toBe(false);
});

describe('claims', () => {
  test('merge to one per path, the stronger mode', () => {
    expect(
      mergeClaims([
        { path: 'b', mode: 'shared' },
        { path: 'a', mode: 'exclusive' },
        { path: 'a', mode: 'shared' },
      ]),
    ).toEqual([
      { path: 'a', mode: 'exclusive' },
      { path: 'b', mode: 'shared' },
    ]);
  });
  test('cover stays within the bound and covers every path', () => {
    const paths = Array.from({ length: 1_000 }, (_, i) => `host/dc${i % 2}/rack${i % 20}/m${i}`);
    const cover = coverPaths(paths);
    expect(cover.length).toBeLessThanOrEqual(LOCK_KEYS_MAX);
    expect(paths.every((p) => cover.some((c) => p === c || p.startsWith(`${c}/`)))).toBe(true);
    expect(coverPaths(['a/b'])).toEqual(['a/b']);
  });
  test('too deep sets of people are refused', () => {
    const claims = Array.from({ length: 64 }, (_, i) => ({ path: `${i}/b/c/d/e`, mode: 'shared' as const }));
    expect(claimErrors(claims)).toMatchObject([{ pointer: '/claims' }]);
    expect(claimErrors([{ path: 'a//b', mode: 'shared' }])).toMatchObject([{ pointer: '/claims/0/path' }]);
  });
  test.each([
    ['a/b', 'exclusive', 'a', 'exclusive', true],
    ['a/b', 'shared', 'a', 'shared', true],
    ['a/b', 'exclusive', 'a', 'shared', false],
    ['a', 'shared', 'a/b', 'exclusive', false],
  ] as const)('%s %s under a held %s %s is covered: %s', (path, mode, held, heldMode, expected) => {
    expect(isCovered({ path, mode }, [{ path: held, mode: heldMode }])).toBe(expected);
  });
});

test('narrow drops cleared targets and empty batches, and leaves single runs alone', () => {
  const items = ['a', 'b', 'c'].map((path) => ({ path, input: null }));
  const request = {
    targets: ['a', 'b', 'c'],
    perTarget: { items, batches: [['a'], ['b', 'c']] },
  } as unknown as StartRequest;
  expect(narrow(request, new Set(['a']))).toMatchObject({ targets: ['b', 'c'], perTarget: { batches: [['b', 'c']] } });
  expect(narrow(request, new Set())).toBeUndefined();
  expect(narrow({ targets: ['a'] } as unknown as StartRequest, new Set(['a']))).toBeUndefined();
});

test('every target is in the outcome once', () => {
  expect(
    outcomeOf(
      { targets: ['a', 'b'], withdrawn: ['c'] },
      { status: 'failed', targets: [{ path: 'a', status: 'succeeded' }] },
    ),
  ).toEqual([
    { path: 'a', status: 'succeeded' },
    { path: 'b', status: 'failed' },
    { path: 'c', status: 'withdrawn' },
  ]);
});

test.each([
  ['held', null, 'queued'],
  ['admitted', null, 'running'],
  ['closed', 'terminated', 'terminated'],
  ['expired', null, 'cancelled'],
] as const)('state %s with end %s is %s', (state, status, expected) =>
  expect(statusOf({ state, status })).toBe(expected),
);

test('search attributes fit their bounds', () => {
  const many = Array.from({ length: 200 }, (_, i) => `host/dc1/rack${i % 3}/m${i}`);
  expect(attributeTargets(many)).toEqual(['host/dc1/rack0', 'host/dc1/rack1', 'host/dc1/rack2']);
  expect(attributeTargets(['a/b'])).toEqual(['a/b']);
});
