/** When a rule or a flow does harm and has to be stopped at once. */
import type { RuleReach } from '@opsloop/contracts';

export interface BrakeConfig {
  /** Of the last `ofLast` verified runs that many did not bring what they were for. */
  notFixed: number;
  ofLast: number;
  startsPerMinute: number;
  /** Of a kind with at least `kindLeast` resources, within `changedWithinMs`. */
  changedPercent: number;
  changedWithinMs: number;
  kindLeast: number;
}

/** Three of five is no chance; 20 a minute is more than people follow; a tenth of all there is in 10 minutes is a sweep. */
export const BRAKE_DEFAULT: BrakeConfig = {
  notFixed: 3,
  ofLast: 5,
  startsPerMinute: 20,
  changedPercent: 10,
  changedWithinMs: 600_000,
  kindLeast: 100,
};

export interface Subject {
  kind: 'rule' | 'flow';
  name: string;
}

/** `rule fleet/service-down`: as it stands in the halt and in messages. */
export const subjectText = ({ kind, name }: Subject): string => `${kind} ${name}`;

export type BrakeCause = 'not-fixed' | 'starts' | 'changed';

export interface Pull {
  subject: Subject;
  cause: BrakeCause;
  /** For people. */
  reason: string;
  figures: Record<string, number | string>;
}

export interface StartCount {
  /** Null: not started by a rule. */
  rule: string | null;
  flow: string;
  count: number;
}

/** What a rule may start in a minute: what everything may, or what its own budget says was meant. */
const allowance = (rule: RuleReach | undefined, config: BrakeConfig): number =>
  Math.max(config.startsPerMinute, rule?.perMinute ?? 0);

/**
 * Rules and flows with too many starts in a minute. Starts of a rule are its own; those of a flow count as far as no
 * single rule explains them, so that a rule which runs wild does not take the flow from everybody else.
 */
export function tooManyStarts(
  counts: readonly StartCount[],
  rules: ReadonlyMap<string, RuleReach>,
  config: BrakeConfig,
): Pull[] {
  const pulls: Pull[] = [];
  const byRule = summed(counts.flatMap(({ rule, count }) => (rule === null ? [] : [[rule, count] as const])));
  for (const [name, count] of byRule) {
    const allowed = allowance(rules.get(name), config);
    if (count > allowed) pulls.push(startsPull({ kind: 'rule', name }, count, allowed));
  }
  // Of rules whose budget says that so many are meant, and of those that are stopped already, nothing is counted again.
  const stopped = new Set(pulls.map(({ subject }) => subject.name));
  const others = counts.filter(
    ({ rule }) =>
      rule === null || (!stopped.has(rule) && allowance(rules.get(rule), config) === config.startsPerMinute),
  );
  for (const [name, count] of summed(others.map(({ flow, count: n }) => [flow, n] as const)))
    if (count > config.startsPerMinute) pulls.push(startsPull({ kind: 'flow', name }, count, config.startsPerMinute));
  return pulls;
}

const startsPull = (subject: Subject, count: number, allowed: number): Pull => ({
  subject,
  cause: 'starts',
  reason: `${count} starts of ${subjectText(subject)} within a minute, more than ${allowed}`,
  figures: { starts: count, allowed },
});

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

function summed(entries: readonly (readonly [string, number])[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const [key, count] of entries) sums.set(key, (sums.get(key) ?? 0) + count);
  return sums;
}

export interface VerifiedCount {
  rule: string;
  flow: string;
  /** Newest first: whether the run brought what it was for. */
  fixed: boolean;
}

/** Rules, and flows that several rules use, whose last verified runs were mostly in vain. */
export function inVain(newestFirst: readonly VerifiedCount[], config: BrakeConfig): Pull[] {
  const pulls: Pull[] = [];
  for (const kind of ['rule', 'flow'] as const) {
    const groups = groupBy(newestFirst, (one) => one[kind]);
    for (const [name, all] of groups) {
      const last = all.slice(0, config.ofLast);
      // One rule alone is stopped as a rule; others may use the flow for what it does well.
      if (kind === 'flow' && new Set(last.map((one) => one.rule)).size < 2) continue;
      const bad = last.filter((one) => !one.fixed).length;
      if (bad < config.notFixed) continue;
      const subject = { kind, name };
      pulls.push({
        subject,
        cause: 'not-fixed',
        reason: `${bad} of the last ${last.length} verified runs of ${subjectText(subject)} did not bring what they were for`,
        figures: { notFixed: bad, verified: last.length },
      });
    }
  }
  return pulls;
}

export interface ChangedCount {
  rule: string | null;
  flow: string;
  /** First segment of the path. */
  kind: string;
  path: string;
}

/** Rules and flows that changed too large a part of all there is of a kind. */
export function tooMuchChanged(
  changed: readonly ChangedCount[],
  kinds: Readonly<Record<string, number>>,
  config: BrakeConfig,
): Pull[] {
  const pulls: Pull[] = [];
  const subjects = [
    ...changed.flatMap((one) =>
      one.rule === null ? [] : [{ ...one, subject: { kind: 'rule' as const, name: one.rule } }],
    ),
    ...changed.map((one) => ({ ...one, subject: { kind: 'flow' as const, name: one.flow } })),
  ];
  for (const [, all] of groupBy(subjects, (one) => `${subjectText(one.subject)}\u0000${one.kind}`)) {
    const { subject, kind } = all[0]!;
    const total = kinds[kind] ?? 0;
    const paths = new Set(all.map((one) => one.path)).size;
    if (total < config.kindLeast || paths * 100 <= total * config.changedPercent) continue;
    // What one rule alone did is stopped as that rule.
    if (subject.kind === 'flow' && new Set(all.map((one) => one.rule)).size === 1 && all[0]!.rule !== null) continue;
    const minutes = Math.round(config.changedWithinMs / 60_000);
    pulls.push({
      subject,
      cause: 'changed',
      reason: `${subjectText(subject)} changed ${paths} of ${total} resources of kind ${kind} within ${minutes} minutes, more than ${config.changedPercent} %`,
      figures: { kind, changed: paths, of: total, percent: config.changedPercent },
    });
  }
  return pulls;
}
