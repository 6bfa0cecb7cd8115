/** Decisions and episodes as the API shows them. */
import type { Consulted, Json, Tier, Verdict } from '@opsloop/contracts';
import type { Episode } from '../episodes/machine.pure.js';
import { nextLook } from '../episodes/machine.pure.js';
import type { RunRow } from '../runs/run-view.pure.js';
import type { DecisionRow, EpisodeRow } from '../store/model.js';

export interface AdmissionOfDecision {
  id: string;
  /** `pending` until control has answered. */
  verdict: Verdict | 'pending';
  consulted: Consulted[];
  /** Set when there is a run to look at; of a coalesced start the other one. */
  runId?: string;
  status?: string;
  reason?: string;
}

export interface DecisionView {
  id: string;
  rule: string;
  version: string;
  branch: string;
  rung: string;
  tier: Tier;
  cause: string;
  eventId?: string;
  ref: string;
  targets: string[];
  batches: string[][];
  episodes: { id: string; resource: string }[];
  at: string;
  admissions: AdmissionOfDecision[];
}

export function decisionView(row: DecisionRow, run: RunRow | undefined): DecisionView {
  return {
    id: row.id,
    rule: row.rule,
    version: row.ruleVersion,
    branch: row.branch,
    rung: row.rung,
    tier: row.tier,
    cause: row.cause,
    ...(row.eventId === undefined ? {} : { eventId: row.eventId }),
    ref: row.start.ref,
    targets: row.targets,
    batches: row.batches,
    episodes: row.episodes,
    at: row.at,
    admissions: [admissionView(row.id, run)],
  };
}

function admissionView(id: string, run: RunRow | undefined): AdmissionOfDecision {
  if (run === undefined) return { id, verdict: 'pending', consulted: [] };
  const { consulted, into, reason } = run.doc as { consulted?: Consulted[]; into?: string; reason?: string };
  const runId = into ?? (run.verdict === 'admitted' || run.startedAt !== undefined ? id : undefined);
  return {
    id,
    verdict: run.verdict ?? 'admitted',
    consulted: consulted ?? [],
    ...(runId === undefined ? {} : { runId }),
    ...(run.status === undefined ? {} : { status: run.status }),
    ...(reason === undefined ? {} : { reason }),
  };
}

export interface EpisodeView {
  id: string;
  rule: string;
  version: string;
  resource: string;
  state: string;
  branch: string;
  rung: string;
  attempts: number;
  starts: number;
  refusals: number;
  openedAt: string;
  changedAt: string;
  eventId: string;
  startId?: string;
  nextAt?: string;
  blockedUntil?: string;
  reason?: string;
  incidentId?: string;
  event?: Json;
}

const iso = (ms: number): string => new Date(ms).toISOString();

export function episodeView({ episode, event, incident }: EpisodeRow): EpisodeView {
  const next = nextLook(episode);
  return {
    id: episode.id,
    rule: episode.rule,
    version: episode.ruleVersion,
    resource: episode.resource,
    state: episode.state,
    branch: episode.branch,
    rung: rungName(episode),
    attempts: episode.attempts,
    starts: episode.starts,
    refusals: episode.refusals,
    openedAt: iso(episode.openedAt),
    changedAt: iso(episode.changedAt),
    eventId: event.eventId,
    ...(episode.startId === undefined ? {} : { startId: episode.startId }),
    ...(next === undefined ? {} : { nextAt: iso(next) }),
    ...(episode.blockedUntil === undefined ? {} : { blockedUntil: iso(episode.blockedUntil) }),
    ...(episode.reason === undefined ? {} : { reason: episode.reason }),
    ...(incident === undefined ? {} : { incidentId: incident.id }),
  };
}

export function rungName(episode: Episode): string {
  return episode.plan.ladder[episode.rung]?.id ?? String(episode.rung);
}
