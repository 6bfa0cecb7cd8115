import { Controller } from '@nestjs/common';
import { BusContext, BusHandler, type BusMessage } from '@opsloop/bus';
import type { DocumentsMessage, StartsMessage } from '@opsloop/contracts';
import { PolicyService } from '../policies/policy.service.js';
import { Signals } from '../signals.service.js';
import { OfferingService } from './offering.service.js';
import { StartsService } from './starts.service.js';

@Controller()
export class StartsConsumer {
  constructor(
    private readonly starts: StartsService,
    private readonly offerings: OfferingService,
    private readonly policies: PolicyService,
    private readonly signals: Signals,
  ) {}

  @BusHandler('starts', 'control', { batch: true })
  handle(messages: BusMessage<StartsMessage>[], ctx: BusContext): Promise<void> {
    return this.starts.handle(messages, ctx.tx);
  }

  /** Only a hint; what was remembered is never older than a second. */
  @BusHandler('documents', 'control', { batch: true, durable: false })
  changed(messages: BusMessage<DocumentsMessage>[]): void {
    this.offerings.forget();
    this.policies.forget();
    this.signals.emit(
      'documents',
      messages.map(({ body }) => body.kind),
    );
  }
}
