import { durationMs, type RuleReach, type Tier } from '@opsloop/contracts';
import type { LiveRule } from '../store/model.js';

/** Stands for the tier of rules that name none, as everywhere. */
const TIER_DEFAULT: Tier = 'P3';

/** What a rule may start, read from its document alone. */
export function reachOf({ name, mode, doc }: LiveRule): RuleReach {
  const tiers = tiersOf(doc.tier);
  const subjects = doc.on.map((pattern) => pattern.subject);
  const known =
    (doc.targets === undefined || ('from' in doc.targets && doc.targets.from === 'event')) && subjects.length > 0;
  return {
    name,
    mode,
    refs: [...new Set(doc.branches.flatMap((b) => b.ladder.flatMap((rung) => rung.run ?? rung.call ?? [])))],
    ...(doc.owner === undefined ? {} : { owner: doc.owner }),
    ...perMinute(doc.budget),
    ...(tiers === undefined ? {} : { tiers }),
    ...(known && subjects.every((s) => s !== undefined) ? { subjects } : {}),
  };
}

/** What its budgets of at most a minute grant per group; without any it has no wish of its own. */
function perMinute(budget: LiveRule['doc']['budget']): { perMinute?: number } {
  const short = (budget ?? []).filter(({ within }) => durationMs(within) <= 60_000);
  return short.length === 0 ? {} : { perMinute: Math.max(...short.map(({ runs }) => runs)) };
}

function tiersOf(tier: LiveRule['doc']['tier']): Tier[] | undefined {
  if (tier === undefined) return [TIER_DEFAULT];
  if (!Array.isArray(tier)) return undefined;
  const named = tier.map((entry) => entry.tier);
  // Without an entry that always holds, a target may fall through to the default.
  return [...new Set(tier.some((entry) => entry.when === undefined) ? named : [...named, TIER_DEFAULT])];
}
