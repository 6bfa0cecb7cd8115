/** Anything else: one event per delivery, or one per item of a list in it, as the source's mapping says. */
import { sha256Hex } from '@opsloop/contracts';
import { applyMapping, deliveryScope, splitItems, storableBody } from '../mapping.pure.js';
import type { Format } from './format.js';

export const generic: Format = {
  body: 'typed',
  // Nobody knows what it repeats on: most repeat on 5xx, many drop on 4xx.
  busy: 503,
  refusal: 400,
  map: (source, delivery) => {
    storableBody(delivery.body);
    return splitItems(source, deliveryScope(delivery)).map(({ fields, item }, index) =>
      applyMapping(source, fields, item === undefined ? '' : `/${index}`, {
        // The same bytes again are a repeat, unless the mapping knows a better id.
        id: item === undefined ? delivery.key : sha256Hex(`${delivery.key}\n${index}`),
        type: `${source.name}.event`,
        data: item ?? delivery.body,
      }),
    );
  },
};
