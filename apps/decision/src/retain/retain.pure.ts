/** What is deleted by age, and what of it must stay although it is old. */
import type { RuleDocument } from '@opsloop/contracts';
import { durationMs } from '@opsloop/contracts';

export interface Sweep {
  name: string;
  /** Rows that may go; `$1` is the age limit. */
  table: string;
  where: string;
  /** ISO: older than this. */
  before: string;
}

/** Ended rows of budgets are read back as far as the longest `within` of any rule that is live. */
export function longestBudgetMs(docs: readonly RuleDocument[]): number {
  return Math.max(0, ...docs.flatMap((doc) => (doc.budget ?? []).map(({ within }) => durationMs(within))));
}

/** In this order: what explains a decision goes no earlier than the decision. */
export function sweepsOf(now: number, retentionMs: number, longestBudget: number): Sweep[] {
  const before = new Date(now - retentionMs).toISOString();
  return [
    { name: 'decisions', table: 'decision.decision', where: 'at < $1', before },
    { name: 'traces', table: 'decision.trace', where: 'at < $1', before },
    { name: 'what watching rules would have done', table: 'decision.would', where: 'at < $1', before },
    { name: 'results of trials', table: 'decision.trial_result', where: 'at < $1', before },
    { name: 'backtests', table: 'decision.backtest', where: 'at < $1', before },
    { name: 'state changes', table: 'decision.state_change', where: 'at < $1', before },
    { name: 'runs', table: 'decision.run', where: 'closed_at < $1', before },
    {
      name: 'episodes',
      table: 'decision.episode',
      // One that still keeps others from opening is needed, however old it is.
      where: 'NOT live AND opened_at < $1 AND (blocked_until IS NULL OR blocked_until < clock_timestamp())',
      before,
    },
    {
      name: 'budget uses',
      table: 'decision.budget_use',
      where: 'at < $1',
      before: new Date(now - Math.max(retentionMs, longestBudget)).toISOString(),
    },
    {
      name: 'rulesets',
      table: 'decision.ruleset',
      // `at` is when it was last live, so every trace that names it is older and gone.
      where: 'at < $1 AND id NOT IN (SELECT id FROM decision.ruleset_head)',
      before,
    },
    { name: 'halts', table: 'decision.halt', where: `(body->>'until')::timestamptz < $1`, before },
    {
      name: 'resources',
      table: 'decision.resource',
      // Only those that an event made and that nobody declared, watches or works on.
      where: `NOT declared AND observed_at < $1
        AND NOT EXISTS (SELECT 1 FROM decision.episode e WHERE e.tenant = t.tenant AND e.resource = t.path AND e.live)
        AND NOT EXISTS (SELECT 1 FROM decision.hold h WHERE h.tenant = t.tenant AND h.path = t.path)`,
      before,
    },
  ];
}
