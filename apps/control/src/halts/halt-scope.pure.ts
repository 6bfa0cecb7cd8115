import { type HaltScope, type HaltView, isUnder, matchesPattern, type RuleReach, type Tier } from '@opsloop/contracts';

/** What of a start or a run a halt looks at. */
export interface HaltSubject {
  /** Its run, which a person may have let pass. */
  run?: string | undefined;
  rule?: string | undefined;
  flow: string;
  atoms: readonly string[];
  targets: readonly string[];
  tier: Tier;
}

const anyMatch = (patterns: readonly string[], texts: readonly string[]): boolean =>
  patterns.some((pattern) => texts.some((text) => matchesPattern(pattern, text)));

/** A halted path stops what lies below it, and what would change it from above. */
const pathHit = (patterns: readonly string[], targets: readonly string[]): boolean =>
  patterns.some((pattern) =>
    targets.some(
      (target) =>
        matchesPattern(pattern, target) ||
        (!pattern.includes('*') && (isUnder(target, pattern) || isUnder(pattern, target))),
    ),
  );

/** All members of a scope must match; the empty scope matches everything. */
export function inScope(scope: HaltScope, subject: HaltSubject): boolean {
  if (scope.rules !== undefined && (subject.rule === undefined || !anyMatch(scope.rules, [subject.rule]))) return false;
  if (scope.flows !== undefined && !anyMatch(scope.flows, [subject.flow])) return false;
  if (scope.atoms !== undefined && !anyMatch(scope.atoms, subject.atoms)) return false;
  if (scope.paths !== undefined && !pathHit(scope.paths, subject.targets)) return false;
  if (scope.tiers !== undefined && !scope.tiers.includes(subject.tier)) return false;
  if (scope.domain !== undefined && !matchesPattern(scope.domain, subject.flow.split('/', 1)[0]!)) return false;
  return true;
}

const flowOf = (ref: string): string => {
  const name = ref.split('@', 1)[0]!;
  return name.includes('/') ? name : `atom/${name}`;
};

/** Two patterns may share a text: one matches the other taken as text, or their fixed beginnings do not exclude each other. */
const mayOverlap = (a: string, b: string): boolean => {
  const [x, y] = [a.split('*', 1)[0]!, b.split('*', 1)[0]!];
  return (
    matchesPattern(a, b) ||
    matchesPattern(b, a) ||
    (a.includes('*') && b.includes('*') && (x.startsWith(y) || y.startsWith(x)))
  );
};

/** Whether an active rule may start something in scope. What its document leaves open counts as in scope. */
export function ruleInScope(scope: HaltScope, rule: RuleReach): boolean {
  if (rule.mode !== 'active') return false;
  if (scope.rules !== undefined && !anyMatch(scope.rules, [rule.name])) return false;
  if (scope.tiers !== undefined && rule.tiers !== undefined && !rule.tiers.some((t) => scope.tiers!.includes(t)))
    return false;
  if (scope.paths !== undefined && rule.subjects !== undefined) {
    const { paths } = scope;
    // A halted path also stops what lies below it.
    const hit = rule.subjects.some((s) =>
      paths.some((p) => mayOverlap(p, s) || (!p.includes('*') && mayOverlap(`${p}/*`, s))),
    );
    if (!hit) return false;
  }
  return rule.refs.some((ref) => {
    const flow = flowOf(ref);
    if (scope.flows !== undefined && !anyMatch(scope.flows, [flow])) return false;
    if (scope.domain !== undefined && !matchesPattern(scope.domain, flow.split('/', 1)[0]!)) return false;
    // Which atoms a flow calls does not stand in the rule.
    return (
      scope.atoms === undefined || !flow.startsWith('atom/') || anyMatch(scope.atoms, [flow.slice('atom/'.length)])
    );
  });
}

/** The halts in force that stop this. */
export function haltsOn(halts: readonly HaltView[], subject: HaltSubject): HaltView[] {
  return halts.filter(
    ({ scope, allowed }) =>
      inScope(scope, subject) && (subject.run === undefined || allowed?.includes(subject.run) !== true),
  );
}

/** The subject of a stored admission. */
export function subjectOf(row: {
  id?: string;
  rule: string | null;
  flow: string;
  atoms: string[];
  targets: string[];
  tier: Tier;
}): HaltSubject {
  return {
    ...(row.id === undefined ? {} : { run: row.id }),
    ...(row.rule === null ? {} : { rule: row.rule }),
    flow: row.flow,
    atoms: row.atoms,
    targets: row.targets,
    tier: row.tier,
  };
}

/** `halt 0193… (everything)`: how a halt stands in a verdict. */
export function describeScope(scope: HaltScope): string {
  const parts = Object.entries(scope).map(
    ([key, value]) => `${key} ${Array.isArray(value) ? value.join(', ') : String(value)}`,
  );
  return parts.length === 0 ? 'everything' : parts.join(' and ');
}
