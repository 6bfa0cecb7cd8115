import { Controller } from '@nestjs/common';
import { BusContext, BusHandler, type BusMessage } from '@opsloop/bus';
import type { EpisodesMessage } from '@opsloop/contracts';
import { VerifiedService } from './verified.service.js';

@Controller()
export class VerifiedConsumer {
  constructor(private readonly verified: VerifiedService) {}

  @BusHandler('episodes', 'control', { batch: true, patient: true })
  handle(messages: BusMessage<EpisodesMessage>[], ctx: BusContext): Promise<void> {
    return this.verified.note(
      ctx.tx,
      messages.map(({ body }) => body),
    );
  }
}
