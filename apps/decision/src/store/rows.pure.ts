/** Between rows as PostgreSQL's JSON gives them and the shapes that the code works with. */
import type { EventMessage, HaltView, JsonObject, Retired, Tier } from '@opsloop/contracts';
import type { Loaded, World } from '../decide/world.pure.js';
import type { Episode } from '../episodes/machine.pure.js';
import { isLive, nextLook } from '../episodes/machine.pure.js';
import type { EpisodeRow, Resource, RuleTrace, WaitDoc, WaitKind } from './model.js';

export interface ResourceJson {
  path: string;
  kind: string;
  labels: Record<string, string>;
  state: JsonObject;
  state_at: Record<string, string>;
  seen_at: Record<string, string>;
  reported_by: string[];
  observed_at: string | Date | null;
  member_of: string[];
  depends_on: string[];
  owner: string | null;
  declared: boolean;
  last_run_end: string | Date | null;
  check_at: string | Date | null;
  retired?: Retired | null;
}

export interface EpisodeJson {
  id: string;
  rule: string;
  rule_version: string;
  resource: string;
  live: boolean;
  state: string;
  start_id: string | null;
  origin: string;
  doc: { episode: Episode; tier: Tier } & Pick<EpisodeRow, 'incident' | 'work'>;
  event: EventMessage;
  opened_at: string | Date;
}

export interface LoadJson {
  ruleset: string | null;
  resources: ResourceJson[] | null;
  episodes: EpisodeJson[] | null;
  blocked: EpisodeJson[] | null;
  waits:
    { rule: string; kind: WaitKind; key: string; doc: WaitDoc; due_at: string | null; expires_at: string }[] | null;
  budgets: { rule: string; slot: number; key: string; used: number }[] | null;
  holds: { path: string; run_id: string; at: string }[] | null;
  siblings: string[] | null;
  halts: HaltView[] | null;
}

const iso = (time: string | Date): string => new Date(time).toISOString();

export function resourceOf(row: ResourceJson): Resource {
  return {
    path: row.path,
    kind: row.kind,
    labels: row.labels,
    state: row.state,
    stateAt: row.state_at,
    seenAt: row.seen_at,
    reportedBy: row.reported_by,
    memberOf: row.member_of,
    dependsOn: row.depends_on,
    declared: row.declared,
    ...(row.owner === null ? {} : { owner: row.owner }),
    ...(row.observed_at === null ? {} : { observedAt: iso(row.observed_at) }),
    ...(row.last_run_end === null ? {} : { lastRunEnd: iso(row.last_run_end) }),
    ...(row.check_at === null ? {} : { checkAt: iso(row.check_at) }),
    ...(row.retired == null ? {} : { retired: row.retired }),
  };
}

export function episodeOf(row: EpisodeJson): EpisodeRow {
  const { episode, tier, incident, work } = row.doc;
  return {
    ...{ episode, origin: row.origin, event: row.event, tier },
    ...(incident === undefined ? {} : { incident }),
    ...(work === undefined ? {} : { work }),
  };
}

export function loadedOf(json: LoadJson): Loaded {
  return {
    resources: (json.resources ?? []).map(resourceOf),
    episodes: (json.episodes ?? []).map(episodeOf),
    blocked: (json.blocked ?? []).map(episodeOf),
    waits: (json.waits ?? []).map((row) => ({
      rule: row.rule,
      kind: row.kind,
      key: row.key,
      doc: row.doc,
      ...(row.due_at === null ? {} : { dueAt: iso(row.due_at) }),
      expiresAt: iso(row.expires_at),
    })),
    budgets: json.budgets ?? [],
    holds: (json.holds ?? []).map((row) => ({ path: row.path, runId: row.run_id, since: row.at })),
    siblings: json.siblings ?? [],
    halts: json.halts ?? [],
  };
}

const at = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());

/** One row per event: of two rows for the same one an UPDATE … FROM would take either, and a rule's verdict would be lost. */
function verdictsByEvent(world: World): Map<string, Record<string, RuleTrace>> {
  const byEvent = new Map<string, Record<string, RuleTrace>>();
  for (const { eventId, verdicts } of world.traceUpdates)
    byEvent.set(eventId, { ...byEvent.get(eventId), ...verdicts });
  return byEvent;
}

function episodeJson({ episode, origin, event, tier, incident, work }: EpisodeRow): Record<string, unknown> {
  return {
    id: episode.id,
    rule: episode.rule,
    rule_version: episode.ruleVersion,
    resource: episode.resource,
    live: isLive(episode),
    state: episode.state,
    start_id: episode.startId ?? null,
    due_at: at(nextLook(episode)),
    blocked_until: at(episode.blockedUntil),
    origin,
    doc: { episode, tier, ...(incident === undefined ? {} : { incident }), ...(work === undefined ? {} : { work }) },
    incident: incident?.id ?? null,
    event,
    opened_at: at(episode.openedAt),
  };
}

/** The one argument of `decision.save`. */
export function saveJson(world: World): Record<string, unknown[]> {
  const dirty = world.dirty();
  return {
    resources: dirty.resources.map((r) => ({
      path: r.path,
      kind: r.kind,
      labels: r.labels,
      state: r.state,
      state_at: r.stateAt,
      seen_at: r.seenAt,
      observed_at: r.observedAt ?? null,
      member_of: r.memberOf,
      depends_on: r.dependsOn,
      owner: r.owner ?? null,
      declared: r.declared,
      retired: r.retired ?? null,
    })),
    changes: world.stateChanges.map((c) => ({ ...c, cause: c.cause ?? null })),
    traces: world.traces.map((t) => ({
      event_id: t.eventId,
      ruleset: t.ruleset,
      subject: t.subject ?? null,
      event: t.event,
      notes: t.notes,
      verdicts: t.verdicts,
      at: t.at,
    })),
    verdicts: [...verdictsByEvent(world)].map(([event_id, verdicts]) => ({ event_id, verdicts })),
    decisions: world.decisions.map((d) => ({
      id: d.id,
      rule: d.rule,
      rule_version: d.ruleVersion,
      branch: d.branch,
      rung: d.rung,
      tier: d.tier,
      cause: d.cause,
      event_id: d.eventId ?? null,
      targets: d.targets,
      batches: d.batches,
      episodes: d.episodes,
      start: d.start,
      at: d.at,
    })),
    episodes: dirty.episodes.map(episodeJson),
    ended: dirty.ended,
    waits: dirty.waits.map((w) => ({
      rule: w.rule,
      kind: w.kind,
      key: w.key,
      doc: w.doc,
      due_at: w.dueAt ?? null,
      expires_at: w.expiresAt,
    })),
    budgets: world.charges
      .filter((c) => c.decisionId !== undefined)
      .map((c) => ({ rule: c.rule, slot: c.slot, key: c.key, decision_id: c.decisionId, at: world.nowIso })),
  };
}
