/** Does the cause of a start that waited still stand? */
import type { EventMessage, RuleDocument } from '@opsloop/contracts';
import type { Scope } from '@opsloop/rules';
import { dataMismatch } from '../decide/match.pure.js';
import { goalTruth, isFresh, ruleScope, whyFalse } from '../decide/scope.pure.js';
import type { Configs, Resource } from '../store/model.js';

/** What the condition of the rule sees of an event: with facts, where the rule declares any. */
export type ScopeOf = (event: EventMessage) => Scope;

export type Standing = 'stands' | 'cleared' | 'unknown';

/**
 * Without `observe` we wait this long after a run for its effect to be reported: three periods of a poll of 5s. After
 * that the last report counts again, since sources tell of changes only and silence means that nothing changed.
 */
export const REPORT_GRACE_MS = 15_000;

/** Whether a look is needed before anybody can say. */
export function needsLook(doc: RuleDocument, resource: Resource, now: number): boolean {
  return doc.goal?.observe !== undefined && !isFresh(doc, resource, now);
}

export function standing(
  doc: RuleDocument,
  event: EventMessage | undefined,
  resource: Resource,
  configs: Configs,
  now: number,
  scopeOf: ScopeOf = (today) => ruleScope(configs, today, resource),
): Standing {
  if (doc.goal !== undefined) return goalStanding(doc, resource, configs, now);
  // Without a goal only a reported state can clear; an alert or an order stands until somebody takes it back.
  if (event?.state === undefined || !isReportOf(doc, event, resource)) return 'stands';
  const today = stateStanding(doc, event, resource, scopeOf);
  // A report of after the cause that it is gone counts at once; that it is still there may be older than what a run did.
  return today === 'stands' && reportPending(resource, now) ? 'unknown' : today;
}

/** Was this resource's own state reported? In a group every target was, though one event stands for all of them. */
function isReportOf(doc: RuleDocument, event: EventMessage, resource: Resource): boolean {
  if (event.subject === resource.path) return true;
  const { targets = { from: 'event' } } = doc;
  return doc.group !== undefined && 'from' in targets && targets.from === 'event';
}

function goalStanding(doc: RuleDocument, resource: Resource, configs: Configs, now: number): Standing {
  if (doc.goal!.observe === undefined) {
    // Nothing was ever reported, so nothing says that it has cleared.
    if (resource.observedAt === undefined) return 'stands';
    const ended = resource.lastRunEnd === undefined ? undefined : Date.parse(resource.lastRunEnd);
    if (ended !== undefined && Date.parse(resource.observedAt) < ended && now - ended < REPORT_GRACE_MS)
      return 'unknown';
  }
  const goal = goalTruth(doc, resource, configs, now);
  return goal === 'true' ? 'cleared' : goal === 'false' ? 'stands' : 'unknown';
}

/** A run has just ended here and nothing was reported since. */
function reportPending(resource: Resource, now: number): boolean {
  if (resource.lastRunEnd === undefined || resource.observedAt === undefined) return false;
  const ended = Date.parse(resource.lastRunEnd);
  return Date.parse(resource.observedAt) < ended && now - ended < REPORT_GRACE_MS;
}

function stateStanding(doc: RuleDocument, event: EventMessage, resource: Resource, scopeOf: ScopeOf): Standing {
  const fits = doc.on.some(
    (entry) => entry.data === undefined || dataMismatch(entry.data, resource.state) === undefined,
  );
  if (!fits) return 'cleared';
  if (doc.when === undefined) return 'stands';
  try {
    const today = { ...event, subject: resource.path, data: resource.state };
    return whyFalse(doc.when, scopeOf(today)) === undefined ? 'stands' : 'cleared';
  } catch {
    return 'unknown';
  }
}

/** Of several targets: cleared only when all are, and one that stands is enough to go on. */
export function overall(verdicts: readonly Standing[]): Standing {
  if (verdicts.includes('stands')) return 'stands';
  if (verdicts.length > 0 && verdicts.every((verdict) => verdict === 'cleared')) return 'cleared';
  return verdicts.length === 0 ? 'stands' : 'unknown';
}
