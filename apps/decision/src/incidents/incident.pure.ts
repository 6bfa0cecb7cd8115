/** Incidents as people read them: what happened, in its order, from stored facts alone. */
import type { DecisionView, IncidentSummary, Tier, TimelineEntry } from '@opsloop/contracts';
import type { StateChange } from '../explain/decisions.repository.js';
import { changesText } from '../recheck/story.pure.js';
import type { EpisodeRow } from '../store/model.js';

export interface IncidentFilter {
  state?: 'open' | 'closed' | undefined;
  rule?: string | undefined;
  under?: string | undefined;
  tier?: Tier | undefined;
  since?: string | undefined;
}

export interface IncidentRow {
  id: string;
  /** What its episodes have in common, where a rule says so. */
  key: string | null;
  tier: Tier;
  openedAt: string;
  lastOpenedAt: string;
  changedAt: string;
  episodes: number;
  open: number;
  converged: number;
  exhausted: number;
  withdrawn: number;
  resourceCount: number;
  resources: string[];
  rules: string[];
}

export function summaryOf(row: IncidentRow): IncidentSummary {
  const { id, tier, openedAt, rules, resources, resourceCount, episodes, open, converged, exhausted, withdrawn } = row;
  const what = row.key ?? (resourceCount === 1 ? resources[0]! : `${resourceCount} resources`);
  return {
    id,
    title: `${rules.length === 1 ? rules[0]! : `${rules.length} rules`} on ${what}`,
    state: open > 0 ? 'open' : 'closed',
    // One that nobody could heal decides how it ended.
    ...(open > 0 ? {} : { outcome: exhausted > 0 ? 'exhausted' : converged > 0 ? 'converged' : 'withdrawn' }),
    ...(row.key === null ? {} : { key: row.key }),
    ...{ tier, openedAt },
    ...(open > 0 ? {} : { closedAt: row.changedAt }),
    ...{ rules, resources },
    counts: { resources: resourceCount, episodes, open, converged, exhausted, withdrawn },
  };
}

export interface StoryParts {
  episodes: readonly EpisodeRow[];
  decisions: readonly DecisionView[];
  runs: readonly { id: string; flow: string; startedAt?: string; closedAt?: string; status?: string }[];
  changes: readonly StateChange[];
}

/** One ordered list; each event once, however many episodes it opened. */
export function storyOfIncident({ episodes, decisions, runs, changes }: StoryParts): TimelineEntry[] {
  const entries: TimelineEntry[] = [];
  const events = new Map(episodes.map(({ event }) => [event.eventId, event]));
  for (const event of events.values())
    entries.push({
      at: event.time,
      kind: 'event',
      title: `${event.type}${event.subject === undefined ? '' : ` about ${event.subject}`}`,
      ref: event.eventId,
      ...(event.causationId === undefined ? {} : { cause: event.causationId }),
    });
  for (const one of decisions) {
    entries.push({
      at: one.at,
      kind: 'decision',
      title: `${one.rule} ${one.branch}/${one.rung}, ${one.tier}: ${one.ref} on ${some(one.targets)}`,
      ref: one.id,
      cause: one.eventId ?? one.cause,
    });
    const [admission] = one.admissions;
    if (admission !== undefined && !['admitted', 'pending'].includes(admission.verdict))
      entries.push({
        at: one.at,
        kind: 'admission',
        title: `${admission.verdict}${admission.reason === undefined ? '' : `: ${admission.reason}`}`,
        ref: admission.id,
        cause: one.id,
      });
  }
  for (const run of runs) {
    if (run.startedAt !== undefined)
      entries.push({ at: run.startedAt, kind: 'run', title: `${run.flow} started`, ref: run.id });
    if (run.startedAt !== undefined && run.closedAt !== undefined)
      entries.push({ at: run.closedAt, kind: 'run', title: `${run.flow} ${run.status ?? 'closed'}`, ref: run.id });
  }
  for (const change of changes)
    entries.push({
      at: change.at,
      kind: 'state',
      title: `${change.path}: ${changesText(change.changes)}`,
      ref: change.path,
      ...(change.cause === undefined ? {} : { cause: change.cause }),
    });
  for (const { episode } of episodes)
    if (['converged', 'exhausted', 'withdrawn'].includes(episode.state))
      entries.push({
        at: new Date(episode.changedAt).toISOString(),
        kind: 'state',
        title: `${episode.resource} ${episode.state}${episode.reason === undefined ? '' : `: ${episode.reason}`}`,
        ref: episode.id,
      });
  return entries.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

function some(paths: readonly string[]): string {
  return paths.length <= 5 ? paths.join(', ') : `${paths.slice(0, 5).join(', ')} and ${paths.length - 5} more`;
}
