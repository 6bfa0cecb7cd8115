/** Grafana alerting: Alertmanager's shape with more members, and a signature without a prefix. */
import { mapAlerts } from './alerts.pure.js';
import type { Format } from './format.js';

export const grafana: Format = {
  // With `timestamp.header` set in both places the signed text is `<unix seconds>:<body>`.
  hmac: { header: 'x-grafana-alerting-signature', prefix: '' },
  body: 'json',
  busy: 503,
  refusal: 400,
  map: (source, { body }) => mapAlerts(source, body, 'grafana.alert', 'a Grafana alerting webhook'),
};
