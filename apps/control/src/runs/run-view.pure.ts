import {
  type AdmissionView,
  type BlockedBy,
  FINAL_RUN_STATUSES,
  type RunStatus,
  type RunView,
  type StepRecord,
  type TimelineEntry,
} from '@opsloop/contracts';
import type { AdmissionRow, AdmissionState } from '../admit/admission-row.js';
import { verdictOfState } from '../admit/admit.pure.js';

/** What a started run does, as its workflow tells Temporal. */
export type RunPhase = 'waiting' | 'paused';

/** What a person calls the state of a run. */
export function statusOf(
  row: Pick<AdmissionRow, 'state' | 'status'> & { paused?: boolean },
  steps?: readonly StepRecord[] | null,
  asked = false,
  phase?: RunPhase,
): RunStatus {
  switch (row.state) {
    case 'queued':
    case 'held':
    case 'needs-approval':
      return 'queued';
    case 'admitted':
      return 'running';
    case 'started':
      if (row.paused === true || phase === 'paused' || steps?.some((s) => s.status === 'paused') === true)
        return 'paused';
      // A sub-flow's question stands in its own steps, and the run waits for the answer all the same.
      return asked || phase === 'waiting' || steps?.some((s) => s.status === 'waiting') === true
        ? 'waiting'
        : 'running';
    case 'closed':
      return row.status ?? 'failed';
    default:
      return 'cancelled';
  }
}

/** States of admission behind a status, for the filter of the list; what a started one does is asked besides. */
export function statesOfStatus(status: RunStatus): { states: AdmissionState[]; ends: string[] } {
  if (status === 'queued') return { states: ['queued', 'held', 'needs-approval'], ends: [] };
  if (status === 'running') return { states: ['admitted', 'started'], ends: [] };
  if (status === 'paused' || status === 'waiting') return { states: ['started'], ends: [] };
  if (status === 'cancelled')
    return { states: ['rejected', 'coalesced', 'withdrawn', 'cancelled', 'expired'], ends: ['cancelled'] };
  return { states: [], ends: [status] };
}

export const isFinalStatus = (status: RunStatus): boolean => FINAL_RUN_STATUSES.includes(status);

export interface ViewExtras {
  temporalUrl?: string | undefined;
  steps?: StepRecord[] | undefined;
  stale?: boolean | undefined;
  position?: number | undefined;
  blockedBy?: BlockedBy[] | undefined;
  eta?: string | undefined;
  phase?: RunPhase | undefined;
  /** What people are asked right now. */
  approvals?: RunView['approvals'];
  diagnosis?: RunView['diagnosis'];
}

export function admissionViewOf(row: AdmissionRow, extras: ViewExtras = {}): AdmissionView {
  return {
    verdict: verdictOfState(row.state),
    ...(extras.position === undefined ? {} : { position: extras.position }),
    ...(extras.blockedBy === undefined ? {} : { blockedBy: extras.blockedBy }),
    ...(extras.eta === undefined ? {} : { eta: extras.eta }),
    consulted: row.consulted,
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.state === 'held' && row.hold_until !== null ? { heldUntil: row.hold_until.toISOString() } : {}),
    ...((row.state === 'needs-approval' || row.state === 'held') && row.approval_id !== null
      ? { approvalId: row.approval_id }
      : {}),
  };
}

export function runViewOf(row: AdmissionRow, extras: ViewExtras = {}): RunView {
  const steps = extras.steps ?? row.steps ?? undefined;
  const began = row.started_at !== null || row.state === 'admitted' || row.state === 'started';
  return {
    id: row.id,
    flow: row.flow,
    version: row.version ?? '',
    status: statusOf(row, steps, extras.approvals !== undefined, extras.phase),
    input: row.request.perTarget === undefined ? row.request.input : { items: row.request.perTarget.items as never },
    ...(row.output === null ? {} : { output: row.output }),
    ...(row.problem === null ? {} : { problem: row.problem }),
    targets: row.targets,
    tier: row.tier,
    ...(row.decision_id === null ? {} : { decisionId: row.decision_id }),
    admission: admissionViewOf(row, extras),
    ...(row.fence === null ? {} : { fence: row.fence }),
    ...(row.workflow_id === null || !began ? {} : { workflowId: row.workflow_id }),
    ...(extras.temporalUrl === undefined || !began ? {} : { temporalUrl: extras.temporalUrl }),
    createdAt: row.created_at.toISOString(),
    ...(row.started_at === null ? {} : { startedAt: row.started_at.toISOString() }),
    ...(row.ended_at === null ? {} : { endedAt: row.ended_at.toISOString() }),
    ...(steps === undefined ? {} : { steps }),
    ...(extras.stale === true ? { stale: true } : {}),
    ...(row.acts.length === 0 ? {} : { acts: row.acts }),
    ...(row.retry_of === null ? {} : { retryOf: row.retry_of }),
    initiator: row.initiator,
    ...(row.rule === null ? {} : { rule: row.rule }),
    ...(row.request.incidentId === undefined ? {} : { incidentId: row.request.incidentId }),
    ...(extras.approvals === undefined ? {} : { approvals: extras.approvals }),
    ...(extras.diagnosis === undefined ? {} : { diagnosis: extras.diagnosis }),
  };
}

/** Entries for the steps of a run: when each began, and how each ended. */
export function stepEntries(steps: readonly StepRecord[]): TimelineEntry[] {
  return steps.flatMap((step): TimelineEntry[] => {
    const name = step.title ?? step.path;
    const begun: TimelineEntry = { at: step.startedAt, kind: 'step', title: `${name} began`, ref: step.path };
    if (step.endedAt === undefined) return [begun];
    const why = step.problem?.detail ?? step.problem?.title;
    return [
      begun,
      {
        at: step.endedAt,
        kind: 'step',
        title: `${name} ${step.status}`,
        ref: step.path,
        ...(why === undefined ? {} : { cause: why }),
      },
    ];
  });
}

/** One story from several tellers, in order of time; what happened at the same instant keeps the tellers' order. */
export function mergeTimeline(...parts: readonly (readonly TimelineEntry[])[]): TimelineEntry[] {
  return parts.flat().sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
}
