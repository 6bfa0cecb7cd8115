/** The front part of a run's timeline: from the first event to the last change of state. */
import type { JsonObject, TimelineEntry } from '@opsloop/contracts';
import type { StateChange } from '../explain/decisions.repository.js';
import type { DecisionRow, TraceRow } from '../store/model.js';

export function storyOf(
  trace: TraceRow | undefined,
  decision: DecisionRow | undefined,
  changes: readonly StateChange[],
): TimelineEntry[] {
  const entries: TimelineEntry[] = [];
  if (trace !== undefined) {
    const { event } = trace;
    entries.push({
      // When it happened, as for the states that it reports: the first cause stands first.
      at: event.time,
      kind: 'event',
      title: `${event.type}${event.subject === undefined ? '' : ` about ${event.subject}`}`,
      ref: event.eventId,
      ...(event.causationId === undefined ? {} : { cause: event.causationId }),
      ...(event.receivedAt === event.time ? {} : { detail: { receivedAt: event.receivedAt } }),
    });
  }
  if (decision !== undefined) {
    entries.push({
      at: decision.at,
      kind: 'decision',
      title: `${decision.rule} ${decision.branch}/${decision.rung}: ${decision.start.ref} on ${decision.targets.join(', ')}`,
      ref: decision.id,
      cause: decision.eventId ?? decision.cause,
    });
  }
  for (const change of changes) {
    entries.push({
      at: change.at,
      kind: 'state',
      title: `${change.path}: ${changesText(change.changes)}`,
      ref: change.path,
      ...(change.cause === undefined ? {} : { cause: change.cause }),
    });
  }
  return entries.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
}

export function changesText(changes: JsonObject): string {
  return Object.entries(changes)
    .filter(([, value]) => typeof value !== 'number')
    .map(([key, value]) => `${key} = ${typeof value === 'string' ? `'${value}'` : JSON.stringify(value)}`)
    .join(', ');
}
