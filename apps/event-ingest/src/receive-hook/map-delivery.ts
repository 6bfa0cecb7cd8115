import { newId } from '@opsloop/contracts/ids';
import type { SourceDocument } from '@opsloop/contracts';
import type { HttpMessage } from '../accept/cloud-event.pure.js';
import { acceptItem } from '../accept/message.pure.js';
import type { AcceptItem } from '../accept/message.pure.js';
import { deliveryKey } from './authenticate.js';
import type { Proof } from './authenticate.js';
import type { Format } from './formats/format.js';
import type { Delivery } from './mapping.pure.js';
import { readBody } from './read-body.pure.js';

export interface ReadDelivery {
  delivery: Delivery;
  items: AcceptItem[];
}

/** A delivery that has proved who it is → events ready to be stored. Throws what is wrong with it. */
export function readDelivery(
  source: SourceDocument,
  format: Format,
  message: Pick<HttpMessage, 'headers' | 'rawBody'>,
  proof: Proof,
  /** When it came; of a dead letter long ago. */
  receivedAt: Date,
  now: Date = receivedAt,
): ReadDelivery {
  const delivery: Delivery = {
    headers: message.headers,
    rawBody: message.rawBody,
    body: readBody(message, format.body),
    key: deliveryKey(proof, message.rawBody, receivedAt),
  };
  const items = format.map(source, delivery).map(({ event, unmapped }, index) =>
    acceptItem(event, {
      now,
      eventId: newId(),
      via: source.name,
      onRepeat: 'duplicate',
      at: `/${index}`,
      ...(unmapped === undefined ? {} : { unmapped }),
    }),
  );
  return { delivery, items };
}
