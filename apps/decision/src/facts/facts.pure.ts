/**
 * Facts of a rule. They are computed only for events that get as far as the rule, and only when it declares any; counts
 * were read before under the key of their place, and what the same batch has decided since is added here.
 */
import type { EventMessage, FactSpec, Json, JsonObject, RuleDocument } from '@opsloop/contracts';
import { durationMs, isUnder, matchesPattern, OpsError } from '@opsloop/contracts';
import type { Scope } from '@opsloop/rules';
import { renderTemplate } from '@opsloop/rules';
import { localTime, openWindow } from '@opsloop/rules/windows';
import { dataMismatch } from '../decide/match.pure.js';
import { ruleScope } from '../decide/scope.pure.js';
import type { EpisodeRow, Configs, Resource } from '../store/model.js';
import type { Around } from './around.pure.js';
import { outputOf, rowsOf } from './table.pure.js';

/** Above this a count says only that there are more; nobody compares with larger numbers. */
export const COUNT_MAX = 10_000;

export type Place = { of: string } | { under: string } | { any: true };

/** One count to read from the rows. */
export interface CountRequest {
  key: string;
  fact: FactSpec;
  place: Place;
  /** Milliseconds since 1970; absent: of any age. */
  since?: number;
  /** Of episodes: the one that the asking rule has for the asking subject does not count. */
  not: { rule: string; resource: string };
}

export function isCount(fact: FactSpec): boolean {
  return fact.events !== undefined || fact.episodes !== undefined;
}

export function placeOf(fact: FactSpec, scope: Scope, event: EventMessage): Place {
  if (fact.any === true) return { any: true };
  if (fact.under !== undefined) return { under: pathText(renderTemplate(fact.under, scope)) };
  if (fact.of !== undefined) return { of: pathText(renderTemplate(fact.of, scope)) };
  if (event.subject === undefined) throw new OpsError('expression', 'the event has no subject to count by');
  return { of: event.subject };
}

function pathText(value: Json): string {
  if (typeof value !== 'string' || value === '') throw new OpsError('expression', 'counts are kept by paths');
  return value;
}

export function countKey(rule: string, name: string, place: Place, subject: string | undefined): string {
  return JSON.stringify([rule, name, place, subject ?? null]);
}

/** The counts that judging this event by this rule may ask for. A slot that fails is said when the rule is judged. */
export function countRequests(
  doc: RuleDocument,
  event: EventMessage,
  resource: Resource | undefined,
  configs: Configs,
  now: number,
): CountRequest[] {
  if (doc.facts === undefined) return [];
  const scope = ruleScope(configs, event, resource);
  return Object.entries(doc.facts).flatMap(([name, fact]): CountRequest[] => {
    if (!isCount(fact)) return [];
    try {
      const place = placeOf(fact, scope, event);
      return [
        {
          key: countKey(doc.name, name, place, event.subject),
          fact,
          place,
          ...(fact.within === undefined ? {} : { since: now - durationMs(fact.within) }),
          not: { rule: doc.name, resource: event.subject ?? '' },
        },
      ];
    } catch {
      return [];
    }
  });
}

/** What the facts of one event are computed from. */
export interface FactSources {
  now: number;
  configs: Configs;
  around: Around;
  /** Events that this batch decided before; their rows are not written yet. */
  events(): readonly EventMessage[];
  /** Episodes that this batch opened. */
  opened(): readonly EpisodeRow[];
}

export function factsOf(
  doc: RuleDocument,
  event: EventMessage,
  resource: Resource | undefined,
  from: FactSources,
): JsonObject {
  if (doc.facts === undefined) return {};
  const scope = ruleScope(from.configs, event, resource);
  const facts: JsonObject = {};
  for (const [name, fact] of Object.entries(doc.facts)) facts[name] = valueOf(doc, name, fact, event, scope, from);
  return facts;
}

function valueOf(
  doc: RuleDocument,
  name: string,
  fact: FactSpec,
  event: EventMessage,
  scope: Scope,
  from: FactSources,
): Json {
  if (fact.clock !== undefined) return localTime(from.now, fact.clock) as unknown as Json;
  if (fact.during !== undefined) return openWindow(fact.during, from.now) !== undefined;
  if (fact.table !== undefined) {
    const table = from.around.tables.get(fact.table);
    if (table === undefined) throw new OpsError('expression', `the table ${fact.table} could not be read`);
    const rows = rowsOf(table, scope).map(outputOf) as Json[];
    return table.hit === 'collect' ? rows : (rows[0] ?? null);
  }
  const place = placeOf(fact, scope, event);
  const known = from.around.counts.get(countKey(doc.name, name, place, event.subject));
  if (known === undefined)
    throw new OpsError('expression', `facts.${name} was not counted for ${JSON.stringify(place)}`);
  if (fact.episodes !== undefined) {
    const fresh = from.opened().filter((row) => countsEpisode(fact, place, row, doc.name, event.subject));
    return Math.min(COUNT_MAX, known.count + fresh.length);
  }
  const fresh = [...from.events(), event].filter((one) => countsEvent(fact, place, one));
  if (fact.distinct === undefined) return Math.min(COUNT_MAX, known.count + fresh.length);
  const subjects = new Set([...(known.subjects ?? []), ...fresh.flatMap((one) => one.subject ?? [])]);
  return Math.min(COUNT_MAX, subjects.size);
}

function inPlace(place: Place, path: string | undefined): boolean {
  if ('any' in place) return true;
  if (path === undefined) return false;
  return 'of' in place ? path === place.of : path !== place.under && isUnder(path, place.under);
}

/** The same question as the statement asks of rows. */
export function countsEvent({ events }: FactSpec, place: Place, event: EventMessage): boolean {
  const { type, source, subject, data } = events!;
  return (
    inPlace(place, event.subject) &&
    (type === undefined || matchesPattern(type, event.type)) &&
    (source === undefined || matchesPattern(source, event.source)) &&
    (subject === undefined || (event.subject !== undefined && matchesPattern(subject, event.subject))) &&
    (data === undefined || dataMismatch(data, event.data) === undefined)
  );
}

function countsEpisode(
  { episodes }: FactSpec,
  place: Place,
  { episode }: EpisodeRow,
  rule: string,
  subject: string | undefined,
): boolean {
  if (episode.rule === rule && episode.resource === subject) return false;
  return (
    inPlace(place, episode.resource) &&
    (episodes!.rule === undefined || matchesPattern(episodes!.rule, episode.rule)) &&
    (episodes!.state === undefined || episodes!.state.includes(episode.state))
  );
}

/** Decision tables that a rule reads. */
export function tablesOf(doc: RuleDocument): string[] {
  const tier = doc.tier !== undefined && !Array.isArray(doc.tier) ? [doc.tier.table] : [];
  return [...tier, ...Object.values(doc.facts ?? {}).flatMap((fact) => fact.table ?? [])];
}
