/** A CloudEvent → the event as it is stored and travels: time rules, hops, state, correlation, subject. */
import { OpsError, digestOf, pathProblem } from '@opsloop/contracts';
import type { EventMessage, Json, JsonObject } from '@opsloop/contracts';
import { CLOCK_AHEAD_MS, HOPS_MAX } from '../limits.js';
import type { CloudEvent } from './cloud-event.pure.js';

/** An event ready to be stored. */
export interface AcceptItem {
  message: EventMessage;
  /** The message as it is stored and sent. */
  text: string;
  /** Of what the sender said, time as sent: an honest repeat has the same, whenever it arrives. */
  digest: string;
  bytes: number;
  /** Why it has no resource. */
  unmapped?: string;
  /** What another content under the same (source, id) is: our own API refuses it, a hook takes it for a repeat. */
  onRepeat: 'conflict' | 'duplicate';
  /** Of a poll: the value that is now the last one, saved with the event. */
  remember?: PollMemory;
}

export interface PollMemory {
  source: string;
  resource: string;
  sequence: number;
  digest: string;
  observedAt: string;
}

export interface MessageContext {
  now: Date;
  eventId: string;
  /** Source document through which it came. */
  via?: string;
  /** Already known not to be mappable. */
  unmapped?: string;
  onRepeat: AcceptItem['onRepeat'];
  /** Index in its request, for errors. */
  at?: string;
}

const OWN_EXTENSIONS: ReadonlySet<string> = new Set(['hops', 'opsloophops', 'correlationid', 'causationid']);

/** Builds the stored form. Throws `validation` on a hop count that is no number or above 16. */
export function acceptItem(event: CloudEvent, context: MessageContext): AcceptItem {
  const { time, clockSkew } = timeOf(event.time, context.now);
  const subject = subjectOf(event, context.unmapped);
  const others = Object.entries(event.extensions).filter(([name]) => !OWN_EXTENSIONS.has(name));
  const causationId = text(event.extensions['causationid']);
  const message: EventMessage = {
    eventId: context.eventId,
    source: event.source,
    id: event.id,
    type: event.type,
    ...(subject.path === undefined ? {} : { subject: subject.path }),
    time,
    receivedAt: isoOf(context.now),
    ...(clockSkew ? { clockSkew: true } : {}),
    data: event.data,
    ...(event.datacontenttype === undefined ? {} : { datacontenttype: event.datacontenttype }),
    correlationId: text(event.extensions['correlationid']) ?? context.eventId,
    ...(causationId === undefined ? {} : { causationId }),
    hops: hopsOf(event, context.at ?? ''),
    ...stateOf(event.type, event.data, subject.path),
    ...(context.via === undefined ? {} : { via: context.via }),
    ...(others.length === 0 ? {} : { extensions: Object.fromEntries(others) }),
  };
  return {
    ...storedForm(message),
    digest: contentDigest(event),
    ...(subject.unmapped === undefined ? {} : { unmapped: subject.unmapped }),
    onRepeat: context.onRepeat,
  };
}

/** Written out once, for its size and for the database. */
export function storedForm(message: EventMessage): Pick<AcceptItem, 'message' | 'text' | 'bytes'> {
  const json = JSON.stringify(message);
  return { message, text: json, bytes: Buffer.byteLength(json) };
}

/**
 * Tells a repeat from a conflict under one (source, id). Without the content type: the same event in another content mode
 * is the same event.
 */
export function contentDigest(
  event: Pick<CloudEvent, 'type' | 'subject' | 'time' | 'dataschema' | 'data' | 'extensions'>,
): string {
  const { type, subject, time, dataschema, data, extensions } = event;
  return digestOf({ type, subject, time, dataschema, data, extensions });
}

let last = { ms: Number.NaN, iso: '' };

/** Events come several in a millisecond, and each names it twice. */
function isoOf(now: Date): string {
  const ms = now.getTime();
  if (ms !== last.ms) last = { ms, iso: now.toISOString() };
  return last.iso;
}

/** The sender's time, unless it is absent or too far ahead: then the receive time. */
function timeOf(sent: string | undefined, now: Date): { time: string; clockSkew: boolean } {
  if (sent === undefined) return { time: isoOf(now), clockSkew: true };
  const at = Date.parse(sent.toUpperCase());
  if (at > now.getTime() + CLOCK_AHEAD_MS) return { time: isoOf(now), clockSkew: true };
  return { time: new Date(at).toISOString(), clockSkew: false };
}

function subjectOf(event: CloudEvent, unmapped: string | undefined): { path?: string; unmapped?: string } {
  if (unmapped !== undefined) return { unmapped };
  if (event.subject === undefined) return { unmapped: 'it has no subject' };
  const problem = pathProblem(event.subject);
  return problem === undefined
    ? { path: event.subject }
    : { unmapped: `its subject "${event.subject.slice(0, 200)}" ${problem}` };
}

/** An event whose type ends in `.state` reports its subject. */
export function stateOf(type: string, data: Json, subject: string | undefined): { state?: JsonObject } {
  if (subject === undefined || !type.endsWith('.state')) return {};
  return data !== null && typeof data === 'object' && !Array.isArray(data) ? { state: data } : {};
}

function hopsOf(event: CloudEvent, at: string): number {
  const name = event.extensions['opsloophops'] === undefined ? 'hops' : 'opsloophops';
  const value = event.extensions[name] ?? 0;
  const hops = typeof value === 'string' && /^\d{1,3}$/.test(value) ? Number(value) : value;
  const fail = (message: string): OpsError =>
    new OpsError('validation', `${name} ${message}; nothing was stored`, {
      errors: [{ pointer: `${at}/${name}`, message }],
    });
  if (typeof hops !== 'number' || hops < 0) throw fail('must be a whole number from 0');
  if (hops > HOPS_MAX)
    throw fail(
      `is above ${HOPS_MAX}: events and actions cause each other in a circle; look at what led here with the event's causationid`,
    );
  return hops;
}

function text(value: string | number | boolean | undefined): string | undefined {
  return value === undefined || value === '' ? undefined : String(value);
}
