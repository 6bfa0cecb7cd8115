/** CloudEvents over the webhook binding: any of the three content modes. */
import { OpsError } from '@opsloop/contracts';
import { headerText, parseCloudEvents } from '../../accept/cloud-event.pure.js';
import type { Format } from './format.js';

export const cloudevents: Format = {
  body: 'typed',
  // The binding asks for 429 with Retry-After.
  busy: 429,
  refusal: 400,
  map: (source, delivery) => {
    const type = headerText(delivery.headers, 'content-type')?.toLowerCase() ?? '';
    const signed = source.auth?.type === 'hmac' || source.auth?.type === 'standard-webhooks';
    if (signed && !type.startsWith('application/cloudevents')) {
      throw new OpsError(
        'validation',
        'a signature over the body does not cover attributes in ce-* headers, which anybody could change; send structured or batched mode',
        { errors: [{ pointer: '/headers/content-type', message: 'must begin with application/cloudevents' }] },
      );
    }
    return parseCloudEvents(delivery).map((event) => ({ event }));
  },
};
