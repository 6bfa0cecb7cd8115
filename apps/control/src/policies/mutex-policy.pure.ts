import {
  type Claim,
  durationMs,
  type FieldError,
  isUnder,
  type JsonObject,
  matchesPattern,
  pathProblem,
  type Tier,
  TIERS,
} from '@opsloop/contracts';
import type { StartPlan } from '../admit/plan.pure.js';

export interface MutexPolicy {
  name: string;
  match: {
    targets?: string[];
    effect?: string[];
    tier?: Tier[];
    domain?: string;
    flows?: string[];
    rules?: string[];
    atoms?: string[];
  };
  locks: Claim[];
  onConflict: 'queue' | 'reject';
  validFor?: string;
}

/** What the policies that match a start add to it. */
export interface PolicyEffect {
  claims: Claim[];
  onConflict: { policy: string; act: 'queue' | 'reject' };
  /** The shortest of those that say one. */
  validForMs?: number;
}

const KNOWN = new Set([
  'dsl',
  'kind',
  'name',
  'owner',
  'title',
  'description',
  'labels',
  'type',
  'match',
  'locks',
  'onConflict',
  'validFor',
]);
const MATCH_KNOWN = new Set(['targets', 'effect', 'tier', 'domain', 'flows', 'rules', 'atoms']);

/** What of a policy would not be evaluated; it is refused rather than ignored, since people rely on policies. */
export function policyErrors(body: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const say = (pointer: string, message: string): void => void errors.push({ pointer, message });
  if (body['type'] !== 'mutex') {
    say('/type', `"${String(body['type'])}" policies are not evaluated yet; only "mutex" is`);
    return errors;
  }
  for (const key of Object.keys(body)) if (!KNOWN.has(key)) say(`/${key}`, 'is not evaluated for mutex policies');
  const match = (body['match'] ?? {}) as JsonObject;
  for (const key of Object.keys(match))
    if (!MATCH_KNOWN.has(key)) say(`/match/${key}`, `is not evaluated; use ${[...MATCH_KNOWN].join(', ')}`);
  for (const tier of listOf(match['tier']))
    if (!TIERS.includes(tier as Tier)) say('/match/tier', `"${tier}" is no tier`);
  const locks = Array.isArray(body['locks']) ? (body['locks'] as JsonObject[]) : [];
  for (const [i, lock] of locks.entries()) {
    const path = String(lock['path'] ?? '');
    const wrong = path.includes('${')
      ? 'templates in lock paths are not evaluated yet; write a fixed path'
      : pathProblem(path);
    if (wrong !== undefined) say(`/locks/${i}/path`, wrong);
  }
  // Coalescing belongs to a start (`coalesce: true`), not to a conflict of locks.
  if (!['queue', 'reject'].includes(String(body['onConflict'] ?? 'queue')))
    say('/onConflict', 'must be queue or reject');
  return errors;
}

const listOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.map(String) : value === undefined ? [] : [String(value)];

const lists = <K extends string>(match: JsonObject, key: K): { [P in K]?: string[] } =>
  (match[key] === undefined ? {} : { [key]: listOf(match[key]) }) as { [P in K]?: string[] };

export function readPolicy(name: string, body: JsonObject): MutexPolicy {
  const match = (body['match'] ?? {}) as JsonObject;
  return {
    name,
    match: {
      ...lists(match, 'targets'),
      ...lists(match, 'flows'),
      ...lists(match, 'rules'),
      ...lists(match, 'atoms'),
      ...(match['effect'] === undefined ? {} : { effect: listOf(match['effect']) }),
      ...(match['tier'] === undefined ? {} : { tier: listOf(match['tier']) as Tier[] }),
      ...(match['domain'] === undefined ? {} : { domain: String(match['domain']) }),
    },
    locks: ((body['locks'] ?? []) as JsonObject[]).map((l) => ({
      path: String(l['path']),
      mode: l['mode'] === 'shared' ? 'shared' : 'exclusive',
    })),
    onConflict: (body['onConflict'] ?? 'queue') as MutexPolicy['onConflict'],
    ...(body['validFor'] === undefined ? {} : { validFor: String(body['validFor']) }),
  };
}

/** What of a start the policies look at. */
export interface PolicySubject extends Pick<StartPlan, 'flow' | 'effect' | 'atoms' | 'targets'> {
  tier: Tier;
  rule?: string | undefined;
}

const anyMatch = (patterns: readonly string[] | undefined, texts: readonly string[]): boolean =>
  patterns === undefined || patterns.some((pattern) => texts.some((text) => matchesPattern(pattern, text)));

export function policyMatches({ match }: MutexPolicy, s: PolicySubject): boolean {
  const { targets, effect, tier, domain } = match;
  if (
    targets !== undefined &&
    !targets.some((pattern) => s.targets.some((t) => matchesPattern(pattern, t) || isUnder(t, pattern)))
  )
    return false;
  if (effect !== undefined && !effect.includes(s.effect)) return false;
  if (tier !== undefined && !tier.includes(s.tier)) return false;
  if (!anyMatch(match.flows, [s.flow]) || !anyMatch(match.atoms, s.atoms)) return false;
  if (!anyMatch(match.rules, s.rule === undefined ? [] : [s.rule])) return false;
  return domain === undefined || matchesPattern(domain, s.flow.split('/', 1)[0]!);
}

/** All matching policies together: every lock, the strictest answer to a conflict, the shortest validity. */
export function effectOf(policies: readonly MutexPolicy[], subject: PolicySubject): PolicyEffect | undefined {
  const hits = policies.filter((p) => policyMatches(p, subject));
  if (hits.length === 0) return undefined;
  const reject = hits.find((p) => p.onConflict === 'reject');
  const validities = hits.flatMap((p) => (p.validFor === undefined ? [] : [durationMs(p.validFor)]));
  return {
    claims: hits.flatMap((p) => p.locks),
    onConflict: { policy: (reject ?? hits[0]!).name, act: reject === undefined ? 'queue' : 'reject' },
    ...(validities.length === 0 ? {} : { validForMs: Math.min(...validities) }),
  };
}
