import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Episode, EpisodeInput, EpisodePlan, EpisodeState, GoalTruth } from './machine.pure.js';
import { isLive, nextLook, REFUSALS_MAX, step, UNKNOWNS_MAX } from './machine.pure.js';

const T0 = 1_000_000;
const PLAN: EpisodePlan = {
  goal: true,
  ladder: [
    { id: 'restart', attempts: 2, withinMs: 120_000 },
    { id: 'replace', attempts: 1, withinMs: 600_000 },
    { id: 'page', attempts: 1 },
  ],
  stableForMs: 10_000,
  cooldownMs: 3_600_000,
};

function opened(plan: EpisodePlan = PLAN): Episode {
  const opening = { id: 'e', rule: 'fleet/down', ruleVersion: '1.0.0', resource: 'host/a', branch: 'default', plan };
  const { episode } = step(undefined, { kind: 'open', opening, goal: plan.goal ? 'false' : 'none', budget: true }, T0);
  return { ...episode!, startId: 's1' };
}

/** Runs inputs one second apart; a start gets an id at once, as the service does. */
function play(
  inputs: EpisodeInput[],
  from: Episode = opened(),
  at = T0,
): { episode: Episode; starts: number; effects: string[] } {
  let episode = from;
  let starts = 0;
  const effects: string[] = [];
  inputs.forEach((input, index) => {
    const result = step(episode, input, at + (index + 1) * 1_000);
    episode = result.episode!;
    for (const effect of result.effects) {
      effects.push(effect.kind === 'changed' ? effect.state : effect.kind);
      if (effect.kind === 'start') {
        starts += 1;
        episode = { ...episode, startId: `s${effect.n}` };
      }
    }
  });
  return { episode, starts, effects };
}

const STARTED: EpisodeInput = { kind: 'started' };
const closed = (goal: GoalTruth = 'false', at = T0 + 2_000): EpisodeInput => ({
  kind: 'closed',
  status: 'succeeded',
  at,
  goal,
});
const state = (goal: GoalTruth, goalAt?: number): EpisodeInput => ({
  kind: 'state',
  goal,
  ...(goalAt === undefined ? {} : { goalAt }),
});
const verdict = (
  v: 'rejected' | 'expired' | 'cancelled' | 'withdrawn' | 'queued' | 'admitted',
  goal: GoalTruth = 'false',
): EpisodeInput => ({
  kind: 'verdict',
  verdict: v,
  goal,
});
const due = (goal: GoalTruth, budget = true): EpisodeInput => ({ kind: 'due', goal, budget });

describe('opening', () => {
  const opening = { id: 'e', rule: 'r/r', ruleVersion: '1.0.0', resource: 'host/a', branch: 'b', plan: PLAN };
  it.each<[GoalTruth, boolean, EpisodeState | undefined, string[]]>([
    ['false', true, 'pending', ['start', 'changed']],
    ['unknown', true, 'pending', ['start', 'changed']],
    ['true', true, undefined, []],
    ['false', false, 'exhausted', ['changed']],
  ])('goal %s, budget %s → %s', (goal, budget, expected, effects) => {
    const result = step(undefined, { kind: 'open', opening, goal, budget }, T0);
    expect(result.episode?.state).toBe(expected);
    expect(result.effects.map((e) => e.kind)).toEqual(effects);
  });

  it('asks for the first start as number 1 of rung 0', () => {
    const { effects } = step(undefined, { kind: 'open', opening, goal: 'false', budget: true }, T0);
    expect(effects[0]).toEqual({ kind: 'start', rung: 0, n: 1 });
  });

  it('means nothing without an opening', () => {
    expect(step(undefined, STARTED, T0)).toEqual({ effects: [] });
  });
});

describe('transitions', () => {
  it.each<[string, EpisodeInput[], EpisodeState, string[]]>([
    ['started', [STARTED], 'acting', ['acting']],
    ['queued changes nothing', [verdict('queued')], 'pending', []],
    ['admitted changes nothing', [verdict('admitted')], 'pending', []],
    ['rejected', [verdict('rejected')], 'verifying', ['verifying']],
    ['expired', [verdict('expired')], 'verifying', ['verifying']],
    ['cancelled', [verdict('cancelled')], 'verifying', ['verifying']],
    ['withdrawn without the goal', [verdict('withdrawn')], 'verifying', ['verifying']],
    ['goal true while pending withdraws once', [state('true'), state('true')], 'pending', ['withdraw']],
    ['goal true, then withdrawn', [state('true'), verdict('withdrawn', 'true')], 'steady', ['withdraw', 'steady']],
    ['goal true, but it started first', [state('true'), STARTED], 'acting', ['withdraw', 'acting']],
    ['closed before it started counts as an attempt', [closed()], 'verifying', ['verifying']],
    ['acting ignores states', [STARTED, state('true')], 'acting', ['acting']],
    ['closed with the goal met', [STARTED, closed('true')], 'steady', ['acting', 'steady']],
    ['closed with the goal missed', [STARTED, closed()], 'verifying', ['acting', 'verifying']],
    ['closed without knowing', [STARTED, closed('unknown')], 'verifying', ['acting', 'verifying']],
    ['goal reached while verifying', [STARTED, closed(), state('true')], 'steady', ['acting', 'verifying', 'steady']],
    ['verifying waits for its time', [STARTED, closed(), due('false')], 'verifying', ['acting', 'verifying']],
    [
      'steady and stable',
      [STARTED, closed('true', T0), state('true'), ...Array.from({ length: 12 }, () => due('true'))],
      'converged',
      ['acting', 'steady', 'converged'],
    ],
    ['steady and lost', [STARTED, closed('true'), state('false')], 'verifying', ['acting', 'steady', 'verifying']],
    ['rule off while pending', [{ kind: 'stop', reason: 'off' }], 'withdrawn', ['withdraw', 'withdrawn']],
    [
      'rule off while acting leaves the run',
      [STARTED, { kind: 'stop', reason: 'off' }],
      'withdrawn',
      ['acting', 'withdrawn'],
    ],
    ['a start that cannot be built', [{ kind: 'fail', reason: 'template' }], 'exhausted', ['exhausted']],
    ['late messages of an old run', [STARTED, closed(), STARTED, closed('true')], 'verifying', ['acting', 'verifying']],
  ])('%s', (_name, inputs, expected, effects) => {
    const result = play(inputs);
    expect(result.episode.state).toBe(expected);
    expect(result.effects).toEqual(effects);
  });

  it('walks the whole ladder: two restarts, one replacement, one page, exhausted', () => {
    const rungs: string[] = [];
    let episode = opened();
    let now = T0;
    for (let turn = 0; turn < 10 && isLive(episode); turn += 1) {
      rungs.push(`${episode.plan.ladder[episode.rung]!.id}#${episode.starts}`);
      episode = step(episode, STARTED, (now += 1_000)).episode!;
      episode = step(episode, { kind: 'closed', status: 'failed', at: now, goal: 'false' }, now).episode!;
      now = episode.due!;
      episode = step(episode, due('false'), now).episode!;
      if (isLive(episode)) episode = { ...episode, startId: `s${episode.starts}` };
    }
    expect(rungs).toEqual(['restart#1', 'restart#2', 'replace#3', 'page#4']);
    expect(episode).toMatchObject({ state: 'exhausted', attempts: 4, blockedUntil: now + PLAN.cooldownMs });
  });

  it('counts `within` from the end of the attempt and `stableFor` from the observation that made the goal true', () => {
    const verifying = play([STARTED, closed('false', T0 + 1_500)]).episode;
    expect(verifying.due).toBe(T0 + 1_500 + 120_000);
    const steady = step(verifying, state('true', T0 + 5_000), T0 + 6_000).episode!;
    expect(steady.due).toBe(T0 + 15_000);
    const back = step(steady, state('false'), T0 + 7_000).episode!;
    expect(back.due).toBe(verifying.due);
  });

  it('gives up at the third flap', () => {
    const flap = [state('true'), state('false')];
    expect(play([STARTED, closed(), ...flap, ...flap]).episode.state).toBe('verifying');
    expect(play([STARTED, closed(), ...flap, ...flap, ...flap]).episode.state).toBe('exhausted');
  });

  it('does not count refusals as attempts, and gives up at the fifth in a row', () => {
    let episode = opened();
    for (let refusal = 1; refusal <= REFUSALS_MAX; refusal += 1) {
      expect(episode.state).toBe('pending');
      episode = step(episode, verdict('rejected'), T0).episode!;
      if (refusal < REFUSALS_MAX) {
        expect(episode).toMatchObject({ state: 'verifying', due: T0 + 60_000, attempts: 0 });
        episode = { ...step(episode, due('false'), T0 + 60_000).episode!, startId: 'again' };
        expect(episode).toMatchObject({ rung: 0, starts: refusal + 1 });
      }
    }
    expect(episode).toMatchObject({ state: 'exhausted', refusals: REFUSALS_MAX });
  });

  it('retries a refusal when control says', () => {
    const episode = step(
      opened(),
      { kind: 'verdict', verdict: 'rejected', goal: 'false', retryAt: T0 + 9_000 },
      T0,
    ).episode!;
    expect(episode.due).toBe(T0 + 9_000);
  });

  it('forgets earlier refusals once a start has begun', () => {
    expect(play([verdict('rejected'), STARTED], opened()).episode.refusals).toBe(1);
    const again = {
      ...step({ ...play([verdict('rejected')]).episode, due: T0 }, due('false'), T0).episode!,
      startId: 's2',
    };
    expect(step(again, STARTED, T0).episode!.refusals).toBe(0);
  });

  it('follows the run into which its start was coalesced, and does not withdraw it', () => {
    const following = step(
      opened(),
      { kind: 'verdict', verdict: 'coalesced', goal: 'false', into: 'other' },
      T0,
    ).episode!;
    expect(following).toMatchObject({ state: 'pending', startId: 'other' });
    expect(step(following, state('true'), T0).effects).toEqual([]);
    expect(step(following, STARTED, T0).episode!.state).toBe('acting');
  });

  it('acts only with budget', () => {
    const ready = { ...play([STARTED, closed()]).episode, due: T0 };
    expect(step(ready, due('false', false), T0).episode).toMatchObject({ state: 'exhausted', reason: 'budget' });
  });

  it('never acts on what it does not know, and does not wait for ever', () => {
    let episode: Episode = { ...play([STARTED, closed()]).episode, due: T0 };
    for (let look = 1; look < UNKNOWNS_MAX; look += 1) {
      const result = step(episode, due('unknown'), episode.due!);
      expect(result.effects).toEqual([]);
      episode = result.episode!;
    }
    expect(step(episode, due('unknown'), episode.due!).episode!.state).toBe('exhausted');
  });

  it('without a goal lives as long as its one run, and blocks nothing afterwards', () => {
    const plan: EpisodePlan = { goal: false, ladder: [{ id: 'run', attempts: 1 }], stableForMs: 0, cooldownMs: 1 };
    const end = (status: 'succeeded' | 'failed'): Episode =>
      play([STARTED, { kind: 'closed', status, at: T0, goal: 'none' }], opened(plan)).episode;
    expect(end('succeeded')).toMatchObject({ state: 'converged' });
    expect(end('failed').state).toBe('exhausted');
    expect(end('failed').blockedUntil).toBeUndefined();
    expect(play([verdict('withdrawn', 'none')], opened(plan)).episode.state).toBe('withdrawn');
  });

  it('observes by itself at once after an attempt, then each period', () => {
    const plan = { ...PLAN, observeEveryMs: 10_000 };
    const verifying = play([STARTED, closed()], opened(plan)).episode;
    expect(nextLook(verifying)).toBe(verifying.observeAt);
    const looked = step(verifying, due('false'), T0 + 60_000).episode!;
    expect(looked).toMatchObject({ state: 'verifying', observeAt: T0 + 70_000 });
  });

  it('is reset only when exhausted', () => {
    const done = play([{ kind: 'fail', reason: 'x' }]).episode;
    expect(done.blockedUntil).toBeDefined();
    expect(step(done, { kind: 'reset', reason: 'fixed' }, T0).episode!.blockedUntil).toBeUndefined();
    expect(step(opened(), { kind: 'reset', reason: 'x' }, T0).episode!.state).toBe('pending');
  });
});

describe('whatever happens', () => {
  const truth = fc.constantFrom<GoalTruth>('true', 'false', 'unknown');
  const input: fc.Arbitrary<EpisodeInput> = fc.oneof(
    fc.constant(STARTED),
    fc.record({
      kind: fc.constant('verdict' as const),
      verdict: fc.constantFrom(
        'admitted',
        'queued',
        'held',
        'needs-approval',
        'rejected',
        'expired',
        'cancelled',
        'withdrawn',
      ),
      goal: truth,
    }),
    fc.record({
      kind: fc.constant('verdict' as const),
      verdict: fc.constant('coalesced' as const),
      goal: truth,
      into: fc.constant('other'),
    }),
    fc.record({
      kind: fc.constant('closed' as const),
      status: fc.constantFrom('succeeded', 'failed', 'cancelled', 'terminated'),
      at: fc.constant(T0),
      goal: truth,
    }),
    fc.record({ kind: fc.constant('state' as const), goal: truth }),
    fc.record({ kind: fc.constant('due' as const), goal: truth, budget: fc.boolean() }),
    fc.constant({ kind: 'due', goal: 'false', budget: true } satisfies EpisodeInput),
  ) as fc.Arbitrary<EpisodeInput>;
  const plan: fc.Arbitrary<EpisodePlan> = fc.record(
    {
      goal: fc.constant(true),
      ladder: fc.array(
        fc.record(
          {
            id: fc.constant('r'),
            attempts: fc.integer({ min: 1, max: 3 }),
            withinMs: fc.integer({ min: 1, max: 50_000 }),
          },
          { requiredKeys: ['id', 'attempts'] },
        ),
        { minLength: 1, maxLength: 4 },
      ),
      stableForMs: fc.constantFrom(0, 5_000),
      cooldownMs: fc.constant(1_000),
      observeEveryMs: fc.constant(2_000),
    },
    { requiredKeys: ['goal', 'ladder', 'stableForMs', 'cooldownMs'] },
  );

  it('no live episode is stuck, and no more attempts begin than the ladder has', () => {
    const reached = new Set<EpisodeState>();
    fc.assert(
      fc.property(
        plan,
        fc.array(fc.tuple(input, fc.integer({ min: 0, max: 40_000 })), { maxLength: 80 }),
        (thePlan, steps) => {
          const allowed = thePlan.ladder.reduce((sum, rung) => sum + rung.attempts, 0);
          let episode = opened(thePlan);
          let now = T0;
          let refused = 0;
          let starts = 1;
          for (const [next, wait] of steps) {
            now += wait;
            const before = episode;
            const result = step(episode, next, now);
            episode = result.episode!;
            for (const effect of result.effects) {
              if (effect.kind !== 'start') continue;
              starts += 1;
              expect(effect.n).toBe(starts);
              episode = { ...episode, startId: `s${effect.n}` };
            }
            if (before.state === 'pending' && next.kind === 'verdict' && episode.state !== 'pending') refused += 1;
            reached.add(episode.state);
            if (isLive(episode)) expect(episode.startId !== undefined || nextLook(episode) !== undefined).toBe(true);
            else expect(nextLook(episode)).toBeUndefined();
            expect(episode.attempts).toBeLessThanOrEqual(allowed);
            expect(starts - refused).toBeLessThanOrEqual(allowed);
          }
        },
      ),
      { seed: 20_261_121, numRuns: 2_000 },
    );
    // The inputs have to reach every state, or this says nothing.
    expect([...reached].sort()).toEqual(['acting', 'converged', 'exhausted', 'pending', 'steady', 'verifying']);
  });
});

describe('what a run brought', () => {
  const settled = (inputs: EpisodeInput[], plan = PLAN): (string | undefined)[] => {
    let episode = opened(plan);
    const found: (string | undefined)[] = [];
    inputs.forEach((input, index) => {
      const result = step(episode, input, input.kind === 'due' ? T0 + 1_000_000 * (index + 1) : T0 + index * 1_000);
      episode = {
        ...result.episode!,
        ...(result.effects.some((e) => e.kind === 'start') ? { startId: `s${index}` } : {}),
      };
      const told = result.effects.flatMap((e) => (e.kind === 'changed' ? (e.verified ?? []) : []));
      found.push(told.map((v) => `${v.run}${v.fixed ? '+' : '-'}`).join() || undefined);
    });
    return found;
  };
  it.each<[string, EpisodeInput[], (string | undefined)[]]>([
    ['a goal that became stable', [STARTED, closed('true'), due('true')], [undefined, undefined, 's1+']],
    ['the next attempt on what is still down', [STARTED, closed(), due('false')], [undefined, undefined, 's1-']],
    ['nobody could look', [STARTED, closed(), due('unknown')], [undefined, undefined, undefined]],
    [
      'the second attempt helped',
      [STARTED, closed(), due('false'), STARTED, closed('true'), due('true')],
      [undefined, undefined, 's1-', undefined, undefined, 's2+'],
    ],
    ['it healed before anything ran', [verdict('rejected', 'true'), due('true')], [undefined, undefined]],
    [
      'the rule was switched off',
      [STARTED, closed(), { kind: 'stop', reason: 'x' }],
      [undefined, undefined, undefined],
    ],
  ])('%s', (_name, inputs, expected) => {
    expect(settled(inputs)).toEqual(expected);
  });
  it.each<[EpisodeInput & { kind: 'closed' }, string | undefined]>([
    [{ kind: 'closed', status: 'succeeded', at: T0, goal: 'none' }, 's1+'],
    [{ kind: 'closed', status: 'failed', at: T0, goal: 'none' }, 's1-'],
    [{ kind: 'closed', status: 'cancelled', at: T0, goal: 'none' }, undefined],
  ])('without a goal its own end: %j', (end, expected) => {
    expect(settled([STARTED, end], { ...PLAN, goal: false })).toEqual([undefined, expected]);
  });
});
