/** Decisions and episodes as the API shows them. */
import type { AdmissionOfDecision, Consulted, DecisionView, EpisodeView } from '@opsloop/contracts';
import type { Episode } from '../episodes/machine.pure.js';
import { nextLook } from '../episodes/machine.pure.js';
import type { RunRow } from '../runs/run-view.pure.js';
import type { DecisionRow, EpisodeRow } from '../store/model.js';

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
