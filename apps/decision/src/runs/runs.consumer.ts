import { Controller } from '@nestjs/common';
import type { BusContext, BusMessage } from '@opsloop/bus';
import { BusHandler } from '@opsloop/bus';
import type { RunsMessage } from '@opsloop/contracts';
import { RunsService } from './runs.service.js';

@Controller()
export class RunsConsumer {
  constructor(private readonly runs: RunsService) {}

  @BusHandler('runs', 'decision-runs', { batch: true, durable: false })
  async handle(messages: BusMessage<RunsMessage>[], context: BusContext): Promise<void> {
    await this.runs.note(
      context.tx,
      messages.map((message) => message.body),
    );
  }
}
