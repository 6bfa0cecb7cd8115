import { type Claim, digestOf, type FieldError, isUnder, pathProblem, type Tier, TIERS } from '@opsloop/contracts';

/** A person's request: 64 paths are more than anybody names by hand. */
export const LOCK_CLAIMS_MAX = 64;
/**
 * Advisory locks of one transaction live in PostgreSQL's shared lock table (some 6,400 slots with default settings);
 * 20 connections × 256 stay below it. People's requests above it are refused, runs take coarser ones.
 */
export const LOCK_KEYS_MAX = 256;
/** Targets of one run: a rule's group holds at most 1,000 resources, and their claims are one INSERT of 1,000 rows. */
export const RUN_CLAIMS_MAX = 1_000;

/**
 * Each tier below P0 starts this much later in the queue than it came. A request is thus overtaken only by more
 * critical ones that come within the difference: priority with ageing by one number that never changes. P4 waits at
 * most 20 m for late P0s, which is below the 30 m that work stays valid.
 */
export const TIER_STEP_MS = 5 * 60_000;

/** The place in the queue that a request of a tier gets now; smaller comes first, tickets break ties. */
export function rankOf(tier: Tier, at: Date): Date {
  return new Date(at.getTime() + TIERS.indexOf(tier) * TIER_STEP_MS);
}

/** One claim per path, the stronger mode wins; sorted, so that equal sets look equal. */
export function mergeClaims(claims: readonly Claim[]): Claim[] {
  const modes = new Map<string, Claim['mode']>();
  for (const { path, mode } of claims) {
    if (modes.get(path) !== 'exclusive') modes.set(path, mode);
  }
  return [...modes].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, mode]) => ({ path, mode }));
}

/** What is wrong with a set of claims of a person. */
export function claimErrors(claims: readonly Claim[]): FieldError[] {
  const errors = claims.flatMap((claim, i): FieldError[] => {
    const wrong = pathProblem(claim.path);
    return wrong === undefined ? [] : [{ pointer: `/claims/${i}/path`, message: wrong }];
  });
  if (errors.length === 0 && keyCount(claims.map((c) => c.path)) > LOCK_KEYS_MAX) {
    errors.push({
      pointer: '/claims',
      message: `claims × depth may be at most ${LOCK_KEYS_MAX}; claim a common prefix instead`,
    });
  }
  return errors;
}

/** `a/b/c` → `a`, `a/b`. */
export function prefixesOf(path: string): string[] {
  const prefixes: string[] = [];
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) prefixes.push(path.slice(0, at));
  return prefixes;
}

/** Everything that has to be locked to compare claims on these paths: they and their prefixes. */
export const keysOf = (paths: Iterable<string>): Set<string> =>
  new Set([...paths].flatMap((path) => [...prefixesOf(path), path]));

const keyCount = (paths: Iterable<string>): number => keysOf(paths).size;

/**
 * Paths to lock while claims are compared: the claimed ones, or, when that is more than 256 keys, prefixes that cover
 * them. An exclusive lock on a prefix meets everybody below it (they share it) and above it (it shares theirs), so
 * coarser is as safe and only less parallel, for the milliseconds of one transaction.
 */
export function coverPaths(paths: readonly string[], keysMax = LOCK_KEYS_MAX): string[] {
  let cover = new Set(paths);
  for (;;) {
    if (keyCount(cover) <= keysMax) return [...cover];
    const depth = Math.max(...[...cover].map((p) => p.split('/').length));
    if (depth === 1) return [...cover];
    cover = new Set([...cover].map((p) => (p.split('/').length < depth ? p : p.slice(0, p.lastIndexOf('/')))));
  }
}

/** True when a held claim already gives what is wanted: an exclusive one covers everything below it, a shared one shared. */
export function isCovered(wanted: Claim, held: readonly Claim[]): boolean {
  return held.some((h) => isUnder(wanted.path, h.path) && (h.mode === 'exclusive' || wanted.mode === 'shared'));
}

/** Who holds a person's lock: equal principal, owner and claims are the same request. */
export function userHolder(principal: string, owner: string, claims: readonly Claim[]): string {
  return `user:${digestOf({ principal, owner, claims: mergeClaims(claims) }).slice(0, 32)}`;
}

export const runHolder = (runId: string): string => `run:${runId}`;

export const conflicts = (a: Claim, b: Claim): boolean =>
  (a.mode === 'exclusive' || b.mode === 'exclusive') && (isUnder(a.path, b.path) || isUnder(b.path, a.path));
