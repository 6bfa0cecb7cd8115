import { type BlockedBy, type Consulted, type HaltView, printDuration, type Verdict } from '@opsloop/contracts';
import { besidesLimit, consultLimit, type LimitFacts } from '../policies/run-limit.pure.js';
import { decidePolicies, type PolicyFacts, type PreemptFacts } from '../policies/policy-verdict.pure.js';
import { describeScope } from '../halts/halt-scope.pure.js';

/** What admission found out; every member was read under the locks of its transaction. */
export interface AdmissionFacts {
  /** Policies that refuse outright. */
  refused?: { policy: string; reason: string } | undefined;
  /** Alive admission with the same coalescing key. */
  twin?: string | undefined;
  /** Whether the caller wanted coalescing at all. */
  coalesce: boolean;
  halts: readonly HaltView[];
  /** Number of claims asked for. */
  claims: number;
  fence?: string | undefined;
  holders: readonly BlockedBy[];
  ahead: readonly BlockedBy[];
  validForMs: number;
  /** Mutex policies with `onConflict`. */
  onConflict?: { policy: string; act: 'queue' | 'reject' } | undefined;
  /** The limit of the flow; holders and ahead have those in its way too. */
  limit?: LimitFacts | undefined;
  /** What the policies found; with them, claims are tried only where they let it pass. */
  policies?: PolicyFacts | undefined;
  /** Lower tiers that hold the locks and give way. */
  preempt?: PreemptFacts | undefined;
}

export interface VerdictResult {
  verdict: Verdict;
  consulted: Consulted[];
  reason?: string;
  position?: number;
  blockedBy?: BlockedBy[];
  into?: string;
}

const names = (list: readonly BlockedBy[]): string =>
  list
    .slice(0, 3)
    .map((b) => `${b.owner} on ${b.path}`)
    .join('; ');

/** The verdict, and what each check saw and said, in the order in which they were asked. */
export function decideVerdict(f: AdmissionFacts): VerdictResult {
  const consulted: Consulted[] = [];
  const done = (verdict: Verdict, more: Omit<VerdictResult, 'verdict' | 'consulted'> = {}): VerdictResult => ({
    verdict,
    consulted: consulted.concat(valid),
    ...more,
  });
  const valid: Consulted[] = [{ policy: 'validFor', saw: `valid for ${printDuration(f.validForMs)}`, said: 'ok' }];

  if (f.refused !== undefined) {
    consulted.push({ policy: f.refused.policy, saw: f.refused.reason, said: 'reject' });
    return done('rejected', { reason: f.refused.reason });
  }
  consulted.push({
    policy: 'coalesce',
    saw: !f.coalesce ? 'not asked for' : f.twin === undefined ? 'no identical work alive' : `${f.twin} does the same`,
    said: f.twin === undefined ? 'ok' : 'coalesce',
  });
  if (f.twin !== undefined) return done('coalesced', { into: f.twin, reason: `joined ${f.twin}` });

  const halt = f.halts[0];
  consulted.push({
    policy: 'halts',
    saw: halt === undefined ? 'none in force' : `halt ${halt.id} on ${describeScope(halt.scope)}: ${halt.reason}`,
    said: halt === undefined ? 'ok' : 'hold',
  });
  const policies = f.policies === undefined ? undefined : decidePolicies(f.policies);
  if (policies !== undefined) consulted.push(...policies.lines);
  if (halt !== undefined) return done('held', { reason: `held by halt ${halt.id}: ${halt.reason}` });
  if (policies === undefined || policies.said === 'ok') return decideMutex(f, consulted, done);

  const { said, reason, into } = policies;
  consulted.push({ policy: f.onConflict?.policy ?? 'mutex', ...lookOnly(f) });
  const blockedBy = [...policies.blockedBy, ...f.holders, ...f.ahead].slice(0, 10);
  return done(said, {
    ...(reason === undefined ? {} : { reason }),
    ...(into === undefined ? {} : { into }),
    ...(said === 'queued' ? { position: Math.max(policies.ahead, f.ahead.length) + 1, blockedBy } : {}),
  });
}

/** The locks of what does not get so far: looked at, not tried. */
function lookOnly(f: AdmissionFacts): Pick<Consulted, 'saw' | 'said'> {
  if (f.claims === 0) return { saw: 'no claims', said: 'ok' };
  if (f.holders.length > 0) return { saw: `held by ${names(f.holders)}`, said: 'queue' };
  if (f.ahead.length > 0) return { saw: `${f.ahead.length} earlier in the queue`, said: 'queue' };
  return { saw: `${f.claims} free, not taken yet`, said: 'ok' };
}

type Done = (verdict: Verdict, more?: Omit<VerdictResult, 'verdict' | 'consulted'>) => VerdictResult;

function decideMutex(f: AdmissionFacts, consulted: Consulted[], done: Done): VerdictResult {
  const policy = f.onConflict?.policy ?? 'mutex';
  const blockedBy = [...f.holders, ...f.ahead].slice(0, 10);
  const limit = f.limit === undefined ? undefined : consultLimit(f.limit);
  const limited = limit?.said === 'ok' ? undefined : limit;
  const reason = limited && `limit: ${limited.saw}`;
  if (limit !== undefined) consulted.push(limit);
  if (limited?.said === 'reject') return done('rejected', { reason: reason!, blockedBy });
  if (limited?.said === 'coalesce') return done('coalesced', { into: f.limit!.into!, reason: reason! });

  const claims = f.claims - (f.limit?.paths.length ?? 0);
  const holders = besidesLimit(f.holders, f.limit);
  const ahead = besidesLimit(f.ahead, f.limit);
  if (f.fence !== undefined || f.claims === 0) {
    consulted.push({ policy, saw: claims === 0 ? 'no claims' : `${claims} free`, said: 'ok' });
    return done('admitted');
  }
  const position = f.ahead.length + 1;
  if (limited !== undefined && holders.length + ahead.length === 0)
    return done('queued', { position, blockedBy, reason: reason! });
  const saw = holders.length > 0 ? `held by ${names(holders)}` : `${ahead.length} earlier in the queue`;
  if (f.onConflict?.act === 'reject') {
    consulted.push({ policy, saw, said: 'reject' });
    return done('rejected', { reason: saw, blockedBy });
  }
  consulted.push({ policy, saw, said: 'queue' });
  if (f.preempt !== undefined) {
    const who = f.preempt.runs.map((r) => `${r.id} (${r.tier})`).join(', ');
    consulted.push({ policy: f.preempt.policy, saw: `${f.preempt.tier} goes before ${who}`, said: 'preempt' });
  }
  return done('queued', { position, blockedBy, reason: reason === undefined ? saw : `${reason}; ${saw}` });
}
