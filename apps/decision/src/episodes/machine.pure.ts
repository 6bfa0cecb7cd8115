/**
 * The episode state machine: the story of one resource and one goal, as one pure function.
 *
 * | state     | input → next (effect)                                                                                 |
 * |-----------|-------------------------------------------------------------------------------------------------------|
 * | none      | open, goal false → `pending` (start rung 1) · goal true → no episode · no budget → `exhausted`         |
 * | pending   | started → `acting` · coalesced → follows the other run · refused → `verifying` at retryAt or in 1m,    |
 * |           | the 5th refusal in a row → `exhausted` · goal true → (withdraw), stays; then withdrawn → `steady`      |
 * | acting    | closed → goal true ? `steady` : `verifying`, due = end + within                                        |
 * | verifying | goal true → `steady` · due: next attempt or rung → `pending` (start); nothing left → `exhausted`       |
 * | steady    | due = since + stableFor → `converged` · goal false → `verifying` with the old due; 3 flaps → exhausted |
 *
 * Invariants: a live episode has a due time or an outstanding start; there are never more starts that were not
 * refused than the ladder has attempts.
 */
import type { RunEnd, Verdict } from '@opsloop/contracts';

export type EpisodeState = 'pending' | 'acting' | 'verifying' | 'steady' | 'converged' | 'exhausted' | 'withdrawn';
export const LIVE_STATES: readonly EpisodeState[] = ['pending', 'acting', 'verifying', 'steady'];

/** What is known of the goal: `unknown` is never a reason to act, `none` says that the rule has no goal. */
export type GoalTruth = 'true' | 'false' | 'unknown' | 'none';

/** Refused starts in a row after which somebody has to look: at 1m each, five minutes of asking. */
export const REFUSALS_MAX = 5;
/** Goal lost again while it should become stable: the third time is no accident. */
export const FLAPS_MAX = 3;
/** Looks in a row that brought no answer: at the default of 10s, five minutes. Every wait has an end. */
export const UNKNOWNS_MAX = 30;
/** When a refusal names no time, ask again after a minute. */
export const REFUSAL_RETRY_MS = 60_000;
/** How long an unanswered look waits when the rule names no `observe.every`. */
export const LOOK_EVERY_MS = 10_000;

/** What the machine needs of the rule version that opened the episode; frozen when it opens. */
export interface EpisodePlan {
  goal: boolean;
  ladder: { id: string; attempts: number; withinMs?: number }[];
  stableForMs: number;
  cooldownMs: number;
  /** Set when the rule observes by itself. */
  observeEveryMs?: number;
}

/** Times are milliseconds since 1970. */
export interface Episode {
  id: string;
  rule: string;
  ruleVersion: string;
  resource: string;
  branch: string;
  state: EpisodeState;
  plan: EpisodePlan;
  /** Index into the ladder. */
  rung: number;
  /** Attempts of this rung that started. */
  rungAttempts: number;
  /** Attempts of all rungs that started. */
  attempts: number;
  /** Starts asked for, refused ones counted: the n of the cause of the next start. */
  starts: number;
  refusals: number;
  flaps: number;
  unknowns: number;
  /** Start that we wait for or follow. */
  startId?: string;
  /** The run that acted last and whose effect is being verified. */
  actedId?: string;
  /** Set when `startId` is somebody else's run, into which ours was coalesced. */
  following?: boolean;
  /** A withdraw is on its way. */
  withdrawing?: boolean;
  due?: number;
  observeAt?: number;
  /** Of `steady`: the observation that made the goal true. */
  since?: number;
  /** Of `steady`: the due time to go back to. */
  verifyDue?: number;
  /** Of `exhausted`: no new episode opens before, unless the goal is seen true or an operator resets. */
  blockedUntil?: number;
  reason?: string;
  openedAt: number;
  changedAt: number;
}

export interface Opening {
  id: string;
  rule: string;
  ruleVersion: string;
  resource: string;
  branch: string;
  plan: EpisodePlan;
}

export type EpisodeInput =
  | { kind: 'open'; opening: Opening; goal: GoalTruth; budget: boolean }
  | {
      kind: 'verdict';
      verdict: Verdict;
      goal: GoalTruth;
      goalAt?: number;
      retryAt?: number;
      into?: string;
      reason?: string;
    }
  | { kind: 'started' }
  | { kind: 'closed'; status: RunEnd | 'withdrawn'; at: number; goal: GoalTruth; goalAt?: number }
  | { kind: 'state'; goal: GoalTruth; goalAt?: number }
  | { kind: 'due'; goal: GoalTruth; goalAt?: number; budget: boolean }
  /** Nothing may be tried before a time, such as the end of maintenance. */
  | { kind: 'postpone'; until: number; reason: string }
  /** The rule was switched off or deleted. */
  | { kind: 'stop'; reason: string }
  /** A start could not be built: a template of the rung failed. */
  | { kind: 'fail'; reason: string }
  | { kind: 'reset'; reason: string };

export type EpisodeEffect =
  | { kind: 'start'; rung: number; n: number }
  | { kind: 'withdraw'; id: string; reason: string }
  | { kind: 'changed'; state: EpisodeState; reason?: string; verified?: Verified };

/** What was observed after a run: whether it brought what it was for. */
export interface Verified {
  run: string;
  fixed: boolean;
}

export interface StepResult {
  episode?: Episode;
  effects: EpisodeEffect[];
}

export function isLive(episode: Episode): boolean {
  return LIVE_STATES.includes(episode.state);
}

/** When somebody has to look at the episode next: the earlier of its deadline and its next observation. */
export function nextLook(episode: Episode): number | undefined {
  if (!isLive(episode)) return undefined;
  const times = [episode.due, episode.observeAt].filter((t): t is number => t !== undefined);
  return times.length === 0 ? undefined : Math.min(...times);
}

/** One transition. Inputs that mean nothing in the present state change nothing. */
export function step(episode: Episode | undefined, input: EpisodeInput, now: number): StepResult {
  const result = move(episode, input, now);
  const verified = episode === undefined ? undefined : verifiedBy(episode, input, result.effects);
  if (verified === undefined) return result;
  return {
    ...result,
    effects: result.effects.map((effect) => (effect.kind === 'changed' ? { ...effect, verified } : effect)),
  };
}

/**
 * Whether this transition settles what the last run brought: a goal that became stable was reached by it; a next
 * attempt, or the end of the ladder, on a goal that was seen false says that it was not. What nobody could observe, or
 * a person ended, settles nothing. Without a goal its own end is all that is known.
 */
function verifiedBy(before: Episode, input: EpisodeInput, effects: readonly EpisodeEffect[]): Verified | undefined {
  const changed = effects.find((effect) => effect.kind === 'changed');
  if (changed === undefined) return undefined;
  if (!before.plan.goal) {
    if (input.kind !== 'closed' || before.startId === undefined) return undefined;
    if (input.status === 'succeeded') return { run: before.startId, fixed: true };
    return input.status === 'failed' ? { run: before.startId, fixed: false } : undefined;
  }
  if (before.actedId === undefined) return undefined;
  if (changed.state === 'converged') return { run: before.actedId, fixed: true };
  const seenFalse = (input.kind === 'due' || input.kind === 'state') && input.goal === 'false';
  const over = changed.state === 'exhausted' || effects.some((effect) => effect.kind === 'start');
  return seenFalse && over ? { run: before.actedId, fixed: false } : undefined;
}

function move(episode: Episode | undefined, input: EpisodeInput, now: number): StepResult {
  if (episode === undefined) return input.kind === 'open' ? open(input, now) : { effects: [] };
  if (input.kind === 'reset') return reset(episode, now);
  if (!isLive(episode)) return { episode, effects: [] };
  if (input.kind === 'stop') return stop(episode, input.reason, now);
  if (input.kind === 'fail') return exhaust(episode, input.reason, now);
  switch (episode.state) {
    case 'pending':
      return inPending(episode, input, now);
    case 'acting':
      return input.kind === 'closed' ? closed(episode, input, now) : same(episode);
    case 'verifying':
      return inVerifying(episode, input, now);
    case 'steady':
      return inSteady(episode, input, now);
    default:
      return same(episode);
  }
}

// ---------------------------------------------------------------- none
function open(input: Extract<EpisodeInput, { kind: 'open' }>, now: number): StepResult {
  if (input.goal === 'true') return { effects: [] };
  const fresh: Episode = {
    ...input.opening,
    state: 'pending',
    rung: 0,
    rungAttempts: 0,
    attempts: 0,
    starts: 0,
    refusals: 0,
    flaps: 0,
    unknowns: 0,
    openedAt: now,
    changedAt: now,
  };
  if (!input.budget) return exhaust(fresh, 'budget', now);
  return start(fresh, now);
}

// ---------------------------------------------------------------- pending
function inPending(episode: Episode, input: EpisodeInput, now: number): StepResult {
  switch (input.kind) {
    case 'started':
      return moved(started(episode), 'acting', now);
    case 'closed':
      // Admitted, then refused by Temporal: it closes without ever having started. It counts as an attempt, since
      // the same input would be refused for ever.
      return closed(started(episode), input, now);
    case 'state':
      return input.goal === 'true' ? withdrawStart(episode, 'goal met before the start') : same(episode);
    case 'verdict':
      return onVerdict(episode, input, now);
    default:
      return same(episode);
  }
}

function onVerdict(episode: Episode, input: Extract<EpisodeInput, { kind: 'verdict' }>, now: number): StepResult {
  switch (input.verdict) {
    case 'coalesced':
      if (input.into === undefined) return same(episode);
      return same({ ...episode, startId: input.into, following: true });
    case 'rejected':
    case 'expired':
    case 'cancelled':
    case 'withdrawn':
      return refused(episode, input, now);
    default:
      return same(episode);
  }
}

function refused(episode: Episode, input: Extract<EpisodeInput, { kind: 'verdict' }>, now: number): StepResult {
  const freed = withoutStart({ ...episode, refusals: episode.refusals + 1 });
  const reason = input.reason === undefined ? input.verdict : `${input.verdict}: ${input.reason}`;
  if (input.goal === 'true') return toSteady({ ...freed, refusals: 0 }, input.goalAt ?? now, now, now);
  if (!freed.plan.goal && input.verdict === 'withdrawn') return finish(freed, 'withdrawn', reason, now);
  if (!freed.plan.goal && input.verdict === 'cancelled') return exhaust(freed, reason, now);
  if (freed.refusals >= REFUSALS_MAX)
    return exhaust(freed, `${REFUSALS_MAX} starts in a row were refused, last: ${reason}`, now);
  return toVerifying(freed, Math.max(now, input.retryAt ?? now + REFUSAL_RETRY_MS), now, reason);
}

function withdrawStart(episode: Episode, reason: string): StepResult {
  // Another's run cannot be withdrawn by us; ours only once.
  if (episode.startId === undefined || episode.following || episode.withdrawing) return same(episode);
  return { episode: { ...episode, withdrawing: true }, effects: [{ kind: 'withdraw', id: episode.startId, reason }] };
}

function started(episode: Episode): Episode {
  return { ...episode, rungAttempts: episode.rungAttempts + 1, attempts: episode.attempts + 1, refusals: 0 };
}

// ---------------------------------------------------------------- acting
function closed(episode: Episode, input: Extract<EpisodeInput, { kind: 'closed' }>, now: number): StepResult {
  const freed = { ...withoutStart(episode), ...(episode.startId === undefined ? {} : { actedId: episode.startId }) };
  if (!freed.plan.goal) {
    if (input.status === 'succeeded') return finish(freed, 'converged', 'run succeeded', now);
    if (input.status === 'withdrawn') return finish(freed, 'withdrawn', 'run withdrawn', now);
    return exhaust(freed, `run ${input.status}`, now);
  }
  // Without `within` the ladder is over; the due tick takes one last look before it says so.
  const due = input.at + (freed.plan.ladder[freed.rung]?.withinMs ?? 0);
  if (input.goal === 'true') return toSteady(freed, input.goalAt ?? now, due, now);
  return toVerifying(freed, due, now, `run ${input.status}`);
}

// ---------------------------------------------------------------- verifying
function inVerifying(episode: Episode, input: EpisodeInput, now: number): StepResult {
  if (input.kind === 'postpone') return postponed(episode, input.until, input.reason);
  if (input.kind !== 'state' && input.kind !== 'due') return same(episode);
  const looked = afterLook(episode, input, now);
  if (input.goal === 'true') return toSteady({ ...looked, unknowns: 0 }, input.goalAt ?? now, episode.due ?? now, now);
  if (input.kind === 'state' || now < (episode.due ?? 0)) return same(looked);
  if (input.goal === 'unknown') return stillUnknown(looked, now);
  const next = nextRung(looked);
  if (next === undefined) return exhaust(looked, 'the ladder is used up and the goal is not met', now);
  if (!input.budget) return exhaust(looked, 'budget', now);
  return start({ ...next, unknowns: 0 }, now);
}

/** Attempts wait; looks go on, so that an episode that heals by itself still ends. */
function postponed(episode: Episode, until: number, reason: string): StepResult {
  return (episode.due ?? 0) >= until ? same(episode) : same({ ...episode, due: until, reason });
}

/** Same rung while it has attempts, else the next one; a rung without `within` ends the ladder once it has started. */
function nextRung(episode: Episode): Episode | undefined {
  const rung = episode.plan.ladder[episode.rung];
  if (rung === undefined) return undefined;
  if (episode.rungAttempts > 0 && rung.withinMs === undefined) return undefined;
  if (episode.rungAttempts < rung.attempts) return episode;
  if (episode.rung + 1 >= episode.plan.ladder.length) return undefined;
  return { ...episode, rung: episode.rung + 1, rungAttempts: 0 };
}

function stillUnknown(episode: Episode, now: number): StepResult {
  const unknowns = episode.unknowns + 1;
  if (unknowns >= UNKNOWNS_MAX) return exhaust(episode, 'the goal could not be observed', now);
  return same({ ...episode, unknowns, due: now + (episode.plan.observeEveryMs ?? LOOK_EVERY_MS) });
}

// ---------------------------------------------------------------- steady
function inSteady(episode: Episode, input: EpisodeInput, now: number): StepResult {
  if (input.kind !== 'state' && input.kind !== 'due') return same(episode);
  const looked = afterLook(episode, input, now);
  if (input.goal === 'false') {
    const flapped = { ...looked, flaps: looked.flaps + 1 };
    if (flapped.flaps >= FLAPS_MAX) return exhaust(flapped, `the goal was reached and lost ${FLAPS_MAX} times`, now);
    return toVerifying(flapped, episode.verifyDue ?? now, now, 'the goal was lost again');
  }
  if (input.kind === 'state' || now < (episode.due ?? 0)) return same(looked);
  if (input.goal === 'true') return finish(looked, 'converged', 'goal met and stable', now);
  return stillUnknown(looked, now);
}

// ---------------------------------------------------------------- helpers
function same(episode: Episode): StepResult {
  return { episode, effects: [] };
}

/** The next look is one period away, counted from this one, so a slow look never piles up. */
function afterLook(episode: Episode, input: EpisodeInput, now: number): Episode {
  if (input.kind !== 'due' || episode.observeAt === undefined || now < episode.observeAt) return episode;
  return { ...episode, observeAt: now + (episode.plan.observeEveryMs ?? LOOK_EVERY_MS) };
}

function start(episode: Episode, now: number): StepResult {
  const n = episode.starts + 1;
  const {
    due: _due,
    observeAt: _observeAt,
    since: _since,
    verifyDue: _verifyDue,
    reason: _reason,
    actedId: _acted,
    ...rest
  } = episode;
  const next = moved({ ...rest, starts: n }, 'pending', now);
  return { episode: next.episode!, effects: [{ kind: 'start', rung: episode.rung, n }, ...next.effects] };
}

function withoutStart(episode: Episode): Episode {
  const { startId: _startId, following: _following, withdrawing: _withdrawing, ...rest } = episode;
  return rest;
}

function toVerifying(episode: Episode, due: number, now: number, reason: string): StepResult {
  const { since: _since, verifyDue: _verifyDue, ...rest } = episode;
  return moved({ ...rest, due, ...firstLook(episode, now) }, 'verifying', now, reason);
}

function toSteady(episode: Episode, since: number, verifyDue: number, now: number): StepResult {
  return moved(
    { ...episode, since, verifyDue, due: since + episode.plan.stableForMs, ...firstLook(episode, now) },
    'steady',
    now,
    'goal met',
  );
}

function firstLook(episode: Episode, now: number): { observeAt?: number } {
  return episode.plan.observeEveryMs === undefined ? {} : { observeAt: episode.observeAt ?? now };
}

function moved(episode: Episode, state: EpisodeState, now: number, reason?: string): StepResult {
  const { reason: _old, ...rest } = episode;
  const why = reason === undefined ? {} : { reason };
  return { episode: { ...rest, ...why, state, changedAt: now }, effects: [{ kind: 'changed', state, ...why }] };
}

function finish(
  episode: Episode,
  state: 'converged' | 'exhausted' | 'withdrawn',
  reason: string,
  now: number,
): StepResult {
  const { due: _due, observeAt: _observeAt, ...rest } = withoutStart(episode);
  return moved(rest, state, now, reason);
}

function exhaust(episode: Episode, reason: string, now: number): StepResult {
  const done = finish(episode, 'exhausted', reason, now);
  // Without a goal there is nothing that could be seen true, so nothing is blocked either.
  if (!episode.plan.goal) return done;
  return { ...done, episode: { ...done.episode!, blockedUntil: now + episode.plan.cooldownMs } };
}

function stop(episode: Episode, reason: string, now: number): StepResult {
  const withdraw = episode.state === 'pending' ? withdrawStart(episode, reason).effects : [];
  const done = finish(episode, 'withdrawn', reason, now);
  return { episode: done.episode!, effects: [...withdraw, ...done.effects] };
}

function reset(episode: Episode, now: number): StepResult {
  if (episode.state !== 'exhausted' || episode.blockedUntil === undefined) return same(episode);
  const { blockedUntil: _blocked, ...rest } = episode;
  return { episode: { ...rest, changedAt: now }, effects: [] };
}
