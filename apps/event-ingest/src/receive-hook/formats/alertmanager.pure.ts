/** Alertmanager, webhook version 4: no delivery id and no signature; drops whatever gets a 4xx, repeats on 5xx. */
import { mapAlerts } from './alerts.pure.js';
import type { Format } from './format.js';

export const alertmanager: Format = {
  body: 'json',
  busy: 503,
  refusal: 400,
  map: (source, { body }) => mapAlerts(source, body, 'alertmanager.alert', 'an Alertmanager webhook (version 4)'),
};
