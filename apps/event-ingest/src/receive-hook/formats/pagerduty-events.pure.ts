/** PagerDuty's Events API v2, spoken to us: tools that know PagerDuty send here after a change of one address. */
import { pathProblem, sha256Hex } from '@opsloop/contracts';
import type { FieldError, Json, JsonObject } from '@opsloop/contracts';
import { applyMapping, deliveryScope, isObject, momentOf, refused, storableBody, textOf } from '../mapping.pure.js';
import type { Delivery } from '../mapping.pure.js';
import type { Format } from './format.js';

const ACTIONS: readonly unknown[] = ['trigger', 'acknowledge', 'resolve'];
const SEVERITIES: readonly unknown[] = ['critical', 'error', 'warning', 'info'];
/** PagerDuty's own bounds. */
const DEDUP_KEY_CHARS_MAX = 255;
const SUMMARY_CHARS_MAX = 1_024;

export const pagerdutyEvents: Format = {
  body: 'json',
  busy: 429,
  refusal: 400,
  map: (source, delivery) => {
    storableBody(delivery.body);
    const errors = eventProblems(delivery.body);
    if (errors.length > 0) throw refused(errors);
    // The key is a credential and stays out of the event.
    const { routing_key: _key, ...event } = delivery.body as JsonObject;
    const payload = isObject(event['payload']) ? event['payload'] : {};
    const time = momentOf(payload['timestamp']);
    const action = event['event_action'] as string;
    const about = subjectOf(payload, event['dedup_key']);
    return [
      applyMapping(source, deliveryScope({ ...delivery, body: event }), '', {
        // Without a time nothing tells a repeat from the next trigger of the same alert, but that a repeat comes soon.
        id:
          time === undefined
            ? delivery.key
            : sha256Hex([dedupKeyOf(delivery), action, new Date(time).toISOString()].join('\n')),
        type: `pagerduty.event.${action}`,
        ...(about === undefined ? {} : { subject: about }),
        ...(time === undefined ? {} : { time }),
        data: { ...event, dedup_key: dedupKeyOf(delivery) },
      }),
    ];
  },
};

/** The sender's, or the one we make up, which the answer names so that a resolve can use it. */
export function dedupKeyOf(delivery: Pick<Delivery, 'body' | 'key'>): string {
  return (isObject(delivery.body) ? textOf(delivery.body['dedup_key']) : undefined) ?? delivery.key.slice(0, 32);
}

/** A resolve has no payload: then a `dedup_key` that is a path of two parts or more says what it is about. */
function subjectOf(payload: JsonObject, dedupKey: Json | undefined): string | undefined {
  const source = textOf(payload['source']);
  if (source !== undefined)
    return source.includes('/') && pathProblem(source) === undefined ? source : `host/${source}`;
  const key = textOf(dedupKey);
  return key?.includes('/') === true && pathProblem(key) === undefined ? key : undefined;
}

function eventProblems(body: Json): FieldError[] {
  if (!isObject(body)) return [{ pointer: '', message: 'must be an event of the PagerDuty Events API v2' }];
  const errors: FieldError[] = [];
  if (!ACTIONS.includes(body['event_action']))
    errors.push({ pointer: '/event_action', message: 'must be trigger, acknowledge or resolve' });
  const { payload, dedup_key: key } = body;
  if (key !== undefined && key !== null && (typeof key !== 'string' || key.length > DEDUP_KEY_CHARS_MAX))
    errors.push({ pointer: '/dedup_key', message: `must be a text of at most ${DEDUP_KEY_CHARS_MAX} characters` });
  if (body['event_action'] !== 'trigger') {
    if (textOf(key) === undefined) errors.push({ pointer: '/dedup_key', message: 'is missing: which alert is it?' });
    return errors;
  }
  if (!isObject(payload)) return [...errors, { pointer: '/payload', message: 'must be an object' }];
  const summary = textOf(payload['summary']);
  if (summary === undefined || summary.length > SUMMARY_CHARS_MAX)
    errors.push({ pointer: '/payload/summary', message: `must be a text of at most ${SUMMARY_CHARS_MAX} characters` });
  if (textOf(payload['source']) === undefined)
    errors.push({ pointer: '/payload/source', message: 'must be a text: what is affected' });
  if (!SEVERITIES.includes(payload['severity']))
    errors.push({ pointer: '/payload/severity', message: 'must be critical, error, warning or info' });
  return errors;
}
