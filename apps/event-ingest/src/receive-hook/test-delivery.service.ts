import { Inject, Injectable } from '@nestjs/common';
import { OpsError } from '@opsloop/contracts';
import type { JsonObject } from '@opsloop/contracts';
import { Clock, PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { SourceService } from '../manage-sources/source.service.js';
import { FORMATS, isHookType } from './formats/formats.js';
import { readDelivery } from './map-delivery.js';

export interface TestedEvent {
  id: string;
  type: string;
  source: string;
  subject?: string;
  time: string;
  data: unknown;
  /** The state of its subject that it would report. */
  state?: JsonObject;
  /** Why it has no resource. */
  unmapped?: string;
}

export interface TestedDelivery {
  source: string;
  /** What a sender has to prove; a test proves nothing. */
  auth: string;
  items: TestedEvent[];
}

/** What a source would make of a delivery. Nothing is authenticated, stored or counted. */
@Injectable()
export class TestDeliveryService {
  constructor(
    private readonly sources: SourceService,
    private readonly clock: Clock,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
  ) {}

  async test(name: string, headers: Readonly<Record<string, string>>, body: string): Promise<TestedDelivery> {
    // Without its secrets: whoever may look at a source may try it, and neither shows them.
    const source = await this.sources.live(this.config.tenant, name);
    if (source === undefined)
      throw new OpsError('not-found', `there is no source "${name}"; GET /v1/sources lists them`);
    if (!isHookType(source.type))
      throw new OpsError('validation', `source "${name}" is of type ${source.type}: nobody delivers to it`, {
        errors: [{ pointer: '/body', message: `a ${source.type} source looks itself` }],
      });
    const message = { headers: lowerCased(headers), rawBody: Buffer.from(body) };
    const { items } = readDelivery(source, FORMATS[source.type], message, {}, this.clock.now());
    return {
      source: name,
      auth: source.auth?.type ?? 'none',
      items: items.map(({ message: event, unmapped }) => ({
        ...{ id: event.id, type: event.type, source: event.source, time: event.time, data: event.data },
        ...(event.subject === undefined ? {} : { subject: event.subject }),
        ...(event.state === undefined ? {} : { state: event.state }),
        ...(unmapped === undefined ? {} : { unmapped }),
      })),
    };
  }
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  const all = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return { 'content-type': 'application/json', ...all };
}
