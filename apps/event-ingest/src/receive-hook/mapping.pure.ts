/** What a source's `mapping` makes of the fields of a delivery: shared by all formats. */
import { OpsError } from '@opsloop/contracts';
import type { FieldError, Json, JsonObject, SourceDocument } from '@opsloop/contracts';
import { renderTemplate, toScopeValue } from '@opsloop/rules';
import type { Scope } from '@opsloop/rules';
import { isRfc3339 } from '../accept/cloud-event.pure.js';
import type { CloudEvent, HttpMessage } from '../accept/cloud-event.pure.js';
import { jsonProblems } from '../accept/json-text.pure.js';
import { EVENT_BYTES_MAX, HOOK_EVENTS_MAX, ID_BYTES_MAX, SOURCE_BYTES_MAX, TYPE_BYTES_MAX } from '../limits.js';

export interface MappedEvent {
  event: CloudEvent;
  unmapped?: string;
}

/** A delivery that has passed its authentication. */
export interface Delivery {
  headers: HttpMessage['headers'];
  rawBody: Buffer;
  /** Parsed as its format asks. */
  body: Json;
  /** Tells a repeat from a new delivery: of the signed text, or of the bytes of these minutes. */
  key: string;
}

/** Credentials stay out of what mappings can copy into events. */
const SECRET_HEADER = /authorization|cookie|signature|token|secret|api-?key|client-cert/i;

export function visibleHeaders(headers: HttpMessage['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => !SECRET_HEADER.test(name))
      .map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]),
  );
}

/** Refuses what PostgreSQL cannot store, before a mapping reads it. */
export function storableBody(body: Json): void {
  const errors = jsonProblems(body, '');
  if (errors.length > 0) throw refused(errors);
}

/** What mappings of most formats see. */
export function deliveryScope(delivery: Delivery): JsonObject {
  return { body: delivery.body, headers: visibleHeaders(delivery.headers) };
}

/** What stands where the document has no template. */
export interface Defaults {
  id: string;
  type: string;
  subject?: string;
  time?: string;
  data: Json;
}

/** The list that `mapping.split` names, with the scope of each item; without it the delivery is one event. */
export function splitItems(source: SourceDocument, fields: JsonObject): { fields: JsonObject; item?: Json }[] {
  const template = source.mapping?.split;
  if (template === undefined) return [{ fields }];
  const list = renderSlot(template, toScope(fields), 'split', '');
  if (!Array.isArray(list)) throw refused([{ pointer: '', message: 'mapping.split of the source gave no list' }]);
  checkCount(list.length, 'items', '');
  return list.map((item, index) => ({ fields: { ...fields, item, index }, item }));
}

export function checkCount(count: number, what: string, pointer: string, remedy = 'send fewer at a time'): void {
  if (count <= HOOK_EVENTS_MAX) return;
  throw new OpsError(
    'payload-too-large',
    `a delivery holds at most ${HOOK_EVENTS_MAX} ${what}, this one ${count}; ${remedy}`,
    { errors: [{ pointer, message: `more than ${HOOK_EVENTS_MAX} ${what}` }] },
  );
}

export function applyMapping(source: SourceDocument, fields: JsonObject, at: string, defaults: Defaults): MappedEvent {
  const mapping = source.mapping ?? {};
  const scope = toScope(fields);
  const slot = (name: 'id' | 'type' | 'source', fallback: string, max: number): string =>
    mapping[name] === undefined ? fallback : requiredText(renderSlot(mapping[name], scope, name, at), name, at, max);
  const time = mapping.time === undefined ? defaults.time : timeOf(renderSlot(mapping.time, scope, 'time', at), at);
  const { subject, unmapped } = subjectOf(mapping.subject, scope, defaults.subject);
  const data = mapping.data === undefined ? defaults.data : renderSlot(mapping.data, scope, 'data', at);
  const bytes = Buffer.byteLength(JSON.stringify(data));
  if (bytes > EVENT_BYTES_MAX) {
    throw new OpsError(
      'payload-too-large',
      `the data of an event has at most ${EVENT_BYTES_MAX} bytes, this one ${bytes}; pick what rules need with mapping.data`,
      { errors: [{ pointer: at, message: `larger than ${EVENT_BYTES_MAX} bytes` }] },
    );
  }
  return {
    event: {
      id: slot('id', defaults.id, ID_BYTES_MAX),
      source: slot('source', source.name, SOURCE_BYTES_MAX),
      type: slot('type', defaults.type, TYPE_BYTES_MAX),
      ...(subject === undefined ? {} : { subject }),
      ...(time === undefined ? {} : { time }),
      data,
      extensions: {},
    },
    ...(unmapped === undefined ? {} : { unmapped }),
  };
}

/**
 * A subject that cannot be found makes the event unmapped instead of refusing it: senders drop what is refused, and an
 * alert that nobody sees is worse than one without a resource.
 */
function subjectOf(
  template: Json | undefined,
  scope: Scope,
  fallback: string | undefined,
): { subject?: string; unmapped?: string } {
  if (template === undefined) {
    return fallback === undefined
      ? { unmapped: 'nothing in it names a resource; give the source a mapping.subject' }
      : { subject: fallback };
  }
  try {
    const value = renderTemplate(template, scope);
    if (typeof value === 'string' && value !== '') return { subject: value };
    return { unmapped: `mapping.subject gave ${JSON.stringify(value)?.slice(0, 80)} instead of a path` };
  } catch (error) {
    return { unmapped: `mapping.subject: ${error instanceof OpsError ? error.detail : String(error)}` };
  }
}

function renderSlot(template: Json, scope: Scope, name: string, at: string): Json {
  try {
    return renderTemplate(template, scope);
  } catch (error) {
    if (!(error instanceof OpsError)) throw error;
    throw refused([{ pointer: at, message: `does not fit mapping.${name} of the source: ${error.detail}` }]);
  }
}

function requiredText(value: Json, name: string, at: string, max: number): string {
  const text = typeof value === 'number' || typeof value === 'boolean' ? String(value) : value;
  if (typeof text !== 'string' || text === '')
    throw refused([{ pointer: at, message: `mapping.${name} gave no text` }]);
  if (Buffer.byteLength(text) > max)
    throw refused([{ pointer: at, message: `mapping.${name} gave more than ${max} bytes` }]);
  if (/[\u0000-\u001f\u007f]/.test(text))
    throw refused([{ pointer: at, message: `mapping.${name} gave a control character` }]);
  return text;
}

/** A text member, or nothing. */
export function textOf(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function timeOf(value: Json, at: string): string {
  const time = momentOf(value);
  if (time !== undefined) return time;
  throw refused([{ pointer: at, message: 'mapping.time gave neither an RFC 3339 time nor a Unix time' }]);
}

/** RFC 3339, or seconds or milliseconds since 1970, which many senders use. */
export function momentOf(value: Json | undefined): string | undefined {
  if (typeof value === 'string' && isRfc3339(value)) return value;
  const number =
    typeof value === 'number'
      ? value
      : typeof value === 'string' && /^\d{9,13}$/.test(value)
        ? Number(value)
        : Number.NaN;
  // Eleven digits of seconds are the year 5138, eleven of milliseconds 1973: above that it is milliseconds.
  const ms = number < 1e11 ? number * 1_000 : number;
  return ms > 0 && ms < 8.64e15 ? new Date(ms).toISOString() : undefined;
}

function toScope(value: JsonObject): Scope {
  return toScopeValue(value) as Scope;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

export function refused(errors: FieldError[]): OpsError {
  const first = errors[0]!;
  return new OpsError(
    'validation',
    `${first.pointer === '' ? 'the body' : first.pointer} ${first.message}; nothing was stored`,
    { errors },
  );
}
