import type { HmacAuth, SourceDocument } from '@opsloop/contracts';
import type { Delivery, MappedEvent } from '../mapping.pure.js';

/** One kind of sender: how it signs, what it repeats on, and what its deliveries mean. */
export interface Format {
  /** What it signs with where the document does not say otherwise. */
  hmac?: Partial<Omit<HmacAuth, 'type' | 'secret'>>;
  /** `json`: the body is JSON whatever its content type says; `typed`: the content type tells. */
  body: 'json' | 'typed';
  /** Answer when it must come back later: 429 only for senders that repeat after it; the others drop what gets a 4xx. */
  busy: 429 | 503;
  /**
   * Answer to a delivery that proves who it is and makes no sense: 400, or 202 where a 4xx makes the sender give up on
   * the whole subscription. Kept as a dead letter either way.
   */
  refusal: 400 | 202;
  map: (source: SourceDocument, delivery: Delivery) => MappedEvent[];
}
