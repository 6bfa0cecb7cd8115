/** Standard Webhooks (Svix and many others): id, time and signature in headers; `{ type, timestamp, data }` in the body. */
import { applyMapping, deliveryScope, isObject, momentOf, storableBody, textOf } from '../mapping.pure.js';
import { headerText } from '../../accept/cloud-event.pure.js';
import type { Format } from './format.js';

export const standardWebhooks: Format = {
  body: 'json',
  // The specification names 429 as the answer that slows a sender down.
  busy: 429,
  refusal: 400,
  map: (source, delivery) => {
    storableBody(delivery.body);
    const { body } = delivery;
    const fields = isObject(body) ? body : {};
    const time = momentOf(fields['timestamp']) ?? momentOf(headerText(delivery.headers, 'webhook-timestamp'));
    return [
      applyMapping(source, deliveryScope(delivery), '', {
        // Part of the signed text.
        id: headerText(delivery.headers, 'webhook-id') ?? delivery.key,
        type: textOf(fields['type']) ?? `${source.name}.event`,
        ...(time === undefined ? {} : { time }),
        data: body,
      }),
    ];
  },
};
