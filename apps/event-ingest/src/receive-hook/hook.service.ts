import { Inject, Injectable } from '@nestjs/common';
import { newId } from '@opsloop/contracts/ids';
import { OpsError } from '@opsloop/contracts';
import type { AcceptedEvent, SourceDocument } from '@opsloop/contracts';
import { Clock, PLATFORM_CONFIG } from '@opsloop/platform';
import type { PlatformConfig } from '@opsloop/platform';
import { AcceptService } from '../accept/accept.service.js';
import { rawOf } from '../accept/accept.controller.js';
import { parseCloudEvents } from '../accept/cloud-event.pure.js';
import type { HttpMessage } from '../accept/cloud-event.pure.js';
import { acceptItem } from '../accept/message.pure.js';
import { SourceService } from '../manage-sources/source.service.js';
import { authenticates } from './authenticate.js';
import { mapAlertmanager, mapGeneric } from './map-delivery.pure.js';
import type { MappedEvent } from './map-delivery.pure.js';

/** Deliveries of senders that know nothing of us: authenticated and mapped by their source document. */
@Injectable()
export class HookService {
  constructor(
    private readonly sources: SourceService,
    private readonly accepting: AcceptService,
    private readonly clock: Clock,
    @Inject(PLATFORM_CONFIG) private readonly config: PlatformConfig,
  ) {}

  async receive(name: string, message: HttpMessage): Promise<AcceptedEvent[]> {
    const { tenant } = this.config;
    const source = await this.sources.withSecrets(tenant, name);
    if (source === undefined || source.type === 'poll') {
      throw new OpsError('not-found', `no source "${name}" takes deliveries; create it with PUT /v1/sources/${name}`);
    }
    if (source.auth === undefined || !authenticates(source.auth, message)) {
      throw new OpsError(
        'authentication',
        `the delivery does not pass the ${source.auth?.type ?? 'missing'} authentication of source "${name}"`,
      );
    }
    const now = this.clock.now();
    const items = mapDelivery(source, message).map(({ event, unmapped }, index) =>
      acceptItem(event, {
        now,
        eventId: newId(),
        via: name,
        onRepeat: 'duplicate',
        at: `/${index}`,
        ...(unmapped === undefined ? {} : { unmapped }),
      }),
    );
    return this.accepting.accept({ tenant, items, raw: rawOf(message) });
  }
}

function mapDelivery(source: SourceDocument, message: HttpMessage): MappedEvent[] {
  switch (source.type) {
    case 'alertmanager':
      return mapAlertmanager(source, message.body);
    case 'cloudevents':
      return parseCloudEvents(message).map((event) => ({ event }));
    default:
      return mapGeneric(source, message);
  }
}
