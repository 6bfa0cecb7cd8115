/** CloudEvents 1.0 over HTTP: the three content modes → checked events. */
import { OpsError } from '@opsloop/contracts';
import type { FieldError, Json, JsonObject } from '@opsloop/contracts';
import {
  BATCH_EVENTS_MAX,
  EVENT_BYTES_MAX,
  EXTENSIONS_MAX,
  ID_BYTES_MAX,
  SOURCE_BYTES_MAX,
  SUBJECT_BYTES_MAX,
  TYPE_BYTES_MAX,
} from '../limits.js';
import { jsonProblems, textProblem } from './json-text.pure.js';

export interface CloudEvent {
  id: string;
  source: string;
  type: string;
  subject?: string;
  /** As sent; a valid RFC 3339 time. */
  time?: string;
  datacontenttype?: string;
  dataschema?: string;
  data: Json;
  extensions: Record<string, string | number | boolean>;
}

/** What this app reads of an HTTP request. */
export interface HttpMessage {
  headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Parsed JSON, or text; absent when the request had no body. */
  body: unknown;
  rawBody: Buffer;
}

/** What the HTTP server hands over: no body at all leaves both members out. */
export type IncomingRequest = Pick<HttpMessage, 'headers'> & { body?: unknown; rawBody?: Buffer };

export function readMessage(request: IncomingRequest): HttpMessage {
  return { headers: request.headers, body: request.body, rawBody: request.rawBody ?? Buffer.alloc(0) };
}

const REQUIRED = ['specversion', 'id', 'source', 'type'] as const;
const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$/;
/** RFC 3986 characters; spaces, quotes and controls are what senders get wrong. */
const URI_REFERENCE = /^[^\s"<>\\^`{|}\u0000-\u001f\u007f]+$/u;
const JSON_TYPE = /^application\/([\w.-]+\+)?json\b/i;
const TEXT_TYPE = /^text\//i;
const BYTES_LIMITS: Readonly<Record<string, number>> = {
  id: ID_BYTES_MAX,
  source: SOURCE_BYTES_MAX,
  type: TYPE_BYTES_MAX,
  subject: SUBJECT_BYTES_MAX,
};

/** Reads the events of a request in any of the three modes; throws `validation` with one pointer per mistake. */
export function parseCloudEvents(message: HttpMessage): CloudEvent[] {
  const contentType = headerText(message.headers, 'content-type')?.toLowerCase() ?? '';
  // Batch first: its media type begins with the one of the structured mode.
  if (isBatch(message)) return parseBatch(message.body);
  if (contentType.startsWith('application/cloudevents'))
    return [parseStructured(message.body, '', message.rawBody.length)];
  return [parseBinary(message)];
}

export function isBatch(message: Pick<HttpMessage, 'headers'>): boolean {
  return (
    headerText(message.headers, 'content-type')?.toLowerCase().startsWith('application/cloudevents-batch') === true
  );
}

/** RFC 3339 and a real day. */
export function isRfc3339(text: string): boolean {
  if (!RFC3339.test(text) || Number.isNaN(Date.parse(text.toUpperCase()))) return false;
  // Date.parse takes the 30th of February for the 2nd of March; PostgreSQL knows no year 0.
  const [year, month, day] = text.slice(0, 10).split('-').map(Number) as [number, number, number];
  return year >= 1 && day <= new Date(Date.UTC(year, month, 0)).getUTCDate();
}

function parseBatch(body: unknown): CloudEvent[] {
  if (!Array.isArray(body)) throw invalid([{ pointer: '', message: 'must be an array of CloudEvents' }]);
  if (body.length > BATCH_EVENTS_MAX) {
    throw new OpsError(
      'payload-too-large',
      `a batch holds at most ${BATCH_EVENTS_MAX} events, this one ${body.length}; send several`,
      {
        errors: [{ pointer: '', message: `more than ${BATCH_EVENTS_MAX} events` }],
      },
    );
  }
  return body.map((one: unknown, index) => parseStructured(one, `/${index}`));
}

/** A number such as 1e20 is written out in 21 characters; nothing grows more when it is written again. */
const GROWTH_MAX = 6;

/** `sent`: its size as it came, where that is known. */
function parseStructured(body: unknown, at: string, sent = Infinity): CloudEvent {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw invalid([{ pointer: at, message: 'must be a CloudEvent object' }]);
  }
  if (sent * GROWTH_MAX > EVENT_BYTES_MAX) assertSize(Buffer.byteLength(JSON.stringify(body)), at);
  const { data, data_base64: base64, ...attributes } = body as JsonObject;
  const errors: FieldError[] = [];
  // `null` means absent, for data and attributes alike.
  const present = Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== null)) as JsonObject;
  const event = checkAttributes(present, (name) => `${at}/${name}`, errors);
  event.data = data ?? null;
  if (base64 !== undefined && base64 !== null) {
    if (data !== undefined && data !== null)
      errors.push({ pointer: `${at}/data_base64`, message: 'data and data_base64 exclude each other' });
    else event.data = fromBase64(base64, event.datacontenttype, `${at}/data_base64`, errors);
  }
  errors.push(...jsonProblems(event.data, `${at}/data`));
  if (errors.length > 0) throw invalid(errors);
  return event;
}

function parseBinary(message: HttpMessage): CloudEvent {
  assertSize(message.rawBody.length, '');
  const errors: FieldError[] = [];
  const attributes: JsonObject = {};
  for (const header of Object.keys(message.headers)) {
    if (!header.startsWith('ce-')) continue;
    const pointer = `/headers/${header}`;
    const name = header.slice(3);
    const text = headerText(message.headers, header)!;
    const value = decodeHeader(text);
    if (name === 'datacontenttype')
      errors.push({ pointer, message: 'in binary mode the Content-Type header says this; leave the header out' });
    else if (name === 'data' || name === 'data_base64')
      errors.push({ pointer, message: 'in binary mode the body is the data' });
    else if (value === undefined)
      errors.push({ pointer, message: `"${text.slice(0, 80)}" is not percent-encoded UTF-8` });
    else attributes[name] = value;
  }
  if (Object.keys(attributes).length === 0 && errors.length === 0) {
    throw new OpsError(
      'validation',
      'this is no CloudEvent: send ce-* headers (binary mode), or content type application/cloudevents+json or application/cloudevents-batch+json',
      {
        errors: REQUIRED.map((name) => ({ pointer: `/headers/ce-${name}`, message: 'is missing' })),
      },
    );
  }
  const event = checkAttributes(attributes, (name) => `/headers/ce-${name}`, errors);
  const contentType = headerText(message.headers, 'content-type');
  if (contentType !== undefined) event.datacontenttype = contentType;
  event.data = binaryData(message, contentType);
  errors.push(...jsonProblems(event.data, ''));
  if (errors.length > 0) throw invalid(errors);
  return event;
}

function binaryData(message: HttpMessage, contentType: string | undefined): Json {
  if (message.rawBody.length === 0) return null;
  if (contentType !== undefined && TEXT_TYPE.test(contentType)) return message.rawBody.toString('utf8');
  return (message.body ?? null) as Json;
}

function checkAttributes(
  attributes: JsonObject,
  pointerOf: (name: string) => string,
  errors: FieldError[],
): CloudEvent {
  for (const name of REQUIRED) {
    if (attributes[name] === undefined) errors.push({ pointer: pointerOf(name), message: 'is missing' });
  }
  const event: CloudEvent = { id: '', source: '', type: '', data: null, extensions: {} };
  for (const [name, value] of Object.entries(attributes)) {
    const fail = (message: string): void => void errors.push({ pointer: pointerOf(name), message });
    if (name === 'specversion') {
      if (value !== '1.0') fail('must be "1.0"');
    } else if (STRING_ATTRIBUTES.has(name)) {
      const problem = typeof value === 'string' ? attributeProblem(name, value) : 'must be a string';
      if (problem === undefined) event[name as 'id'] = value as string;
      else fail(problem);
    } else if (!/^[a-z0-9]{1,40}$/.test(name)) {
      fail('is not an attribute name: lower-case letters and digits only, at most 40');
    } else if (
      typeof value === 'string' ||
      typeof value === 'boolean' ||
      (typeof value === 'number' && Number.isSafeInteger(value))
    ) {
      errors.push(...jsonProblems(value, pointerOf(name)));
      event.extensions[name] = value;
    } else {
      fail('an extension must be a string, a boolean or an integer');
    }
  }
  if (Object.keys(event.extensions).length > EXTENSIONS_MAX)
    errors.push({ pointer: pointerOf(''), message: `more than ${EXTENSIONS_MAX} extension attributes` });
  return event;
}

const STRING_ATTRIBUTES: ReadonlySet<string> = new Set([
  'id',
  'source',
  'type',
  'subject',
  'time',
  'datacontenttype',
  'dataschema',
]);

function attributeProblem(name: string, value: string): string | undefined {
  if (value === '') return 'must not be empty';
  const max = BYTES_LIMITS[name] ?? TYPE_BYTES_MAX;
  if (Buffer.byteLength(value) > max) return `is longer than ${max} bytes`;
  if (textProblem(value) !== undefined || /[\u0000-\u001f\u007f]/.test(value)) return 'holds a control character';
  if (name === 'time' && !isRfc3339(value)) return 'is not an RFC 3339 time such as 2026-01-31T08:00:00Z';
  if ((name === 'source' || name === 'dataschema') && !URI_REFERENCE.test(value)) return 'is not a URI reference';
  return undefined;
}

function fromBase64(value: Json, contentType: string | undefined, pointer: string, errors: FieldError[]): Json {
  if (typeof value !== 'string' || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value)) {
    errors.push({ pointer, message: 'is not base64' });
    return null;
  }
  const bytes = Buffer.from(value, 'base64');
  if (contentType !== undefined && TEXT_TYPE.test(contentType)) return bytes.toString('utf8');
  if (contentType !== undefined && !JSON_TYPE.test(contentType)) return value;
  try {
    return JSON.parse(bytes.toString('utf8')) as Json;
  } catch {
    // Without a datacontenttype nothing says that the bytes are JSON: they are kept as they came.
    if (contentType !== undefined) errors.push({ pointer, message: `does not hold ${contentType}` });
    return value;
  }
}

/** One round of percent-decoding after unquoting, as the HTTP binding asks; `undefined` when that is not possible. */
function decodeHeader(text: string): string | undefined {
  // Node hands header bytes over as Latin-1: anything outside ASCII should have been encoded.
  if (/[^\u0020-\u007e]/.test(text)) return undefined;
  const unquoted = /^".*"$/s.test(text) ? text.slice(1, -1).replace(/\\(.)/gs, '$1') : text;
  try {
    return decodeURIComponent(unquoted);
  } catch {
    return undefined;
  }
}

/** First value of a header as text. */
export function headerText(headers: HttpMessage['headers'], name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function assertSize(bytes: number, at: string): void {
  if (bytes <= EVENT_BYTES_MAX) return;
  throw new OpsError(
    'payload-too-large',
    `an event has at most ${EVENT_BYTES_MAX} bytes, this one ${bytes}; send a link to the data instead`,
    {
      errors: [{ pointer: at, message: `larger than ${EVENT_BYTES_MAX} bytes` }],
    },
  );
}

function invalid(errors: FieldError[]): OpsError {
  const first = errors[0]!;
  return new OpsError(
    'validation',
    `${first.pointer === '' ? 'the body' : first.pointer} ${first.message}; nothing was stored`,
    { errors },
  );
}
