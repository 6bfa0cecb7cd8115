import { printDuration, type Tier, TIERS } from '@opsloop/contracts';

export interface QueueLoad {
  queue: string;
  /** Tasks that wait for a worker. */
  backlog: number;
  /** How long the oldest of them has waited. */
  ageMs: number;
  /** Workers that asked for work lately. */
  pollers: number;
}

/**
 * How far behind is too far, by tier: work of P0 never waits for this, the rest the earlier the less it matters. A
 * worker takes some 100 tasks a second, so that 200 of them are two seconds of work.
 */
const BACKLOG_MAX: Record<Tier, number> = { P0: Infinity, P1: 5_000, P2: 1_000, P3: 500, P4: 200 };
const AGE_MAX_MS: Record<Tier, number> = { P0: Infinity, P1: 60_000, P2: 30_000, P3: 15_000, P4: 10_000 };

interface Described {
  pollers?: readonly unknown[] | null;
  stats?: {
    approximateBacklogCount?: { toString(): string } | number | null;
    approximateBacklogAge?: { seconds?: { toString(): string } | number | null; nanos?: number | null } | null;
  } | null;
}

export function backlogOf(queue: string, answer: Described): QueueLoad {
  const { approximateBacklogCount: count, approximateBacklogAge: age } = answer.stats ?? {};
  return {
    queue,
    backlog: Number(count ?? 0),
    ageMs: Number(age?.seconds ?? 0) * 1_000 + (age?.nanos ?? 0) / 1e6,
    pollers: answer.pollers?.length ?? 0,
  };
}

/** Why a start of this tier waits; undefined when it does not have to. */
export function behindText(loads: readonly QueueLoad[], tier: Tier): string | undefined {
  const late = loads.find((l) => l.backlog > BACKLOG_MAX[tier] || (l.backlog > 0 && l.ageMs > AGE_MAX_MS[tier]));
  if (late === undefined) return undefined;
  const who = late.pollers === 0 ? 'no worker asks for work' : `${late.pollers} workers are behind`;
  return `${late.backlog} tasks wait on ${late.queue}, the oldest for ${printDuration(Math.round(late.ageMs / 1_000) * 1_000)}: ${who}; ${TIERS.filter((t) => behindless(loads, t)).join(', ') || 'nothing'} starts`;
}

const behindless = (loads: readonly QueueLoad[], tier: Tier): boolean =>
  !loads.some((l) => l.backlog > BACKLOG_MAX[tier] || (l.backlog > 0 && l.ageMs > AGE_MAX_MS[tier]));
