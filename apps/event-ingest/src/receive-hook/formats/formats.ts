import type { HookType, SourceDocument } from '@opsloop/contracts';
import { alertmanager } from './alertmanager.pure.js';
import { cloudevents } from './cloudevents.pure.js';
import { datadog } from './datadog.pure.js';
import type { Format } from './format.js';
import { generic } from './generic.pure.js';
import { github } from './github.pure.js';
import { grafana } from './grafana.pure.js';
import { pagerdutyEvents } from './pagerduty-events.pure.js';
import { pagerduty } from './pagerduty.pure.js';
import { standardWebhooks } from './standard-webhooks.pure.js';

/** Every sender that is known: a new one is a file beside these and a row here. */
export const FORMATS: Readonly<Record<HookType, Format>> = {
  alertmanager,
  grafana,
  pagerduty,
  'pagerduty-events': pagerdutyEvents,
  datadog,
  github,
  'standard-webhooks': standardWebhooks,
  cloudevents,
  generic,
};

export function isHookType(type: string): type is HookType {
  return Object.hasOwn(FORMATS, type);
}

/** How the deliveries of a source are read; records of a topic are CloudEvents, or any JSON with a mapping. */
export function formatOf(source: Pick<SourceDocument, 'type' | 'kafka'>): Format | undefined {
  if (source.type === 'kafka') return source.kafka?.format === 'json' ? { ...generic, body: 'json' } : cloudevents;
  return isHookType(source.type) ? FORMATS[source.type] : undefined;
}
