/** Explanations as lines that can be read at 3 a.m.: what, since when, why, and what comes next. */
import type { DecisionView, EventMessage, HoldsView, Json, JsonObject, RuleLine, Side } from '@opsloop/contracts';
import { printDuration } from '@opsloop/contracts';
import type { Episode } from '../episodes/machine.pure.js';
import type { EpisodeRow, Resource } from '../store/model.js';
import { rungName } from './views.pure.js';

/** `12s`, `4m`, `2h30m`: two units at most, since nobody needs the seconds of yesterday. */
export function age(from: number, now: number): string {
  const ms = Math.max(0, now - from);
  const unit = ms < 60_000 ? 1_000 : ms < 86_400_000 ? 60_000 : 3_600_000;
  return printDuration(Math.floor(ms / unit) * unit);
}

function show(value: Json): string {
  const text = typeof value === 'string' ? `'${value}'` : JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}

// ---------------------------------------------------------------- event
export function eventText(
  event: EventMessage,
  notes: JsonObject,
  rules: readonly RuleLine[],
  decisions: readonly DecisionView[],
): string {
  const lines = [
    `${event.type}${event.subject === undefined ? '' : ` about ${event.subject}`} from ${event.source} at ${event.time}${notesText(notes)}`,
  ];
  const [candidates, others] = [
    rules.filter((r) => r.verdict !== 'no-match'),
    rules.filter((r) => r.verdict === 'no-match'),
  ];
  for (const rule of candidates)
    lines.push(`rule ${rule.rule}@${rule.version}${sideText(rule.side)}: ${ruleText(rule)}`);
  for (const decision of decisions) lines.push(decisionText(decision));
  if (rules.length === 0) lines.push('no rule was live');
  // The reasons of the others stand in `rules`; a list of a hundred rules that have nothing to do with it helps nobody.
  if (others.length > 0)
    lines.push(
      others.length === 1
        ? `rule ${others[0]!.rule} does not match: ${becauseText(others[0]!)}`
        : `${others.length} other rules do not match`,
    );
  return lines.join('\n');
}

/** The bus delivers in milliseconds and again within 5 s; above this the event is not merely on its way. */
const ON_ITS_WAY_MS = 30_000;

/** An event that is stored and has no trace. */
export function undecidedText(event: EventMessage, now: number, retentionMs: number): string {
  const since = now - Date.parse(event.receivedAt);
  if (since < ON_ITS_WAY_MS) return `${event.type} is stored and will be decided in a moment`;
  if (since >= retentionMs)
    return `${event.type} was decided ${age(0, since)} ago; how is kept for ${age(0, retentionMs)} only`;
  return `${event.type} is stored since ${age(0, since)} and was not decided: decision is behind or could not handle it; see bus lag and dead messages in /metrics`;
}

function notesText(notes: JsonObject): string {
  const parts = [
    ...(notes['stale'] === true ? ['late: a newer state is known'] : []),
    ...(notes['clockSkew'] === true ? ['the sender gave no time that can be right, ours counts'] : []),
  ];
  return parts.length === 0 ? '' : ` (${parts.join('; ')})`;
}

const VERDICT_TEXT: Readonly<Record<string, string>> = {
  decided: 'decided',
  halted: 'decided, held by a halt',
  maintenance: 'decided, held by maintenance',
  false: 'its condition is false',
  stale: 'the event is too late',
  waiting: 'waits',
  deduped: 'a duplicate',
  grouped: 'collected in a group',
  'episode-open': 'joins the open episode',
  'own-effect': 'an effect of our own run',
  cooldown: 'rests after an exhausted episode',
  'goal-met': 'nothing to do, the goal is met',
  budget: 'over budget',
  'no-branch': 'no branch fits',
  shadow: 'only watches (shadow)',
  rollout: 'outside the rollout',
  'hop-limit': 'too many runs caused this event',
  error: 'could not be judged',
};

/** Which of two versions this is, and why it acted or did not. */
function sideText(side: Side | undefined): string {
  if (side === undefined) return '';
  const { acts, percent, bucket, beside } = side;
  const place = bucket === undefined ? '' : `place ${bucket} of 100, `;
  return ` (${place}the version that is tried acts below ${percent}: ${acts ? 'this one acts' : 'this one only watches'}, ${beside} ${acts ? 'watches' : 'acts'})`;
}

function ruleText(rule: RuleLine): string {
  const because = rule.because === undefined ? '' : `: ${becauseText(rule)}`;
  return `${VERDICT_TEXT[rule.verdict] ?? rule.verdict}${because}`;
}

function becauseText({ because }: RuleLine): string {
  return because?.text ?? 'no reason was kept';
}

function decisionText(decision: DecisionView): string {
  const on =
    decision.targets.length <= 3
      ? decision.targets.join(', ')
      : `${decision.targets.length} targets in ${decision.batches.length} batches`;
  const admission = decision.admissions[0];
  const reason = admission?.reason === undefined ? '' : ` (${admission.reason})`;
  const status =
    admission?.status === undefined || admission.status === admission.verdict ? '' : `, ${admission.status}`;
  return `${decision.tier} ${decision.branch}/${decision.rung}: ${decision.ref} on ${on}: ${admission?.verdict ?? 'pending'}${status}${reason}`;
}

// ---------------------------------------------------------------- resource
export interface ResourceStory {
  resource: Resource;
  episodes: EpisodeRow[];
  /** The newest ended one, for when none is open. */
  last?: EpisodeRow;
  holds: HoldsView;
  /** Set when control did not answer: then holds are what we last heard. */
  controlSilent?: boolean;
  goals: Record<string, string>;
  now: number;
}

/** Six lines: state and age, episode and rung, who holds it, what waits, halts, what comes next. */
export function resourceText(story: ResourceStory): string {
  return [
    stateLine(story),
    episodeLine(story),
    holdLine(story),
    waitLine(story),
    haltLine(story),
    nextLine(story),
  ].join('\n');
}

function stateLine({ resource, now }: ResourceStory): string {
  if (resource.observedAt === undefined) return `${resource.path}: nothing was ever observed`;
  const keys = Object.entries(resource.state).filter(([, value]) => typeof value !== 'number');
  const state = keys.map(([key, value]) => `${key} = ${show(value)}`).join(', ') || 'empty';
  const changed = Object.entries(resource.stateAt)
    .filter(([key]) => keys.some(([k]) => k === key))
    .map(([, at]) => Date.parse(at));
  const since = changed.length === 0 ? '' : ` since ${age(Math.max(...changed), now)}`;
  return `${resource.path}: ${state}${since}, seen ${age(Date.parse(resource.observedAt), now)} ago`;
}

function episodeLine({ episodes, last, now }: ResourceStory): string {
  if (episodes.length === 0) {
    if (last === undefined) return 'episode: none';
    const { episode } = last;
    return `episode: none open; the last (${episode.rule}) ${episode.state} ${age(episode.changedAt, now)} ago${episode.reason === undefined ? '' : `: ${episode.reason}`}`;
  }
  const texts = episodes.map(({ episode }) => {
    const rung = episode.plan.ladder[episode.rung];
    const attempt = Math.max(1, episode.rungAttempts + (episode.state === 'pending' ? 1 : 0));
    const of = rung === undefined ? '' : `, attempt ${attempt} of ${rung.attempts}`;
    return `${episode.rule} is ${episode.state} on rung ${rungName(episode)}${of}, open for ${age(episode.openedAt, now)}`;
  });
  return `episode: ${texts.join('; ')}`;
}

function holdLine({ holds, controlSilent, now }: ResourceStory): string {
  const silent = controlSilent === true ? ' (control does not answer; this is what we last heard)' : '';
  if (holds.locks.length === 0) return `held by: nobody${silent}`;
  const texts = holds.locks.map((lock) => {
    const who =
      lock.runId === undefined ? lock.owner : `run ${lock.runId}${lock.owner === lock.runId ? '' : ` (${lock.owner})`}`;
    const fence = lock.fence === '' ? '' : `, fence ${lock.fence}`;
    return `${who} ${lock.mode} on ${lock.path} for ${age(Date.parse(lock.since), now)}${fence}${lock.state === 'releasing' ? ', releasing' : ''}`;
  });
  return `held by: ${texts.join('; ')}${silent}`;
}

function waitLine({ holds, controlSilent, now }: ResourceStory): string {
  if (controlSilent === true) return 'waiting: unknown, control does not answer';
  if (holds.waiting.length === 0) return 'waiting: nothing';
  const texts = holds.waiting.map(
    (one) =>
      `${one.flow} ${one.verdict}${one.position === undefined ? '' : ` at place ${one.position}`} for ${age(Date.parse(one.since), now)}`,
  );
  return `waiting: ${texts.join('; ')}`;
}

function haltLine({ holds, controlSilent }: ResourceStory): string {
  if (controlSilent === true) return 'halts: unknown, control does not answer; without it nothing starts';
  const texts = [
    ...holds.halts.map((h) => `halt ${h.id} by ${h.by}: ${h.reason}`),
    ...holds.maintenance.map((h) => `maintenance until ${h.until ?? 'lifted'}: ${h.reason}`),
  ];
  return texts.length === 0 ? 'halts: none' : `halts: ${texts.join('; ')}`;
}

function nextLine({ episodes, last, goals, holds, now }: ResourceStory): string {
  if (holds.halts.length > 0) return 'next: nothing starts until the halt is lifted';
  const [maintenance] = holds.maintenance;
  if (maintenance !== undefined)
    return `next: nothing starts before the maintenance ends, ${maintenance.until ?? 'when it is lifted'}`;
  if (episodes.length > 0) {
    const texts = episodes.map(({ episode }) => {
      const rule = episodes.length === 1 ? '' : `${episode.rule}: `;
      return `${rule}${nextOf(episode, goals[episode.rule], now)}`;
    });
    return `next: ${texts.join('; ')}`;
  }
  const blocked = last?.episode.blockedUntil;
  if (blocked !== undefined && blocked > now)
    return `next: nothing opens for ${age(now, blocked)}, unless the goal is seen true or somebody resets episode ${last!.episode.id}`;
  return 'next: nothing is due';
}

function nextOf(episode: Episode, goal: string | undefined, now: number): string {
  const inTime = episode.due === undefined ? '' : episode.due <= now ? 'now' : `in ${age(now, episode.due)}`;
  switch (episode.state) {
    case 'pending':
      return episode.following === true
        ? `waits for run ${episode.startId}, which does the same work`
        : `${rungName(episode)} starts when control admits it`;
    case 'acting':
      return goal === undefined
        ? 'the end of the run ends the episode'
        : `when the run ends the goal is checked: ${goal}`;
    case 'verifying':
      return `${inTime}, unless ${goal ?? 'it clears'}: ${afterThis(episode)}`;
    case 'steady':
      return `${inTime} it has converged, if it stays so`;
    default:
      return 'nothing';
  }
}

function afterThis(episode: Episode): string {
  const rung = episode.plan.ladder[episode.rung];
  if (rung === undefined || (episode.rungAttempts > 0 && rung.withinMs === undefined))
    return 'the ladder is used up and somebody has to look';
  if (episode.rungAttempts < rung.attempts) return `rung ${rung.id} again`;
  const next = episode.plan.ladder[episode.rung + 1];
  return next === undefined ? 'the ladder is used up and somebody has to look' : `rung ${next.id}`;
}
