/** How two that judge the same events agree: what the one that is tried starts, beside what others started. */
import type { Act, Agreement, AgreementCase, Outcome, OutcomeCount, Tier } from '@opsloop/contracts';
import { TIERS } from '@opsloop/contracts';

/** Acts on one resource that follow each other within this time are one case: sources repeat themselves, people hesitate. */
export const SAME_CASE_MS = 15 * 60_000;

interface Case extends Act {
  from: number;
  to: number;
}

/** The first act of each case, per resource. */
function casesOf(acts: readonly Act[]): Map<string, Case[]> {
  const byPath = new Map<string, Case[]>();
  for (const act of [...acts].sort((a, b) => (a.at < b.at ? -1 : 1))) {
    const cases = byPath.get(act.path) ?? [];
    byPath.set(act.path, cases);
    const at = Date.parse(act.at);
    const last = cases.at(-1);
    if (last !== undefined && at - last.to <= SAME_CASE_MS) last.to = at;
    else cases.push({ ...act, from: at, to: at });
  }
  return byPath;
}

/** An atom that is started by hand is an offering, `atom/<name>`. */
const nameOf = (ref: string): string => ref.split('@', 1)[0]!.replace(/^atom\//, '');

function differing(tried: Act, other: Act): string[] {
  // What people start has no range and no tier of the rule.
  const same =
    other.by === 'rule' || other.by === 'watched' ? tried.ref === other.ref : nameOf(tried.ref) === nameOf(other.ref);
  const tier =
    tried.tier !== undefined && other.tier !== undefined && other.by !== 'person' && tried.tier !== other.tier;
  return [...(same ? [] : ['ref']), ...(tier ? ['tier'] : [])];
}

const near = (a: Case, b: Case): number => Math.max(0, Math.max(a.from, b.from) - Math.min(a.to, b.to));

/** Each case of the one side with the nearest of the other on the same resource, in the order of time. */
export function compareActs(tried: readonly Act[], others: readonly Act[]): AgreementCase[] {
  const [mine, theirs] = [casesOf(tried), casesOf(others)];
  const found: AgreementCase[] = [];
  for (const path of new Set([...mine.keys(), ...theirs.keys()])) {
    const open = [...(theirs.get(path) ?? [])];
    for (const one of mine.get(path) ?? []) {
      const best = open
        .map((other, i) => ({ i, gap: near(one, other) }))
        .filter(({ gap }) => gap <= SAME_CASE_MS)
        .sort((a, b) => a.gap - b.gap)[0];
      const [other] = best === undefined ? [] : open.splice(best.i, 1);
      found.push(caseOf(path, one, other));
    }
    for (const other of open) found.push(caseOf(path, undefined, other));
  }
  return found.sort((a, b) => (a.at === b.at ? (a.resource < b.resource ? -1 : 1) : a.at > b.at ? -1 : 1));
}

function caseOf(resource: string, tried: Case | undefined, other: Case | undefined): AgreementCase {
  const members = tried === undefined || other === undefined ? [] : differing(tried, other);
  const outcome =
    tried === undefined ? 'less' : other === undefined ? 'more' : members.length > 0 ? 'differently' : 'agreed';
  return {
    outcome,
    at: (tried ?? other)!.at,
    resource,
    ...(members.length === 0 ? {} : { members }),
    ...(tried === undefined ? {} : { tried: actOf(tried) }),
    ...(other === undefined ? {} : { other: actOf(other) }),
  };
}

function actOf({ from: _from, to: _to, ...act }: Case): Act {
  return act;
}

export function countCases(cases: readonly AgreementCase[]): Agreement {
  const of = (outcome: Outcome): OutcomeCount => {
    const those = cases.filter((one) => one.outcome === outcome);
    const byTier: Partial<Record<Tier, number>> = {};
    for (const tier of TIERS) {
      const count = those.filter(({ tried, other }) => (tried?.tier ?? other?.tier) === tier).length;
      if (count > 0) byTier[tier] = count;
    }
    return { count: those.length, byTier };
  };
  const agreed = of('agreed');
  return {
    cases: cases.length,
    ...(cases.length === 0 ? {} : { percent: Math.floor((agreed.count * 100) / cases.length) }),
    agreed,
    more: of('more'),
    less: of('less'),
    differently: of('differently'),
  };
}
