/**
 * PagerDuty, webhook version 3. Repeats on time-outs, 5xx and 429 for two days, in order per incident; three deliveries
 * in a row that get another 4xx switch the subscription off for a day, so none may.
 */
import { applyMapping, deliveryScope, isObject, momentOf, refused, storableBody, textOf } from '../mapping.pure.js';
import type { Format } from './format.js';

export const pagerduty: Format = {
  hmac: { header: 'x-pagerduty-signature', prefix: 'v1=' },
  body: 'json',
  busy: 429,
  refusal: 202,
  map: (source, delivery) => {
    storableBody(delivery.body);
    const event = isObject(delivery.body) ? delivery.body['event'] : undefined;
    const id = isObject(event) ? textOf(event['id']) : undefined;
    const type = isObject(event) ? textOf(event['event_type']) : undefined;
    if (!isObject(event) || id === undefined || type === undefined)
      throw refused([{ pointer: '/event', message: 'must be the event of a PagerDuty webhook (version 3)' }]);
    const data = isObject(event['data']) ? event['data'] : {};
    // Events of a service carry it as their data, all others name theirs.
    const service = data['type'] === 'service' ? data : data['service'];
    const name = isObject(service) ? (textOf(service['summary']) ?? textOf(service['name'])) : undefined;
    return [
      applyMapping(source, deliveryScope(delivery), '', {
        // The header X-Webhook-Id is not signed: whoever has seen one delivery could send it again under another.
        id,
        type: `pagerduty.${type}`,
        ...(name === undefined ? {} : { subject: `service/${name}` }),
        ...timeMember(momentOf(event['occurred_at'])),
        data: event,
      }),
    ];
  },
};

const timeMember = (time: string | undefined): { time?: string } => (time === undefined ? {} : { time });
