/**
 * Datadog webhooks: the body is what the user pasted (`docs/guides/sources.md` has the template), and there is no
 * signature, only headers of the user's choice. Repeats on 5xx, drops on 4xx.
 */
import { sha256Hex } from '@opsloop/contracts';
import type { JsonObject } from '@opsloop/contracts';
import { applyMapping, deliveryScope, isObject, momentOf, refused, storableBody, textOf } from '../mapping.pure.js';
import type { Format } from './format.js';

export const datadog: Format = {
  body: 'json',
  busy: 503,
  refusal: 400,
  map: (source, delivery) => {
    storableBody(delivery.body);
    const { body } = delivery;
    const transition = isObject(body) ? textOf(body['transition']) : undefined;
    if (!isObject(body) || transition === undefined)
      throw refused([
        { pointer: '/transition', message: 'is missing: paste the payload of the guide into the webhook in Datadog' },
      ]);
    const id = textOf(body['id']);
    const subject = subjectOf(body);
    const time = momentOf(body['last_updated']) ?? momentOf(body['date']);
    return [
      applyMapping(source, deliveryScope(delivery), '', {
        id: id === undefined ? delivery.key : sha256Hex([id, transition].join('\n')),
        type: 'datadog.alert',
        ...(subject === undefined ? {} : { subject }),
        ...(time === undefined ? {} : { time }),
        data: { ...body, status: statusOf(transition), tags: listOf(body['tags']), scope: listOf(body['scope']) },
      }),
    ];
  },
};

/** The words of Alertmanager and Grafana, so that one rule can serve all three. */
function statusOf(transition: string): string {
  return transition === 'Recovered' ? 'resolved' : 'firing';
}

/** Tags and scopes are one text with commas. */
function listOf(value: JsonObject[string] | undefined): string[] {
  return (textOf(value) ?? '')
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '' && one !== '*');
}

function subjectOf(body: JsonObject): string | undefined {
  const host = textOf(body['host']) ?? tagged(body, 'host');
  if (host !== undefined) return `host/${host}`;
  const service = tagged(body, 'service');
  return service === undefined ? undefined : `service/${service}`;
}

function tagged(body: JsonObject, name: string): string | undefined {
  const found = [...listOf(body['scope']), ...listOf(body['tags'])].find((tag) => tag.startsWith(`${name}:`));
  return textOf(found?.slice(name.length + 1));
}
