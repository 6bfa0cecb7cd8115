/** A webhook delivery → CloudEvents, by the type of its source. */
import { OpsError, sha256Hex } from '@opsloop/contracts';
import type { FieldError, Json, JsonObject, SourceDocument } from '@opsloop/contracts';
import { renderTemplate, toScopeValue } from '@opsloop/rules';
import type { Scope } from '@opsloop/rules';
import { isRfc3339 } from '../accept/cloud-event.pure.js';
import type { CloudEvent, HttpMessage } from '../accept/cloud-event.pure.js';
import { jsonProblems } from '../accept/json-text.pure.js';
import { HOOK_EVENTS_MAX, ID_BYTES_MAX, SOURCE_BYTES_MAX, TYPE_BYTES_MAX } from '../limits.js';

export interface MappedEvent {
  event: CloudEvent;
  unmapped?: string;
}

/** Labels that name what an alert is about, most telling first. */
const SUBJECT_LABELS = ['resource', 'host', 'instance', 'node', 'pod', 'service'] as const;
/** Credentials stay out of what mappings can copy into events. */
const SECRET_HEADER = /authorization|cookie|signature|token|secret|api-?key/i;

/** One event per alert. Throws `validation` when the body is no Alertmanager delivery. */
export function mapAlertmanager(source: SourceDocument, body: unknown): MappedEvent[] {
  const alerts = body !== null && typeof body === 'object' ? (body as JsonObject)['alerts'] : undefined;
  if (!Array.isArray(alerts))
    throw refused([
      { pointer: '/alerts', message: 'must be the list of alerts of an Alertmanager webhook (version 4)' },
    ]);
  if (alerts.length > HOOK_EVENTS_MAX) {
    throw new OpsError(
      'payload-too-large',
      `a delivery holds at most ${HOOK_EVENTS_MAX} alerts, this one ${alerts.length}; set max_alerts in the receiver`,
      {
        errors: [{ pointer: '/alerts', message: `more than ${HOOK_EVENTS_MAX} alerts` }],
      },
    );
  }
  const errors = [
    ...jsonProblems(alerts, '/alerts'),
    ...alerts.flatMap((alert, index) => alertProblems(alert, `/alerts/${index}`)),
  ];
  if (errors.length > 0) throw refused(errors);
  return alerts.map((alert, index) => mapAlert(source, alert as JsonObject, `/alerts/${index}`));
}

function alertProblems(alert: Json, at: string): FieldError[] {
  if (!isObject(alert)) return [{ pointer: at, message: 'must be an alert object' }];
  const errors: FieldError[] = [];
  if (alert['status'] !== 'firing' && alert['status'] !== 'resolved')
    errors.push({ pointer: `${at}/status`, message: 'must be "firing" or "resolved"' });
  if (!isObject(alert['labels'])) errors.push({ pointer: `${at}/labels`, message: 'must be an object' });
  if (typeof alert['startsAt'] !== 'string' || !isRfc3339(alert['startsAt']))
    errors.push({ pointer: `${at}/startsAt`, message: 'must be an RFC 3339 time' });
  return errors;
}

function mapAlert(source: SourceDocument, alert: JsonObject, at: string): MappedEvent {
  const labels = alert['labels'] as JsonObject;
  const { status, startsAt, endsAt } = alert as { status: string; startsAt: string; endsAt?: Json };
  const fingerprint =
    typeof alert['fingerprint'] === 'string' && alert['fingerprint'] !== ''
      ? alert['fingerprint']
      : labelsFingerprint(labels);
  const label = SUBJECT_LABELS.find((name) => typeof labels[name] === 'string' && labels[name] !== '');
  return applyMapping(source, toScope(alert), at, {
    id: sha256Hex([fingerprint, status, startsAt].join('\n')),
    type: 'alertmanager.alert',
    ...(label === undefined ? {} : { subject: `${label}/${labels[label] as string}` }),
    // A firing alert often "ends" in the year 1, a resolved one really has.
    time: status === 'resolved' && typeof endsAt === 'string' && isRfc3339(endsAt) ? endsAt : startsAt,
    data: alert,
  });
}

/** Any JSON or text body: one event per delivery. */
export function mapGeneric(source: SourceDocument, request: HttpMessage): MappedEvent[] {
  const body = (request.body ?? null) as Json;
  const errors = jsonProblems(body, '');
  if (errors.length > 0) throw refused(errors);
  const headers = Object.fromEntries(
    Object.entries(request.headers)
      .filter(([name]) => !SECRET_HEADER.test(name))
      .map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]),
  );
  return [
    applyMapping(source, toScope({ body, headers }), '', {
      // The same bytes again are a repeat, unless the mapping knows a better id.
      id: sha256Hex(request.rawBody.toString('latin1')),
      type: `${source.name}.event`,
      data: body,
    }),
  ];
}

interface Defaults {
  id: string;
  type: string;
  subject?: string;
  time?: string;
  data: Json;
}

function applyMapping(source: SourceDocument, scope: Scope, at: string, defaults: Defaults): MappedEvent {
  const mapping = source.mapping ?? {};
  const slot = (name: 'id' | 'type' | 'source', fallback: string, max: number): string =>
    mapping[name] === undefined ? fallback : requiredText(renderSlot(mapping[name], scope, name, at), name, at, max);
  const time = mapping.time === undefined ? defaults.time : timeOf(renderSlot(mapping.time, scope, 'time', at), at);
  const { subject, unmapped } = subjectOf(mapping.subject, scope, defaults.subject);
  return {
    event: {
      id: slot('id', defaults.id, ID_BYTES_MAX),
      source: slot('source', source.name, SOURCE_BYTES_MAX),
      type: slot('type', defaults.type, TYPE_BYTES_MAX),
      ...(subject === undefined ? {} : { subject }),
      ...(time === undefined ? {} : { time }),
      data: mapping.data === undefined ? defaults.data : renderSlot(mapping.data, scope, 'data', at),
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

/** RFC 3339, or seconds or milliseconds since 1970, which many senders use. */
function timeOf(value: Json, at: string): string {
  if (typeof value === 'string' && isRfc3339(value)) return value;
  const number =
    typeof value === 'number'
      ? value
      : typeof value === 'string' && /^\d{9,13}$/.test(value)
        ? Number(value)
        : Number.NaN;
  // Eleven digits of seconds are the year 5138, eleven of milliseconds 1973: above that it is milliseconds.
  const ms = number < 1e11 ? number * 1_000 : number;
  if (!(ms > 0 && ms < 8.64e15))
    throw refused([{ pointer: at, message: 'mapping.time gave neither an RFC 3339 time nor a Unix time' }]);
  return new Date(ms).toISOString();
}

function labelsFingerprint(labels: JsonObject): string {
  return sha256Hex(JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))));
}

function toScope(value: JsonObject): Scope {
  return toScopeValue(value) as Scope;
}

function isObject(value: Json | undefined): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function refused(errors: FieldError[]): OpsError {
  const first = errors[0]!;
  return new OpsError(
    'validation',
    `${first.pointer === '' ? 'the body' : first.pointer} ${first.message}; nothing was stored`,
    { errors },
  );
}
