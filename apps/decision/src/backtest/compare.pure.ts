/** What a change of rules would have changed: decisions of two plays of the same events, told apart. */
import type {
  BacktestResult,
  ChangedDecision,
  CountedByTier,
  Json,
  PlayedDecision,
  RuleVerdict,
  Tier,
  VerdictCounts,
} from '@opsloop/contracts';
import { digestOf, TIERS } from '@opsloop/contracts';
import { equalJson } from '../resources/merge.pure.js';
import type { DecisionRow } from '../store/model.js';

/** Items shown of each list; the counts tell of all. A person reads a dozen, a script may read these. */
export const SHOWN_MAX = 200;

export function playedDecision(row: DecisionRow): PlayedDecision {
  const attempt = /#(\d+)$/.exec(row.cause);
  const { start } = row;
  return {
    rule: row.rule,
    eventId: start.causationId ?? row.eventId ?? row.cause,
    start: attempt === null ? 1 : Number(attempt[1]),
    at: row.at,
    branch: row.branch,
    rung: row.rung,
    tier: row.tier,
    targets: row.targets,
    batches: row.batches,
    ref: start.ref,
    input: start.perTarget === undefined ? start.input : (start.perTarget.items as unknown as Json),
  };
}

/** Collects one side: decisions by what they answer, and how often each rule said what. */
export class PlayedSide {
  readonly decisions = new Map<string, PlayedDecision>();
  private readonly verdicts = new Map<string, Map<string, RuleVerdict>>();
  private readonly counts = new Map<string, VerdictCounts>();

  decided(row: DecisionRow): void {
    const played = playedDecision(row);
    this.decisions.set(JSON.stringify([played.rule, played.eventId, played.start, played.targets[0]]), played);
  }

  verdict(eventId: string, rule: string, verdict: RuleVerdict): void {
    const counts = this.counts.get(rule) ?? {};
    this.counts.set(rule, counts);
    // A window that ends says something else of an event that it had said "waiting" of.
    const open = this.verdicts.get(rule) ?? new Map<string, RuleVerdict>();
    this.verdicts.set(rule, open);
    const before = open.get(eventId);
    if (before !== undefined) counts[before] = counts[before]! - 1;
    counts[verdict] = (counts[verdict] ?? 0) + 1;
    if (verdict === 'waiting' || verdict === 'grouped') open.set(eventId, verdict);
    else open.delete(eventId);
  }

  countsOf(rule: string): VerdictCounts {
    const counts = Object.entries(this.counts.get(rule) ?? {}).filter(([, count]) => count > 0);
    return Object.fromEntries(counts.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

export interface Played {
  from: string;
  until: string;
  events: number;
  cut: boolean;
  rules: readonly string[];
  before: PlayedSide;
  after: PlayedSide;
}

export function compare({ before, after, rules, ...base }: Played): BacktestResult {
  const gained: PlayedDecision[] = [];
  const lost: PlayedDecision[] = [];
  const changed: ChangedDecision[] = [];
  for (const [key, one] of after.decisions) {
    const other = before.decisions.get(key);
    if (other === undefined) gained.push(one);
    else {
      const members = differing(other, one);
      if (members.length > 0) changed.push({ members, before: other, after: one });
    }
  }
  for (const [key, one] of before.decisions) if (!after.decisions.has(key)) lost.push(one);
  const all = {
    ...base,
    decisions: { before: before.decisions.size, after: after.decisions.size },
    gained: sorted(gained, (one) => one),
    lost: sorted(lost, (one) => one),
    changed: sorted(changed, (one) => one.after),
    rules: Object.fromEntries(
      [...rules].sort().map((rule) => [rule, { before: before.countsOf(rule), after: after.countsOf(rule) }]),
    ),
  };
  return {
    ...all,
    gained: counted(all.gained, (one) => one.tier),
    lost: counted(all.lost, (one) => one.tier),
    changed: counted(all.changed, (one) => one.after.tier),
    digest: digestOf(all as unknown as Json),
  };
}

const COMPARED = ['branch', 'rung', 'tier', 'targets', 'batches', 'ref', 'input'] as const;

function differing(a: PlayedDecision, b: PlayedDecision): ChangedDecision['members'] {
  return COMPARED.filter((member) => !equalJson(a[member] as Json, b[member] as Json));
}

function sorted<T>(items: T[], of: (item: T) => PlayedDecision): T[] {
  const key = (item: T): string => {
    const { at, rule, eventId, start, targets } = of(item);
    return JSON.stringify([at, rule, eventId, start, targets]);
  };
  return items.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function counted<T>(items: readonly T[], tierOf: (item: T) => Tier): CountedByTier<T> {
  const byTier: Partial<Record<Tier, number>> = {};
  for (const tier of TIERS) {
    const count = items.filter((item) => tierOf(item) === tier).length;
    if (count > 0) byTier[tier] = count;
  }
  return { count: items.length, byTier, items: items.slice(0, SHOWN_MAX) };
}
