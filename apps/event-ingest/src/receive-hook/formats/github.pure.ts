/** GitHub webhooks: signed over the raw body, never repeated by GitHub itself, cut off after 10 s. */
import { applyMapping, deliveryScope, isObject, refused, storableBody, textOf } from '../mapping.pure.js';
import { headerText } from '../../accept/cloud-event.pure.js';
import type { Format } from './format.js';

export const github: Format = {
  hmac: { header: 'x-hub-signature-256', prefix: 'sha256=' },
  body: 'typed',
  busy: 503,
  refusal: 400,
  map: (source, delivery) => {
    storableBody(delivery.body);
    const { body } = delivery;
    const event = headerText(delivery.headers, 'x-github-event') ?? '';
    if (!/^[a-z_]{1,60}$/.test(event))
      throw refused([{ pointer: '/headers/x-github-event', message: 'must name the event; GitHub always sends it' }]);
    if (!isObject(body)) throw refused([{ pointer: '', message: 'must be the JSON object of a GitHub webhook' }]);
    const action = textOf(body['action']);
    const repository = isObject(body['repository']) ? textOf(body['repository']['full_name']) : undefined;
    const organization = isObject(body['organization']) ? textOf(body['organization']['login']) : undefined;
    const subject =
      repository !== undefined ? `repo/${repository}` : organization === undefined ? undefined : `org/${organization}`;
    return [
      applyMapping(source, deliveryScope(delivery), '', {
        // Of the signed bytes: the headers with the delivery's id and the event's name are not signed, so a delivery
        // that was seen could be sent again under others.
        id: delivery.key,
        type: action !== undefined && /^[a-z_]{1,60}$/.test(action) ? `github.${event}.${action}` : `github.${event}`,
        ...(subject === undefined ? {} : { subject }),
        data: body,
      }),
    ];
  },
};
