/** What a poll asks and what it makes of the answer. */
import { digestOf, pathProblem } from '@opsloop/contracts';
import type { Json, JsonObject, ResourceView, SourceDocument } from '@opsloop/contracts';
import { renderTemplate, toScopeValue } from '@opsloop/rules';
import type { Scope } from '@opsloop/rules';
import { v5 } from 'uuid';
import type { AcceptItem } from '../accept/message.pure.js';
import { contentDigest, stateOf, storedForm } from '../accept/message.pure.js';

/** Namespace of the ids of polled events: uuid5(DNS, "poll.opsloop.dev"). Fixed for ever. */
const NAMESPACE = v5('poll.opsloop.dev', v5.DNS);

/** What the last emitted event of a (source, resource) said. */
export interface LastValue {
  sequence: number;
  digest: string | null;
}

export interface PollScope {
  resource: ResourceView;
  config: Record<string, JsonObject>;
}

/** Input of the read atom for one resource. */
export function pollInput(source: SourceDocument, scope: PollScope): Json {
  return source.with === undefined ? {} : renderTemplate(source.with, scopeOf({ ...scope }));
}

export interface Observation {
  result: Json;
  /** When the look began: what is seen was true then at the earliest. */
  observedAt: Date;
  now: Date;
  eventId: string;
}

/** The event for an observation that differs from the last one; `undefined` when nothing changed. */
export function changeEvent(
  source: SourceDocument,
  scope: PollScope,
  seen: Observation,
  last: LastValue | undefined,
): AcceptItem | undefined {
  const { type, data: template } = source.event!;
  const data =
    template === undefined ? seen.result : renderTemplate(template, scopeOf({ ...scope, result: seen.result }));
  const value = digestOf({ type, data });
  if (last?.digest === value) return undefined;
  const subject = scope.resource.path;
  const sequence = (last?.sequence ?? 0) + 1;
  const observedAt = seen.observedAt.toISOString();
  const message = {
    eventId: seen.eventId,
    source: source.name,
    // Two processes that see the same change give it the same id, so one of them is a repeat.
    id: v5([source.name, subject, String(sequence)].join('\u0000'), NAMESPACE),
    type,
    ...(pathProblem(subject) === undefined ? { subject } : {}),
    time: observedAt,
    receivedAt: seen.now.toISOString(),
    data,
    correlationId: seen.eventId,
    hops: 0,
    ...stateOf(type, data, subject),
    via: source.name,
  };
  return {
    ...storedForm(message),
    // As if it had come over HTTP, so that somebody who forwards it delivers a repeat and no conflict.
    digest: contentDigest({ type, subject: message.subject, time: observedAt, data, extensions: {} }),
    onRepeat: 'duplicate',
    remember: { source: source.name, resource: subject, sequence, digest: value, observedAt },
  };
}

function scopeOf(value: object): Scope {
  return toScopeValue(value as Json) as Scope;
}
