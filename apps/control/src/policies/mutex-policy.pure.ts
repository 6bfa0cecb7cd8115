import {
  type Claim,
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
  match: { targets?: string; effect?: string[]; tier?: Tier[]; domain?: string };
  locks: Claim[];
  onConflict: 'queue' | 'reject' | 'coalesce';
  validFor?: string;
}

/** What the policies that match a start add to it. */
export interface PolicyEffect {
  claims: Claim[];
  onConflict?: { policy: string; act: 'queue' | 'reject' };
  coalesce: boolean;
}

const KNOWN = new Set([
  'dsl',
  'kind',
  'name',
  'owner',
  'title',
  'labels',
  'type',
  'match',
  'locks',
  'onConflict',
  'validFor',
]);
const MATCH_KNOWN = new Set(['targets', 'effect', 'tier', 'domain']);

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
    if (!MATCH_KNOWN.has(key)) say(`/match/${key}`, 'is not evaluated; use targets, effect, tier or domain');
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
  const onConflict = body['onConflict'] ?? 'queue';
  if (!['queue', 'reject', 'coalesce'].includes(String(onConflict)))
    say('/onConflict', 'must be queue, reject or coalesce');
  return errors;
}

const listOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.map(String) : value === undefined ? [] : [String(value)];

export function readPolicy(name: string, body: JsonObject): MutexPolicy {
  const match = (body['match'] ?? {}) as JsonObject;
  return {
    name,
    match: {
      ...(match['targets'] === undefined ? {} : { targets: String(match['targets']) }),
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

export function policyMatches(policy: MutexPolicy, plan: StartPlan, tier: Tier): boolean {
  const { targets, effect, tier: tiers, domain } = policy.match;
  if (targets !== undefined && !plan.targets.some((t) => matchesPattern(targets, t) || isUnder(t, targets)))
    return false;
  if (effect !== undefined && !effect.includes(plan.effect)) return false;
  if (tiers !== undefined && !tiers.includes(tier)) return false;
  return domain === undefined || matchesPattern(domain, plan.flow.split('/', 1)[0]!);
}

/** All matching policies together: every lock, and the strictest answer to a conflict. */
export function effectOf(policies: readonly MutexPolicy[], plan: StartPlan, tier: Tier): PolicyEffect | undefined {
  const hits = policies.filter((p) => policyMatches(p, plan, tier));
  if (hits.length === 0) return undefined;
  const reject = hits.find((p) => p.onConflict === 'reject');
  const first = reject ?? hits[0]!;
  return {
    claims: hits.flatMap((p) => p.locks),
    onConflict: { policy: first.name, act: reject === undefined ? 'queue' : 'reject' },
    coalesce: hits.some((p) => p.onConflict === 'coalesce'),
  };
}
