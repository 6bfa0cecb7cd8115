/** Alerts as Alertmanager and Grafana send them: a list, each with labels, a status and a start. */
import { sha256Hex } from '@opsloop/contracts';
import type { FieldError, Json, JsonObject, SourceDocument } from '@opsloop/contracts';
import { isRfc3339 } from '../../accept/cloud-event.pure.js';
import { jsonProblems } from '../../accept/json-text.pure.js';
import { applyMapping, checkCount, isObject, refused, textOf } from '../mapping.pure.js';
import type { MappedEvent } from '../mapping.pure.js';

/** Labels that name what an alert is about, most telling first. */
const SUBJECT_LABELS = ['resource', 'host', 'instance', 'node', 'pod', 'service'] as const;

/** One event per alert: the status of the group says nothing about a single one. */
export function mapAlerts(source: SourceDocument, body: Json, type: string, sender: string): MappedEvent[] {
  const alerts = isObject(body) ? body['alerts'] : undefined;
  if (!Array.isArray(alerts))
    throw refused([{ pointer: '/alerts', message: `must be the list of alerts of ${sender}` }]);
  checkCount(alerts.length, 'alerts', '/alerts', 'set max_alerts in the receiver');
  const errors = [
    ...jsonProblems(alerts, '/alerts'),
    ...alerts.flatMap((alert, index) => alertProblems(alert, `/alerts/${index}`)),
  ];
  if (errors.length > 0) throw refused(errors);
  return alerts.map((alert, index) => mapAlert(source, alert as JsonObject, `/alerts/${index}`, type));
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

function mapAlert(source: SourceDocument, alert: JsonObject, at: string, type: string): MappedEvent {
  const labels = alert['labels'] as JsonObject;
  const { status, startsAt, endsAt } = alert as { status: string; startsAt: string; endsAt?: Json };
  const fingerprint = textOf(alert['fingerprint']) ?? labelsFingerprint(labels);
  const label = SUBJECT_LABELS.find((name) => textOf(labels[name]) !== undefined);
  return applyMapping(source, alert, at, {
    // Without annotations: sent again every repeat interval, and by each of two Alertmanagers, it is one event.
    id: sha256Hex([fingerprint, status, startsAt].join('\n')),
    type,
    ...(label === undefined ? {} : { subject: `${label}/${labels[label] as string}` }),
    // A firing alert often "ends" in the year 1, a resolved one really has.
    time: status === 'resolved' && typeof endsAt === 'string' && isRfc3339(endsAt) ? endsAt : startsAt,
    data: alert,
  });
}

function labelsFingerprint(labels: JsonObject): string {
  return sha256Hex(JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))));
}
