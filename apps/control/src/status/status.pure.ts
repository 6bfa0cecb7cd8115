/** The one screen for three in the morning: worst first, each line with what to type. */
import {
  type Diagnosis,
  DIAGNOSIS_CODES,
  type HaltView,
  type StatusItem,
  type StatusLevel,
  type StatusView,
} from '@opsloop/contracts';
import { ago } from '../diagnose/diagnosis.pure.js';
import { describeScope } from '../halts/halt-scope.pure.js';

export interface StatusFacts {
  now: Date;
  counts: StatusView['counts'];
  /** False: Temporal does not answer. */
  temporal: boolean;
  /** False: nobody takes tasks of this queue of ours. Undefined: unknown. */
  interpreter: boolean | undefined;
  halts: readonly HaltView[];
  /** Open runs that do not go on. */
  stuck: readonly { run: string; flow: string; found: readonly Diagnosis[] }[];
  unstarted: { count: number; run?: string | undefined };
  long: { count: number; run?: string | undefined };
  failed: readonly { flow: string; count: number; run: string }[];
  undone: { count: number; run?: string | undefined };
  /** Schedules that cannot fire, or whose last firing started nothing. */
  schedules: readonly { name: string; problem: string }[];
  paused: number;
  approvals: readonly { id: string; title: string; expiresAt: Date }[];
  queued: { count: number; run?: string | undefined; since?: Date | undefined };
  held: number;
}

/** A start that is not under way after this long has a reason that somebody should see. */
export const UNSTARTED_S = 30;
/** Runs this old are shown as long, which most ops work is not. */
export const LONG_S = 3_600;
/** Questions and flows named one by one; the rest is a number. A screen has some 24 lines. */
const NAMED_MAX = 5;
/** A question that runs out soon comes before the others. */
const EXPIRES_SOON_MS = 10 * 60_000;

const LEVELS: readonly StatusLevel[] = ['down', 'stopped', 'stuck', 'failing', 'waiting', 'ok'];

/** Stable: the same facts give the same lines in the same order. */
export function statusOf(facts: StatusFacts): StatusView {
  const items = [
    ...down(facts),
    ...facts.halts.map((halt) => haltItem(halt)),
    ...stuckItems(facts),
    ...failing(facts),
    ...waiting(facts),
  ];
  if (items.length === 0)
    items.push({
      level: 'ok',
      code: 'ok',
      title: `nothing is in the way; ${facts.counts.running} running`,
      next: 'opsloop runs ls',
    });
  const sorted = items.toSorted((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
  const worst = sorted[0]!.level;
  return {
    ok: worst === 'ok' || worst === 'waiting',
    at: facts.now.toISOString(),
    counts: facts.counts,
    items: sorted,
  };
}

function down({ temporal, interpreter }: StatusFacts): StatusItem[] {
  if (!temporal)
    return [
      {
        level: 'down',
        code: 'temporal',
        title: 'Temporal does not answer: admitted work waits, running steps end where they are, nothing is lost',
        next: 'opsloop doctor',
      },
    ];
  return interpreter === false
    ? [
        {
          level: 'down',
          code: 'interpreter',
          title: 'no interpreter takes work: runs start and do nothing',
          next: 'opsloop doctor',
        },
      ]
    : [];
}

function haltItem(h: HaltView): StatusItem {
  const until = h.until === undefined ? '' : ` until ${h.until}`;
  return {
    level: 'stopped',
    code: h.brake === undefined ? 'halt' : 'brake',
    title: `${h.brake === undefined ? 'halt' : 'automatic brake'} on ${describeScope(h.scope)} since ${h.since}${until} by ${h.by}: ${h.reason}`,
    next: `opsloop halts lift ${h.id} --reason "…"`,
    since: h.since,
  };
}

const runs = (n: number): string => `${n} run${n === 1 ? '' : 's'}`;
const counted = (count: number): { count: number } => ({ count });

function stuckItems({ stuck, unstarted, long }: StatusFacts): StatusItem[] {
  const items: StatusItem[] = [];
  // One line per reason, and per queue or place where the reason names one.
  const groups = new Map<string, { one: Diagnosis; run: string; count: number; since?: string | undefined }>();
  for (const { run, found } of stuck) {
    const [one] = found;
    if (one === undefined) continue;
    const key = `${one.code} ${one.code === 'no-worker' || one.code === 'workers-busy' ? (/queue (\S+?)[;,]/.exec(one.says)?.[1] ?? '') : ''}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { one, run, count: 1, since: one.since });
    else group.count += 1;
  }
  const ordered = [...groups.values()].toSorted(
    (a, b) => DIAGNOSIS_CODES.indexOf(a.one.code) - DIAGNOSIS_CODES.indexOf(b.one.code) || b.count - a.count,
  );
  for (const { one, run, count, since } of ordered)
    items.push({
      level: 'stuck',
      code: `stuck.${one.code}`,
      title: `${runs(count)}: ${one.says}`,
      next: `opsloop runs show ${run}`,
      ...counted(count),
      ...(since === undefined ? {} : { since }),
    });
  if (unstarted.count > 0)
    items.push({
      level: 'stuck',
      code: 'stuck.unstarted',
      title: `${unstarted.count} admitted for more than ${UNSTARTED_S} s and not started`,
      next: `opsloop runs show ${unstarted.run}`,
      ...counted(unstarted.count),
    });
  if (long.count > 0)
    items.push({
      level: 'stuck',
      code: 'stuck.long',
      title: `${long.count} running for more than an hour`,
      next: `opsloop runs show ${long.run}`,
      ...counted(long.count),
    });
  return items;
}

function failing({ failed, undone, schedules }: StatusFacts): StatusItem[] {
  const items: StatusItem[] = [];
  if (undone.count > 0)
    items.push({
      level: 'failing',
      code: 'undone',
      title: `${undone.count} ended in the last hour with something that could not be undone`,
      next: `opsloop runs show ${undone.run}`,
      ...counted(undone.count),
    });
  for (const { name, problem } of schedules.slice(0, NAMED_MAX))
    items.push({
      level: 'failing',
      code: 'schedule',
      title: `schedule ${name} starts nothing: ${problem}`,
      next: `opsloop schedules firings ${name}`,
    });
  for (const { flow, count, run } of failed.slice(0, NAMED_MAX))
    items.push({
      level: 'failing',
      code: 'failed',
      title: `${count} of ${flow} failed in the last hour`,
      next: `opsloop runs show ${run}`,
      ...counted(count),
    });
  const rest = failed.slice(NAMED_MAX).reduce((sum, one) => sum + one.count, 0);
  if (rest > 0)
    items.push({
      level: 'failing',
      code: 'failed',
      title: `${rest} of ${failed.length - NAMED_MAX} other flows failed in the last hour`,
      next: 'opsloop runs ls --status failed',
      ...counted(rest),
    });
  return items;
}

function waiting({ now, approvals, paused, held, queued, counts }: StatusFacts): StatusItem[] {
  const items: StatusItem[] = [];
  for (const { id, title, expiresAt } of approvals.slice(0, NAMED_MAX)) {
    const leftMs = expiresAt.getTime() - now.getTime();
    items.push({
      level: 'waiting',
      code: leftMs < EXPIRES_SOON_MS ? 'approval.soon' : 'approval',
      title: `"${title}" is asked; ${leftMs > 0 ? `${ago(leftMs)} left` : 'its time is over'}`,
      next: `opsloop approvals show ${id}`,
    });
  }
  if (counts.approvals > NAMED_MAX)
    items.push({
      level: 'waiting',
      code: 'approval',
      title: `${counts.approvals - NAMED_MAX} more questions are asked`,
      next: 'opsloop approvals ls',
      ...counted(counts.approvals - NAMED_MAX),
    });
  if (paused > 0)
    items.push({
      level: 'waiting',
      code: 'paused',
      title: `${paused} paused by operators`,
      next: 'opsloop runs ls --status paused',
      ...counted(paused),
    });
  if (held > 0)
    items.push({
      level: 'waiting',
      code: 'held',
      title: `${held} held by halts`,
      next: 'opsloop halts ls',
      ...counted(held),
    });
  if (queued.count > 0)
    items.push({
      level: 'waiting',
      code: 'queued',
      title: `${queued.count} queued${queued.since === undefined ? '' : `, the first for ${ago(now.getTime() - queued.since.getTime())}`}`,
      next: `opsloop runs show ${queued.run}`,
      ...counted(queued.count),
    });
  return items;
}
