/** What holds without any document: careful with what destroys, and people where a rule's tier asks for them. */
import { digestOf, durationMs, type TierApproval } from '@opsloop/contracts';
import {
  type BudgetDemand,
  counterOf,
  type Demand,
  NO_DEMAND,
  type PolicyEffect,
  type Weighed,
  type World,
} from './demand.pure.js';
import { mismatch, targetsOf } from './match.pure.js';
import type { Policy } from './policy.pure.js';

/** Name of the default in verdicts; a blast-radius policy that matches takes its place. */
export const DESTROY = 'opsloop/destroy';
/** People need to notice, read and decide; as for the questions of policies. */
const APPROVAL_TIMEOUT = '1h';

const plus = (effect: PolicyEffect | undefined, policy: string, more: Partial<Demand>): PolicyEffect => ({
  claims: [],
  onConflict: { policy, act: 'queue' },
  ...effect,
  demand: { ...(effect?.demand ?? NO_DEMAND), ...more },
});

/** What stands directly above it: `host/dc1/rack7/web-1` → `host/dc1/rack7`. */
const domainOf = (path: string): string => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : path);

/**
 * Work that destroys takes one target of a failure domain at a time, whatever its cause, as long as no blast-radius policy
 * speaks of the target. Without labels the failure domain is what stands directly above a target.
 */
export function carefully(
  effect: PolicyEffect | undefined,
  policies: readonly Policy[],
  s: Weighed,
  world: World,
): PolicyEffect | undefined {
  if (s.effect !== 'destroy') return effect;
  const spoken = new Set(
    policies
      .filter((p) => p.type === 'blast-radius' && mismatch(p.match, s) === undefined)
      .flatMap((p) => targetsOf(p.match, s.targets, (path) => world.resources?.get(path)?.labels)),
  );
  const left = s.targets.filter((t) => !spoken.has(t));
  if (left.length === 0) return effect;
  const { budgets, later } = effect?.demand ?? NO_DEMAND;
  if (s.turns) return plus(effect, DESTROY, { later: [...later, DESTROY] });
  const byDomain = new Map<string, string[]>();
  for (const path of left) byDomain.set(domainOf(path), [...(byDomain.get(domainOf(path)) ?? []), path]);
  const mine = [...byDomain].map(([key, units]): BudgetDemand => ({
    policy: DESTROY,
    digest: '',
    key,
    counter: counterOf(DESTROY, key),
    rooms: [{ max: 1 }],
    units,
    act: 'queue',
    noun: 'targets',
  }));
  return plus(effect, DESTROY, { budgets: [...budgets, ...mine] });
}

/** The people that the tier of a rule asks for, beside those of policies. */
export function askedByRule(
  effect: PolicyEffect | undefined,
  rule: string | undefined,
  approval: TierApproval | undefined,
): PolicyEffect | undefined {
  if (approval === undefined) return effect;
  const { groups, min, timeout = APPROVAL_TIMEOUT } = approval;
  const policy = `rule ${rule ?? ''}`.trim();
  const { approvals } = effect?.demand ?? NO_DEMAND;
  const asked = {
    policy,
    digest: digestOf(approval),
    approvers: { ...(groups === undefined ? {} : { groups }), ...(min === undefined ? {} : { min }) },
    timeoutMs: durationMs(timeout),
    onTimeout: 'reject' as const,
  };
  return plus(effect, policy, { approvals: [...approvals, asked] });
}
