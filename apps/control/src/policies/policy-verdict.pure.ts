import { type BlockedBy, type Consulted, printDuration, type Tier } from '@opsloop/contracts';
import type { ApprovalDemand, BudgetDemand, FreezeDemand } from './demand.pure.js';

/** One limit of a counter as it was found under its lock. */
export interface RoomFacts {
  max: number;
  withinMs?: number;
  /** What `max` is a share of. */
  of?: string;
  /** Taken by others, what of mine is not counted yet, and what those ahead in its queue are waiting for. */
  used: number;
  fresh: number;
  ahead: number;
  /** ISO: when a window has room again if nothing else comes. */
  freeAt?: string;
}

export interface BudgetFacts extends Pick<BudgetDemand, 'policy' | 'digest' | 'key' | 'counter' | 'act' | 'noun'> {
  rooms: RoomFacts[];
  /** Some of those who take the room. */
  holders: BlockedBy[];
  /** An alive run of the counter to join, kept from ending. */
  into?: string;
}

export interface Asked {
  /** none: nobody was asked yet. */
  state: 'none' | 'open' | 'approved' | 'rejected' | 'timed-out' | 'drifted';
  id?: string;
  by?: string[];
  reason?: string;
}

export type ApprovalFacts = ApprovalDemand & { asked: Asked };
export type FreezeFacts = FreezeDemand & { asked?: Asked };

export interface StormFacts {
  policy: string;
  digest: string;
  key: string;
  /** Different targets in trouble, this start's included. */
  seen: number;
  threshold: number;
  total: number;
  withinMs: number;
  /** In force, or made by this start. */
  until?: string;
  run?: string;
}

/** Runs that are asked to give way. */
export interface PreemptFacts {
  policy: string;
  tier: Tier;
  runs: { id: string; tier: Tier }[];
}

/** What the policies found; a verdict follows from it alone. */
export interface PolicyFacts {
  refused: { policy: string; saw: string }[];
  unknown: { policy: string; saw: string }[];
  later: string[];
  budgets: BudgetFacts[];
  freezes: FreezeFacts[];
  approvals: ApprovalFacts[];
  storms: StormFacts[];
  /** Temporal or the workers cannot follow. */
  behind?: string;
}

export interface PolicyVerdict {
  said: 'ok' | 'rejected' | 'coalesced' | 'held' | 'needs-approval' | 'queued';
  lines: Consulted[];
  reason?: string;
  /** Of held: until when. */
  until?: string;
  /** Of queued: when it may have room by itself. */
  dueAt?: string;
  blockedBy: BlockedBy[];
  into?: string;
  /** Starts before it in the queues of its counters. */
  ahead: number;
}

/** The most is said first; of equals the first policy speaks. */
const ORDER: PolicyVerdict['said'][] = ['rejected', 'coalesced', 'held', 'needs-approval', 'queued', 'ok'];

interface Line extends Consulted {
  verdict: PolicyVerdict['said'];
  until?: string;
  dueAt?: string;
  into?: string;
}

/** All that was consulted, and what it comes to: every policy counts, so that the strictest wins. */
export function decidePolicies(f: PolicyFacts): PolicyVerdict {
  const lines: Line[] = [
    ...f.refused.map(({ policy, saw }): Line => ({ policy, saw, said: 'reject', verdict: 'rejected' })),
    ...f.storms.map(stormLine),
    ...f.freezes.map(freezeLine),
    ...f.approvals.map(approvalLine),
    ...f.unknown.map(({ policy, saw }): Line => ({ policy, saw, said: 'queue', verdict: 'queued' })),
    ...f.budgets.map(budgetLine),
    ...f.later.map((policy): Line => ({
      policy,
      saw: 'charged for each target at its turn',
      said: 'ok',
      verdict: 'ok',
    })),
    ...(f.behind === undefined
      ? []
      : [{ policy: 'back-pressure', saw: f.behind, said: 'queue', verdict: 'queued' } as Line]),
  ];
  const said = ORDER.find((verdict) => verdict === 'ok' || lines.some((l) => l.verdict === verdict))!;
  const loud = lines.filter((l) => l.verdict === said && said !== 'ok');
  const full = f.budgets.filter((b) => b.rooms.some(isFull));
  const untils = loud.flatMap((l) => l.until ?? []).sort();
  const dues = loud.flatMap((l) => l.dueAt ?? []).sort();
  const into = loud[0]?.into;
  return {
    said,
    lines: lines.map(({ policy, saw, said: s }) => ({ policy, saw, said: s })),
    ...(loud.length === 0
      ? {}
      : {
          reason: loud
            .map((l) => `${l.policy}: ${l.saw}`)
            .slice(0, 3)
            .join('; '),
        }),
    ...(said === 'held' && untils.length > 0 ? { until: untils.at(-1)! } : {}),
    ...(said === 'queued' && dues.length > 0 ? { dueAt: dues[0]! } : {}),
    ...(into === undefined ? {} : { into }),
    blockedBy: full.flatMap((b) => b.holders).slice(0, 10),
    ahead: Math.max(0, ...full.flatMap((b) => b.rooms.map((r) => r.ahead))),
  };
}

export const isFull = (r: RoomFacts): boolean => r.used + r.fresh + r.ahead > r.max;
/** More at once than there ever is room for. */
const isTooMuch = (r: RoomFacts): boolean => r.fresh > r.max;

function roomText(r: RoomFacts, noun: string): string {
  const cap = r.of === undefined ? String(r.max) : `${r.max} (${r.of})`;
  const within = r.withinMs === undefined ? 'at once' : `within ${printDuration(r.withinMs)}`;
  const ahead = r.ahead === 0 ? '' : `, ${r.ahead} wait before it`;
  return `${r.used} of ${cap} ${noun} ${within}${r.fresh === 1 ? '' : `, ${r.fresh} more wanted`}${ahead}`;
}

function budgetLine(b: BudgetFacts): Line {
  const { policy, key, noun } = b;
  const tooMuch = b.rooms.find(isTooMuch);
  const shown = tooMuch ?? b.rooms.find(isFull) ?? b.rooms[0];
  const text = b.rooms.length === 0 || shown === undefined ? 'no limit' : roomText(shown, noun);
  const holder = b.rooms.some(isFull) ? b.holders[0] : undefined;
  const saw = `${key}: ${text}${holder?.runId === undefined ? '' : `; held by run ${holder.runId}`}`;
  if (tooMuch !== undefined)
    return { policy, saw: `${saw}; it never fits: start it in batches`, said: 'reject', verdict: 'rejected' };
  if (!b.rooms.some(isFull)) return { policy, saw, said: 'ok', verdict: 'ok' };
  if (b.act === 'reject') return { policy, saw, said: 'reject', verdict: 'rejected' };
  if (b.act === 'coalesce' && b.into !== undefined)
    return { policy, saw, said: 'coalesce', verdict: 'coalesced', into: b.into };
  const frees = b.rooms.filter(isFull).map((r) => r.freeAt);
  const due = frees.every((at) => at !== undefined) ? (frees as string[]).sort().at(-1) : undefined;
  return { policy, saw, said: 'queue', verdict: 'queued', ...(due === undefined ? {} : { dueAt: due }) };
}

function freezeLine(f: FreezeFacts): Line {
  const { policy, then, until, asked } = f;
  const saw = `frozen until ${until}`;
  if (asked?.state === 'approved')
    return {
      policy,
      saw: `${saw}; an exception was approved by ${(asked.by ?? []).join(', ')}`,
      said: 'ok',
      verdict: 'ok',
    };
  const more =
    f.exceptions === undefined || then === 'reject'
      ? ''
      : asked?.state === 'rejected'
        ? '; the exception was refused'
        : `; ${peopleOf(f.exceptions)} may let it through`;
  if (then === 'reject' && f.exceptions === undefined) return { policy, saw, said: 'reject', verdict: 'rejected' };
  if (then === 'reject')
    return asked?.state === 'rejected' || asked?.state === 'timed-out'
      ? { policy, saw: `${saw}; the exception was refused`, said: 'reject', verdict: 'rejected' }
      : {
          policy,
          saw: `${saw}; needs an exception by ${peopleOf(f.exceptions!)}`,
          said: 'ask',
          verdict: 'needs-approval',
        };
  return { policy, saw: `${saw}${more}`, said: 'hold', verdict: 'held', until };
}

const peopleOf = ({ users = [], groups = [], min = 1 }: ApprovalDemand['approvers']): string => {
  const who = [...groups, ...users].join(' or ');
  return `${min > 1 ? `${min} of ` : ''}${who === '' ? 'anybody' : who}`;
};

function approvalLine(a: ApprovalFacts): Line {
  const { policy, asked } = a;
  const who = peopleOf(a.approvers);
  switch (asked.state) {
    case 'approved':
      return { policy, saw: `approved by ${(asked.by ?? []).join(', ')}`, said: 'ok', verdict: 'ok' };
    case 'rejected':
    case 'timed-out':
      return { policy, saw: asked.reason ?? asked.state, said: 'reject', verdict: 'rejected' };
    case 'drifted':
      return {
        policy,
        saw: `what was approved is not what would run: ${asked.reason ?? ''}`,
        said: 'reject',
        verdict: 'rejected',
      };
    default:
      return { policy, saw: `${who} must approve`, said: 'ask', verdict: 'needs-approval' };
  }
}

function stormLine(s: StormFacts): Line {
  const saw = `${s.key}: ${s.seen} of ${s.total} in trouble within ${printDuration(s.withinMs)}, ${s.threshold} are a storm`;
  if (s.until === undefined) return { policy: s.policy, saw, said: 'ok', verdict: 'ok' };
  return {
    policy: s.policy,
    saw: `${saw}; run ${s.run ?? ''} looks at it as a whole until ${s.until}`,
    said: 'hold',
    verdict: 'held',
    until: s.until,
  };
}

/** Whether the policies let it go on to its locks. */
export const passes = (facts: PolicyFacts | undefined): boolean =>
  facts === undefined || decidePolicies(facts).said === 'ok';

/** When what a queued start waits for frees itself by the clock, if that is all it waits for. */
export function freeAtOf(row: { facts: unknown }): string | undefined {
  const policies = (row.facts as { policies?: PolicyFacts } | null)?.policies;
  if (policies === undefined) return undefined;
  const { said, dueAt } = decidePolicies(policies);
  return said === 'queued' ? dueAt : undefined;
}
