/** What an admission writes down and tells, as functions of the start and its verdict. */
import {
  type Claim,
  type Consulted,
  type Initiator,
  type StartRequest,
  type TimelineEntry,
  durationMs,
} from '@opsloop/contracts';
import { planOf } from '../approvals/policy-plan.pure.js';
import { isMemberClaim } from '../lock/groups.pure.js';
import { mergeClaims, runHolder } from '../lock/lock.pure.js';
import type { PolicyEffect, Weighed } from '../policies/demand.pure.js';
import type { AtGate } from '../policies/gate.service.js';
import { isLimitPath } from '../policies/run-limit.pure.js';
import type { AdmissionRow, StartableRow } from './admission-row.js';
import type { NewAdmission } from './admission.repository.js';
import type { AdmitResult, Prepared, StartInput } from './admit.service.js';
import type { StartPlan } from './plan.pure.js';
import { decideVerdict, type VerdictResult } from './verdict.pure.js';

/** Work that waits longer than this is decided anew instead. */
const VALID_FOR_DEFAULT = '30m';

/** How long a start may wait: what it asks for or the default, and never longer than a policy allows. */
export const validityOf = (request: Pick<StartRequest, 'validFor'>, policy: PolicyEffect | undefined): number =>
  request.validFor === undefined && policy?.validForMs !== undefined
    ? policy.validForMs
    : Math.min(durationMs(request.validFor ?? VALID_FOR_DEFAULT), policy?.validForMs ?? Infinity);

/** What a run has to itself; a limit, or the place of a member in its group, is no thing that anybody could work on. */
export const exclusivePaths = (claims: readonly Claim[]): string[] =>
  claims.filter((c) => c.mode === 'exclusive' && !isLimitPath(c.path) && !isMemberClaim(c.path)).map((c) => c.path);

export const ownerOf = (flow: string, initiator: Initiator): string => `${flow} by ${initiator.kind} ${initiator.name}`;

export function grantOf(start: Prepared, plan: StartPlan, seen: { rankAt: Date }) {
  return {
    claims: plan.claims,
    holder: runHolder(start.request.id),
    owner: ownerOf(plan.flow, start.request.initiator),
    rankAt: seen.rankAt,
    ...(start.ttlMs === undefined ? {} : { ttlMs: start.ttlMs }),
  };
}

export function atGate(start: Prepared, plan: StartPlan, seen: { ticket: string; rankAt: Date }): AtGate {
  const { id, tier, initiator, input, incidentId } = start.request;
  const ir = start.offering && { digest: start.offering.irDigest, compiled: start.offering.compiled };
  const asked = planOf(plan, input, ir);
  return {
    id,
    tier,
    initiator,
    incidentId,
    flow: plan.flow,
    ticket: seen.ticket,
    rankAt: seen.rankAt,
    plan: asked,
    isNew: true,
  };
}

export function unresolved(
  validForMs: number,
  silent: 'catalog' | 'inventory' = 'catalog',
): VerdictResult & { fence?: string } {
  const consulted: Consulted[] = [
    { policy: silent, saw: 'no answer', said: 'queue' },
    ...decideVerdict({ coalesce: false, halts: [], claims: 0, holders: [], ahead: [], validForMs }).consulted.filter(
      (c) => c.policy === 'validFor',
    ),
  ];
  return {
    verdict: 'queued',
    consulted,
    reason: `the ${silent === 'catalog' ? 'service catalog' : silent} does not answer; asked again`,
  };
}

export function startableRow(tenant: string, start: Prepared, result: AdmitResult): StartableRow {
  const { request, offering } = start;
  return {
    tenant,
    id: result.id,
    request,
    flow: result.flow,
    version: result.version ?? null,
    ir_digest: offering!.irDigest,
    targets: result.targets,
    tier: request.tier,
    rule: request.cause?.rule ?? null,
    decision_id: request.cause === undefined ? null : result.id,
    initiator: request.initiator,
    fence: result.fence ?? null,
    dry_run: start.dryRun ?? false,
    start_attempts: 0,
    facts: start.demand === undefined ? null : { policies: { later: start.demand.later } },
  };
}

export function historyOf(result: VerdictResult & { fence?: string }, now: Date): TimelineEntry[] {
  const at = now.toISOString();
  const entries: TimelineEntry[] = [
    {
      at,
      kind: 'admission',
      title: result.reason === undefined ? result.verdict : `${result.verdict}: ${result.reason}`,
    },
  ];
  if (result.fence !== undefined)
    entries.push({ at, kind: 'lock', title: `locks granted under fence ${result.fence}`, ref: result.fence });
  return entries;
}

export function repeated(row: AdmissionRow): AdmitResult {
  return {
    id: row.id,
    flow: row.flow,
    ...(row.version === null ? {} : { version: row.version }),
    targets: row.targets,
    verdict: verdictOfState(row.state),
    consulted: row.consulted,
    repeated: true,
    ...(row.into_id === null ? {} : { into: row.into_id }),
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.fence === null ? {} : { fence: row.fence }),
  };
}

/** A started or closed admission was admitted. */
export function verdictOfState(state: AdmissionRow['state']): AdmitResult['verdict'] {
  return state === 'started' || state === 'closed' ? 'admitted' : state;
}

/** What the policies look at of a start. */
export function weighedOf(request: StartRequest, plan: StartPlan): Weighed {
  return {
    id: request.id,
    tenant: request.tenant,
    flow: plan.flow,
    effect: plan.effect,
    atoms: plan.atoms,
    targets: plan.targets,
    tier: request.tier,
    rule: request.cause?.rule,
    initiator: request.initiator,
    input: request.input,
    caused: request.cause !== undefined,
    turns: plan.turns === true,
    approval: request.approval,
  };
}

/** `domain/name` and `atom/word.word` are named alike wherever a flow is named. */
export function flowOfRef(ref: string): string {
  const name = ref.split('@', 1)[0]!;
  return name.includes('/') ? name : `atom/${name}`;
}

export function lockPlan(input: StartInput): StartPlan {
  return {
    flow: flowOfRef(input.request.ref),
    version: '0.0.0',
    effect: 'mutate',
    atoms: [],
    targets: input.request.targets,
    claims: mergeClaims(input.claims ?? []),
  };
}

export function blankRow(request: StartRequest): Partial<AdmissionRow> {
  return {
    id: request.id,
    flow: flowOfRef(request.ref),
    version: null,
    targets: request.targets,
    consulted: [],
    into_id: null,
    reason: null,
    fence: null,
  };
}

/** The row of a start that has its verdict. */
export function newRow(
  start: Prepared,
  decided: AdmitResult,
  at: { ticket: string; rankAt: Date; validForMs: number; now: Date },
): NewAdmission {
  const { request, plan } = start;
  const state = decided.verdict;
  return {
    id: request.id,
    kind: start.kind,
    state,
    request,
    flow: decided.flow,
    version: plan?.version,
    effect: plan?.effect,
    irDigest: start.offering?.irDigest,
    atoms: plan?.atoms ?? [],
    targets: decided.targets,
    claims: plan?.claims,
    ownClaims: start.ownClaims ?? plan?.claims,
    tier: request.tier,
    rule: request.cause?.rule,
    decisionId: request.cause === undefined ? undefined : request.id,
    initiator: request.initiator,
    coalesceKey: state === 'rejected' || state === 'coalesced' ? undefined : plan?.coalesceKey,
    into: decided.into,
    ticket: at.ticket,
    rankAt: at.rankAt,
    validUntil: new Date(at.now.getTime() + at.validForMs),
    fence: decided.fence,
    consulted: decided.consulted,
    reason: decided.reason,
    dryRun: start.dryRun ?? false,
    ttlMs: start.ttlMs,
    heartbeatMs: start.heartbeatMs,
    history: historyOf(decided, at.now),
  };
}
