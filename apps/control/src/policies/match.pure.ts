import { type Effect, type Initiator, isUnder, matchesPattern, type Tier } from '@opsloop/contracts';
import type { Match, PolicyBase } from './policy.pure.js';

/** What of a start the policies look at. */
export interface PolicySubject {
  flow: string;
  effect: Effect;
  atoms: readonly string[];
  targets: readonly string[];
  tier: Tier;
  rule?: string | undefined;
  initiator?: (Initiator & { team?: string }) | undefined;
}

/** Labels by path; undefined for what the inventory does not have. */
export type LabelsOf = (path: string) => Readonly<Record<string, string>> | undefined;

/** Why a policy does not match, in the words of its selector; undefined when it does. */
export function mismatch(match: Match, s: PolicySubject): string | undefined {
  const { effect, tier, domain, initiator } = match;
  const none = (what: string, wanted: readonly string[], has: string): string =>
    `${what} ${wanted.join(' or ')} is wanted, it has ${has === '' ? 'none' : has}`;
  if (match.targets !== undefined && !s.targets.some((t) => targetMatches(match.targets!, t)))
    return none('a target', match.targets, s.targets.slice(0, 3).join(', '));
  if (effect !== undefined && !effect.includes(s.effect)) return none('effect', effect, s.effect);
  if (tier !== undefined && !tier.includes(s.tier)) return none('tier', tier, s.tier);
  if (!anyMatch(match.flows, [s.flow])) return none('flow', match.flows!, s.flow);
  if (!anyMatch(match.atoms, s.atoms)) return none('an atom', match.atoms!, s.atoms.slice(0, 5).join(', '));
  if (!anyMatch(match.rules, s.rule === undefined ? [] : [s.rule])) return none('rule', match.rules!, s.rule ?? '');
  if (domain !== undefined && !matchesPattern(domain, domainOf(s.flow)))
    return none('domain', [domain], domainOf(s.flow));
  if (initiator !== undefined) {
    const { kind = '', name = '', team = '' } = s.initiator ?? {};
    const has = { kind, name, team };
    for (const key of ['kind', 'name', 'team'] as const)
      if (!anyMatch(initiator[key], [has[key]])) return none(`initiator.${key}`, initiator[key]!, has[key]);
  }
  return undefined;
}

/** Of the targets those that a policy is about; all of them when it names none. */
export function targetsOf(match: Match, targets: readonly string[], labels: LabelsOf): string[] {
  return targets.filter(
    (path) =>
      (match.targets === undefined || targetMatches(match.targets, path)) &&
      (match.labels === undefined || labelsMatch(match.labels, labels(path))),
  );
}

export const needsLabels = (policy: PolicyBase): boolean => policy.match.labels !== undefined;

export const domainOf = (flow: string): string => flow.split('/', 1)[0]!;

const targetMatches = (patterns: readonly string[], target: string): boolean =>
  patterns.some((pattern) => matchesPattern(pattern, target) || isUnder(target, pattern));

const labelsMatch = (wanted: Record<string, string[]>, labels: Readonly<Record<string, string>> | undefined): boolean =>
  labels !== undefined &&
  Object.entries(wanted).every(([key, values]) => values.some((v) => matchesPattern(v, labels[key] ?? '')));

const anyMatch = (patterns: readonly string[] | undefined, texts: readonly string[]): boolean =>
  patterns === undefined || patterns.some((pattern) => texts.some((text) => matchesPattern(pattern, text)));
