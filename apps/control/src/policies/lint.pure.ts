import { digestOf, type Json } from '@opsloop/contracts';
import { stretchAt } from './calendar.pure.js';
import { type Layer, LAYERS, type Policy } from './policy.pure.js';

export interface PolicyFinding {
  policy: string;
  /** The other one of a contradiction. */
  other?: string;
  severity: 'error' | 'warning';
  message: string;
}

const HOUR_MS = 3_600_000;
/** A freeze that leaves no hour of a month free is a ban. */
const LOOK_HOURS = 31 * 24;
const LOOK_FROM = Date.UTC(2026, 0, 1);

/** What people would not have written had they seen it: limits that never count, and work that can never start. */
export function lintPolicies(policies: readonly Policy[]): PolicyFinding[] {
  return [
    ...policies.flatMap(alone),
    ...policies.flatMap((a, i) => policies.slice(i + 1).flatMap((b) => together(a, b))),
  ];
}

function alone(p: Policy): PolicyFinding[] {
  const found: PolicyFinding[] = [];
  const warn = (message: string, severity: PolicyFinding['severity'] = 'warning'): void =>
    void found.push({ policy: p.name, severity, message });
  if (
    p.layer === 'team' &&
    p.match.domain === undefined &&
    p.match.flows === undefined &&
    p.match.targets === undefined
  )
    warn('speaks for a team, but matches the work of everybody: name its domain, flows or targets');
  switch (p.type) {
    case 'quota':
      for (const a of p.rooms)
        for (const b of p.rooms)
          if (a.withinMs !== undefined && b.withinMs !== undefined && a.withinMs > b.withinMs && a.max <= b.max)
            warn(
              `${b.max} runs within ${b.withinMs / 1_000}s never count: ${a.max} within ${a.withinMs / 1_000}s are fewer`,
            );
      break;
    case 'freeze':
      if (p.during.rrule !== undefined && everFree(p.during) === false)
        warn('leaves no hour of a month free: nothing that it matches ever starts', 'error');
      break;
    case 'approval':
      if (p.onTimeout === 'approve') warn('silence is consent: what nobody looks at starts');
      if (
        p.approvers.excludeInitiator === true &&
        (p.approvers.users ?? []).length > 0 &&
        (p.approvers.groups ?? []).length === 0
      )
        if (p.approvers.users!.length === (p.approvers.min ?? 1))
          warn('whoever of its approvers starts the work leaves too few of them to approve it');
      break;
    case 'mutex':
      if (p.locks.length === 0 && p.onConflict === 'queue' && p.validFor === undefined)
        warn('asks for nothing that is not so without it: targets are locked and queued for anyway');
      break;
  }
  return found;
}

function everFree(during: Parameters<typeof stretchAt>[0]): boolean {
  for (let at = LOOK_FROM; at < LOOK_FROM + LOOK_HOURS * HOUR_MS;) {
    const stretch = stretchAt(during, new Date(at));
    if (stretch?.until === undefined) return true;
    at = Math.max(stretch.until.getTime(), at + HOUR_MS);
  }
  return false;
}

function together(a: Policy, b: Policy): PolicyFinding[] {
  if (a.type !== b.type || digestOf(a.match as Json) !== digestOf(b.match as Json)) return [];
  if (a.type === 'mutex' && b.type === 'mutex' && a.onConflict !== b.onConflict) {
    const acts = [a, b].map((p) => p.onConflict);
    const wins = (['reject', 'preempt', 'coalesce', 'queue'] as const).find((act) => acts.includes(act))!;
    const [winner, loser] = a.onConflict === wins ? [a, b] : [b, a];
    return [
      {
        policy: loser.name,
        other: winner.name,
        severity: 'warning',
        message: `says ${loser.onConflict} where ${winner.name} says ${wins}, which is stricter and wins`,
      },
    ];
  }
  if (a.type === 'quota' && b.type === 'quota' && sameBy(a.by, b.by))
    return a.rooms.flatMap((x) =>
      b.rooms
        .filter((y) => x.withinMs === y.withinMs && x.max !== y.max)
        .map((y) =>
          x.max > y.max ? never(a, b, `${x.max} runs`, `${y.max}`) : never(b, a, `${y.max} runs`, `${x.max}`),
        ),
    );
  if (
    a.type === 'blast-radius' &&
    b.type === 'blast-radius' &&
    sameBy(a.by, b.by) &&
    a.max !== undefined &&
    b.max !== undefined &&
    a.max !== b.max
  )
    return [a.max > b.max ? never(a, b, `${a.max} targets`, `${b.max}`) : never(b, a, `${b.max} targets`, `${a.max}`)];
  if (
    a.type === 'freeze' &&
    b.type === 'freeze' &&
    digestOf(a.during as Json) === digestOf(b.during as Json) &&
    a.then !== b.then
  ) {
    const [hard, soft] = a.then === 'reject' ? [a, b] : [b, a];
    return [
      {
        policy: soft.name,
        other: hard.name,
        severity: 'warning',
        message: `holds what ${hard.name} rejects at the same time`,
      },
    ];
  }
  return [];
}

const sameBy = (a: Json | undefined, b: Json | undefined): boolean => digestOf(a ?? null) === digestOf(b ?? null);

function never(loose: Policy, strict: Policy, more: string, less: string): PolicyFinding {
  const wider =
    rank(loose.layer) > rank(strict.layer)
      ? `, and a policy of the ${loose.layer} cannot loosen one of the ${strict.layer}`
      : '';
  return {
    policy: loose.name,
    other: strict.name,
    severity: 'warning',
    message: `${more} are never reached: ${strict.name} allows ${less} for the same work${wider}`,
  };
}

const rank = (layer: Layer): number => LAYERS.indexOf(layer);
